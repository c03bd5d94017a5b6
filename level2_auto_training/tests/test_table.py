"""Reading published files: what is accepted, and the message for each mistake."""

import bz2
import codecs
import csv
import gzip
import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

import pandas as pd
import pytest
from pydantic import NaiveDatetime

from bike_demand.core.current import LABEL_COLUMNS, PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.problem import EventTime
from bike_demand.data import table
from bike_demand.data.frames import from_parquet, to_parquet
from bike_demand.data.table import MAX_REPORTED, read_month_file, read_table
from tests.feedmaker import HEADER, month_lines

MONTH = "2011-02"
LINES = month_lines(MONTH)[:100]


def text_of(lines: list[str], header: str = HEADER) -> str:
    return "".join(f"{line}\n" for line in (header, *lines))


def read(content: bytes | str, name: str = "in.csv") -> pd.DataFrame:
    return read_month_file(content.encode() if isinstance(content, str) else content, MONTH, name)


def refusal(content: bytes | str, name: str = "in.csv") -> str:
    with pytest.raises(UserError) as refused:
        read(content, name)
    return str(refused.value)


PLAIN = text_of(LINES)


def quoted(text: str) -> str:
    return re.sub(r"[^,\n]+", r'"\g<0>"', text)


def as_parquet(text: str, **types: str) -> bytes:
    content = io.BytesIO()
    pd.read_csv(io.StringIO(text)).astype(types).to_parquet(content, index=False)
    return content.getvalue()


WRITTEN: dict[str, Callable[[], bytes]] = {
    "in.csv with a byte order mark": lambda: codecs.BOM_UTF8 + PLAIN.encode(),
    "in.csv with Windows line ends": lambda: PLAIN.replace("\n", "\r\n").encode(),
    "in.csv with old Mac line ends": lambda: PLAIN.replace("\n", "\r").encode(),
    "in.csv with quoted cells": lambda: quoted(PLAIN).encode(),
    "in.csv with padded cells": lambda: PLAIN.replace(",", " , ").encode(),
    "in.csv with quoted cells after blanks": lambda: quoted(PLAIN).replace(",", ", ").encode(),
    "in.csv without the last line end": lambda: PLAIN.rstrip().encode(),
    "in.csv with empty lines at its end": lambda: (PLAIN + "\n\n").encode(),
    "in.csv with times without seconds": lambda: PLAIN.replace(":00:00,", ":00,").encode(),
    "in.csv with blanks in times": lambda: re.sub(r"(\d)T(\d)", r"\1 \2", PLAIN).encode(),
    "in.csv with columns in another order": lambda: (
        pd.read_csv(io.StringIO(PLAIN), dtype=str).iloc[:, ::-1].to_csv(index=False).encode()
    ),
    "in.csv with capitals in the header": lambda: text_of(LINES, HEADER.title()).encode(),
    "in.csv with empty columns at its right": lambda: PLAIN.replace("\n", ",,\n").encode(),
    "in.csv with commas after the rows": lambda: text_of([f"{line}," for line in LINES]).encode(),
    "in.csv with empty lines": lambda: text_of(
        [",,", *LINES[:5], "", "," * 11, *LINES[5:], "," * 11]
    ).encode(),
    "in.csv with line ends turned twice": lambda: PLAIN.replace("\n", "\r\r\n").encode(),
    "in.csv.gz": lambda: gzip.compress(PLAIN.encode()),
    "in.csv.gz compressed twice": lambda: gzip.compress(gzip.compress(PLAIN.encode())),
    "in.csv, which is parquet": lambda: as_parquet(PLAIN),
    "in.parquet": lambda: as_parquet(PLAIN),
    "in.parquet, times as such": lambda: as_parquet(PLAIN, begins="datetime64[us]"),
    "in.parquet, times in nanoseconds": lambda: as_parquet(PLAIN, begins="datetime64[ns]"),
}


@pytest.mark.parametrize("case", list(WRITTEN))
def test_file_variants_give_the_same_rows(case: str) -> None:
    name = "in.parquet" if case.startswith("in.parquet") else "in.csv"
    pd.testing.assert_frame_equal(read(WRITTEN[case](), name), read(PLAIN))


def test_values_are_those_of_the_file() -> None:
    rows = read(PLAIN)
    given = list(csv.DictReader(io.StringIO(PLAIN)))
    assert [each.isoformat() for each in rows["begins"]] == [each["begins"] for each in given]
    for name in ("attended", "grade", "amount"):
        assert rows[name].tolist() == [int(each[name]) for each in given]
    assert rows["moisture"].fillna(-1).tolist() == [float(each["moisture"] or -1) for each in given]
    assert rows["special"].tolist() == [False] * len(given)
    assert rows["moisture"].isna().any()


def test_columns_of_fields_with_a_default_may_be_missing_and_others_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = pd.read_csv(io.StringIO(PLAIN), dtype=str)
    optional = ["moisture", "part_a", "part_b"]
    older = given.drop(columns=optional).to_csv(index=False)
    pd.testing.assert_frame_equal(
        read(older), read(given.assign(**dict.fromkeys(optional, "")).to_csv(index=False))
    )
    misspelt = given.rename(columns={"moisture": "moistur"}).to_csv(index=False)
    assert "unknown column 'moistur'" in refusal(misspelt)
    monkeypatch.setattr(table, "PROBLEM", replace(PROBLEM, ignored=("Moistur",)))
    assert read(misspelt)["moisture"].isna().all()


def test_a_column_of_the_event_time_may_be_missing_only_if_rows_need_none() -> None:
    class Timeless(Inputs):
        begins: Annotated[NaiveDatetime, EventTime(cadence="1D")] = datetime(2011, 2, 1)
        special: bool = True

    content = (
        pd.read_csv(io.StringIO(PLAIN), dtype=str).drop(columns=["begins", "special"]).to_csv(index=False)
    )
    found = read_table(content.encode(), "in.csv", Timeless, ignored=LABEL_COLUMNS)
    assert (found["begins"] == "2011-02-01").all()
    assert found["special"].all()
    assert "column begins is missing" in refusal(content)


def test_parquet_round_trip_is_exact_and_deterministic() -> None:
    rows = read(PLAIN)
    stored = to_parquet(rows)
    read_back = from_parquet(stored)
    pd.testing.assert_frame_equal(read_back, rows)
    assert to_parquet(read_back) == stored == to_parquet(read(WRITTEN["in.parquet"](), "in.parquet"))
    with pytest.raises(ValueError, match="damaged"):
        from_parquet(stored[:-9])
    with pytest.raises(ValueError, match="not the fields"):
        from_parquet(rows.drop(columns="speed").to_parquet())


# ---- mistakes of a whole file

HEAT = HEADER.split(",").index("heat")
HOT = LINES[0].split(",")[HEAT]
MISTAKES: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "semicolons": (lambda: PLAIN.replace(",", ";").encode(), ("line 1", "separated by ';'", "use commas")),
    "tabs": (lambda: PLAIN.replace(",", "\t").encode(), ("line 1", "separated by '\\t'", "use commas")),
    "decimal commas": (
        lambda: PLAIN.replace(f",{HOT},", f',"{HOT.replace(".", ",")}",', 1).encode(),
        ("line 2, column heat", "decimal comma", "decimal point"),
    ),
    "decimal commas that separate": (
        lambda: PLAIN.replace(f",{HOT},", f",{HOT.replace('.', ',')},", 1).encode(),
        ("line 2", "14 values instead of 13", "decimal comma"),
    ),
    "thousands separators": (
        lambda: PLAIN.replace(f",{HOT},", ',"1,234.5",', 1).encode(),
        ("line 2, column heat", "thousands separator", "1234.5"),
    ),
    "UTF-16": (lambda: PLAIN.encode("utf-16"), ("line 1", "UTF-16", "save it as UTF-8")),
    "UTF-16 without a mark": (lambda: PLAIN.encode("utf-16-le"), ("line 1", "UTF-16", "save it as UTF-8")),
    "Latin-1": (
        lambda: PLAIN.replace(f",{HOT},", f",{HOT}°,", 1).encode("latin-1"),
        ("line 2", "Latin-1", "save it as UTF-8"),
    ),
    "a zone offset": (
        lambda: PLAIN.replace("T00:00:00,", "T00:00:00+01:00,", 1).encode(),
        ("line 2, column begins", "zone offset", "leave it out"),
    ),
    "UTC": (
        lambda: PLAIN.replace("T00:00:00,", "T00:00:00Z,", 1).encode(),
        ("line 2, column begins", "zone offset", "leave it out"),
    ),
    "a Unix timestamp": (
        lambda: re.sub(r"\n[^,]+", "\n1296518400", PLAIN, count=1).encode(),
        ("line 2, column begins", "Unix timestamp", "2011-01-31T17:00:00"),
    ),
    "a Unix timestamp in milliseconds": (
        lambda: re.sub(r"\n[^,]+", "\n1296518400000", PLAIN, count=1).encode(),
        ("line 2, column begins", "Unix timestamp", "2011-01-31T17:00:00"),
    ),
    "another order of day and month": (
        lambda: re.sub(r"\n[^,]+", "\n01/02/2011 00:00", PLAIN, count=1).encode(),
        ("line 2, column begins", "not a valid time", "2011-01-31T17:00:00"),
    ),
    "a day that there is not": (
        lambda: re.sub(r"\n[^,]+", "\n2011-02-30T00:00:00", PLAIN, count=1).encode(),
        ("line 2, column begins", "not a valid time"),
    ),
    "gzip cut off": (lambda: gzip.compress(PLAIN.encode())[:-50], ("compressed file is damaged or cut off",)),
    "nothing": (lambda: b" \n", ("the file is empty",)),
    "nothing but quotes": (lambda: b'""\n', ("the file is empty",)),
    "nothing but a byte order mark": (lambda: codecs.BOM_UTF8, ("the file is empty",)),
    "an Excel workbook": (lambda: b"PK\x03\x04\x14\0", ("Excel workbook", "save it as CSV")),
    "another compression": (lambda: bz2.compress(PLAIN.encode()), ("bzip2", "gzip")),
    "a title above the header": (
        lambda: f"Exported on 2011-03-01\n\n{PLAIN}".encode(),
        ("line 1", "expected the header", "begins,machine", "'Exported on 2011-03-01'"),
    ),
    "no header": (
        lambda: text_of(LINES[1:], LINES[0]).encode(),
        ("line 1", "expected the header", LINES[0][:19]),
    ),
    "a web page": (lambda: b"<!DOCTYPE html><html></html>", ("expected the header", "'<!DOCTYPE html>")),
    "an invisible character in the header": (
        lambda: text_of(LINES, HEADER.replace("heat", "\u200bheat", 1)).encode(),
        ("column heat is missing", "'\\u200bheat'"),
    ),
    "an index without a name": (
        lambda: text_of([f"{n},{line}" for n, line in enumerate(LINES)], f",{HEADER}").encode(),
        ("line 1", "column 1 has no name"),
    ),
    "two files in one": (
        lambda: text_of([*LINES[:5], HEADER, *LINES[5:]]).encode(),
        ("line 7", "the header is repeated"),
    ),
    "a word for a missing value": (
        lambda: PLAIN.replace(f",{HOT},", ",N/A,", 1).encode(),
        ("line 2, column heat", "'N/A'", "leave the cell empty"),
    ),
    "a unit": (
        lambda: PLAIN.replace(f",{HOT},", ",21 %,", 1).encode(),
        ("line 2, column heat", "without unit"),
    ),
    "the name of a zone": (
        lambda: PLAIN.replace("T00:00:00,", "T00:00:00 CET,", 1).encode(),
        ("line 2, column begins", "a zone name", "leave it out"),
    ),
}


@pytest.mark.parametrize("case", list(MISTAKES))
def test_a_common_mistake_is_reported_with_its_cause_and_remedy(case: str) -> None:
    make, fragments = MISTAKES[case]
    assert make() != PLAIN.encode()
    output = refusal(make())
    assert output.startswith("in.csv")
    assert all(fragment in output for fragment in fragments), output


def test_missing_time_of_day_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CADENCE", timedelta(hours=1))
    assert "appears twice; the time of day is missing" in refusal(text_of([LINES[0], LINES[0]]))


def test_parquet_that_is_damaged_or_wrong_is_reported_by_row() -> None:
    assert "damaged, or has nested columns" in refusal(as_parquet(PLAIN)[:-9], "in.parquet")
    assert "damaged, or has nested columns" in refusal(PLAIN, "in.parquet")
    output = refusal(
        as_parquet(text_of([LINES[0], LINES[1].replace(LINES[1].split(",")[HEAT], "400")])), "in.parquet"
    )
    assert output.startswith("in.parquet, row 2, column heat: '400' is not within -90 to 150")


# ---- all of them at once


def spoilt(*changes: tuple[int, str, str]) -> str:
    lines = [line.split(",") for line in LINES]
    for line, column, value in changes:
        lines[line - 2][HEADER.split(",").index(column)] = value
    return text_of([",".join(cells) for cells in lines])


def test_all_violations_of_a_file_are_reported_with_line_and_column() -> None:
    changes = [
        (3, "heat", "hot"),
        (3, "speed", "500"),
        (7, "grade", "9"),
        (9, "begins", ""),
        (12, "amount", "19999"),
    ]
    output = refusal(spoilt(*changes)).splitlines()
    assert output[0] == "in.csv: 5 violations"
    assert output[1].startswith("  line 3, column heat: 'hot' is not a valid number; write it like")
    assert output[2] == "  line 3, column speed: '500' is not within 0 to 400"
    assert output[3] == "  line 7, column grade: '9' is not within 1 to 4"
    assert output[4] == "  line 9, column begins: a value is missing"
    assert output[5].startswith("  line 12: amount is 19999, but part_a and part_b add up to")


def test_only_the_first_violations_and_their_total_are_reported() -> None:
    output = refusal(spoilt(*((line, "heat", "hot") for line in range(2, 90)))).splitlines()
    assert output[0] == "in.csv: 88 violations"
    assert len(output) == 1 + MAX_REPORTED + 1
    assert output[MAX_REPORTED].startswith(f"  line {MAX_REPORTED + 1}, column heat")
    assert output[-1] == f"  and {88 - MAX_REPORTED} more"


def test_a_line_end_within_quotes_leaves_the_line_numbers_right() -> None:
    lines = [*LINES[:4], LINES[4].replace(",false,", ',"false\n",'), LINES[5].replace(",false,", ",?,")]
    assert refusal(text_of(lines)).startswith("in.csv, line 8, column special: '?' is not a valid boolean")
