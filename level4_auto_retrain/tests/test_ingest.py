"""Gathering the feed from a folder: what changed, what is refused, what is left as it was."""

import gzip
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA
from bike_demand.data.frames import time_range
from bike_demand.data.ingest import ingest
from bike_demand.data.ingested import read_month, read_rows
from bike_demand.data.month import next_month
from bike_demand.data.source import PublishedMonth, Source
from tests.conftest import Run
from tests.feedmaker import HEADER, MONTHS, month_lines, write_feed, write_month
from tests.ingested import ingested, published
from tests.tree import contents


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from the feed."""
    names: list[str] = []
    fetch = Source.fetch

    def counting(source: Source, published: PublishedMonth) -> bytes:
        names.append(published.name)
        return fetch(source, published)

    monkeypatch.setattr(Source, "fetch", counting)
    return names


def test_the_whole_feed_is_ingested_as_it_was_published(project: Path, run: Run) -> None:
    output = run("ingest")
    assert (output.status, output.err) == (0, "")
    assert "3 months, 2011-01 to 2011-03" in output.out
    assert ingested() == published(project / "feed")
    for_training = {
        "request.json",
        "quarantine.json",
        "train.lock",
    }  # written for the training flow, where there is one
    assert {path.name for path in (project / "state").iterdir()} - for_training == {"data"}


@pytest.mark.usefixtures("project")
def test_a_month_that_did_not_change_is_not_read_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("ingest")
    before = contents(DATA)
    monkeypatch.setattr(Source, "fetch", lambda _, published: pytest.fail(f"{published.name} was read again"))
    assert "0 new or changed" in run("ingest").out
    assert contents(DATA) == before


def test_only_changed_months_are_ingested(project: Path, run: Run) -> None:
    run("ingest")
    write_month(project / "feed" / "2011-03.csv", month_lines("2011-03", seed=1))
    write_feed(project / "feed", ["2011-04"])
    assert "2 (2011-03, 2011-04) new or changed" in run("ingest").out
    assert ingested() == published(project / "feed")


def test_grown_month_is_ingested_again(project: Path, run: Run) -> None:
    lines = month_lines("2011-03")
    write_month(project / "feed" / "2011-03.csv", lines[:100])
    run("ingest")
    write_month(project / "feed" / "2011-03.csv", lines[:124])
    assert "1 (2011-03) new or changed" in run("ingest").out
    assert ingested() == published(project / "feed")


def test_a_touched_month_with_the_same_content_is_no_change(project: Path, run: Run) -> None:
    run("ingest")
    os.utime(project / "feed" / "2011-02.csv", (0, 0))
    assert "0 new or changed" in run("ingest").out


def test_a_deleted_month_is_ingested_again(project: Path, run: Run) -> None:
    run("ingest")
    (DATA / "2011-02.parquet").unlink()
    assert "1 (2011-02) new or changed" in run("ingest").out
    assert ingested() == published(project / "feed")


@pytest.mark.usefixtures("project")
def test_without_its_record_everything_is_read_again(run: Run, fetched: list[str]) -> None:
    run("ingest")
    for content in (b"", b'{"2011-01": 3}'):
        (DATA / "sources.json").write_bytes(content)
        fetched.clear()
        run("ingest")
        assert fetched == ["2011-01.csv", "2011-02.csv", "2011-03.csv"]


def test_another_feed_replaces_the_first(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("ingest")
    other = write_feed(project / "other", ["2011-02", "2011-03", "2011-04"], seed=7)
    monkeypatch.setenv("BIKE_FEED", str(other))
    assert "1 (2011-01) removed" in run("ingest").out
    assert ingested() == published(other)


def test_other_files_next_to_the_months_are_left_alone(project: Path, run: Run) -> None:
    (project / "feed" / "README.txt").write_text("hello", encoding="utf-8")
    (project / "feed" / "notes.csv").write_text("hello", encoding="utf-8")
    DATA.mkdir(parents=True)
    (DATA / "mine.parquet").write_text("mine", encoding="utf-8")
    assert run("ingest").status == 0
    assert ingested() == published(project / "feed")
    assert (DATA / "mine.parquet").read_bytes() == b"mine"


def test_windows_line_ends_are_accepted(project: Path, run: Run) -> None:
    path = project / "feed" / "2011-02.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert run("ingest").status == 0


def test_months_may_be_compressed_or_parquet(project: Path, run: Run) -> None:
    expected = published(project / "feed")
    january, february = (project / "feed" / f"{month}.csv" for month in MONTHS[:2])
    january.with_suffix(".csv.gz").write_bytes(gzip.compress(january.read_bytes()))
    pd.read_csv(february).to_parquet(february.with_suffix(".parquet"))
    january.unlink()
    february.unlink()
    assert run("ingest").status == 0
    assert ingested() == expected


def test_file_extension_is_case_insensitive(project: Path, run: Run) -> None:
    month = project / "feed" / f"{MONTHS[-1]}.csv"
    expected = published(project / "feed")
    month.rename(month.with_suffix(".CSV"))
    assert run("ingest").status == 0
    assert ingested() == expected


@pytest.mark.parametrize("make", [Path.mkdir, getattr(os, "mkfifo", Path.mkdir)])
def test_month_that_is_not_a_regular_file_is_rejected(
    project: Path, run: Run, make: Callable[[Path], None]
) -> None:
    month = project / "feed" / f"{MONTHS[-1]}.csv"
    month.unlink()
    make(month)
    assert f"{month.name}: not a file" in run("ingest").refusal()


def test_a_month_in_two_formats_is_rejected(project: Path, run: Run) -> None:
    january = project / "feed" / f"{MONTHS[0]}.csv"
    january.with_suffix(".csv.gz").write_bytes(gzip.compress(january.read_bytes()))
    assert "2011-01 is published in two formats; keep one of them" in run("ingest").refusal()
    assert contents(project / "state") == {}


@pytest.mark.usefixtures("project")
def test_schema_change_rereads_all_months(
    run: Run, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ingest")
    fetched.clear()
    monkeypatch.setattr("bike_demand.data.ingest.SCHEMA_DIGEST", "another one")
    run("ingest")
    assert fetched == ["2011-01.csv", "2011-02.csv", "2011-03.csv"]


def test_the_parts_of_the_label_may_be_empty(project: Path, run: Run) -> None:
    lines = [cell(cell(line, "part_a", ""), "part_b", "") for line in month_lines("2011-03")]
    write_month(project / "feed" / "2011-03.csv", lines)
    assert run("ingest").status == 0


# ---- up to a date


@pytest.mark.usefixtures("project")
def test_as_of_leaves_out_what_happened_from_then_on(run: Run) -> None:
    assert "2 months, 2011-01 to 2011-02" in run("ingest", "--as-of", "2011-02-15").out
    assert time_range(read_month(DATA, "2011-02"))[1] == datetime(2011, 2, 14)


def test_as_of_can_move_in_both_directions(project: Path, run: Run) -> None:
    run("ingest", "--as-of", "2011-02-15")
    early = ingested()
    run("ingest")
    assert ingested() == published(project / "feed")
    run("ingest", "--as-of", "2011-02-15T00:00:00")
    assert ingested() == early


def test_as_of_the_first_of_a_month_takes_whole_months(project: Path, run: Run) -> None:
    run("ingest", "--as-of", "2011-03-01")
    everything = published(project / "feed")
    assert ingested() == {month: everything[month] for month in ("2011-01", "2011-02")}


@pytest.mark.parametrize("date", ["2010-12-31", "2011-01-02", "2011-01-02T01:00:00"])
def test_as_of_before_the_first_row_is_rejected(project: Path, run: Run, date: str) -> None:
    lines = [line for line in month_lines("2011-01") if line >= "2011-01-02T01"]
    write_month(project / "feed" / "2011-01.csv", lines)
    assert "give a later" in run("ingest", "--as-of", date).refusal()
    assert not DATA.exists()


# ---- what is refused

Change = Callable[[list[str]], list[str]]


def cell(line: str, column: str, value: str) -> str:
    cells = line.split(",")
    cells[HEADER.split(",").index(column)] = value
    return ",".join(cells)


def without_column(name: str) -> Change:
    number = HEADER.split(",").index(name)
    return lambda lines: [",".join(c for i, c in enumerate(s.split(",")) if i != number) for s in lines]


def with_cell(column: str, value: str, line: int = 5) -> Change:
    return lambda lines: [*lines[: line - 1], cell(lines[line - 1], column, value), *lines[line:]]


BAD: dict[str, tuple[Change, tuple[str, ...]]] = {
    "missing column": (without_column("heat"), ("line 1", "column heat is missing")),
    "missing label": (without_column("amount"), ("line 1", "column amount is missing")),
    "unknown column": (
        lambda s: [s[0] + ",x", *(line + ",1" for line in s[1:])],
        ("line 1", "unknown column 'x'"),
    ),
    "no header": (lambda s: s[1:], ("line 1", "expected the header")),
    "a column twice": (lambda s: [f"{line},{line.split(',')[1]}" for line in s], ("line 1", "twice")),
    "text for a number": (with_cell("heat", "hot"), ("line 5", "column heat", "'hot'")),
    "fraction for an integer": (with_cell("amount", "1.5"), ("line 5", "column amount", "'1.5'")),
    "empty number": (with_cell("speed", ""), ("line 5", "column speed")),
    "not a number": (with_cell("heat", "nan"), ("line 5", "column heat", "'nan' is not a valid number")),
    "infinite": (with_cell("speed", "inf"), ("line 5", "column speed", "'inf' is not a valid number")),
    "beyond the valid range": (
        with_cell("heat", "400"),
        ("line 5", "column heat", "'400' is not within -90 to 150"),
    ),
    "an underscore in an integer": (with_cell("amount", "1_0"), ("line 5", "column amount", "'1_0'")),
    "an underscore in a number": (with_cell("heat", "1_0.5"), ("line 5", "column heat", "'1_0.5'")),
    "an enormous integer": (
        with_cell("amount", "1" + "0" * 400),
        ("line 5", "column amount", "is not a valid integer"),
    ),
    "a label beyond its valid range": (with_cell("amount", "20001"), ("line 5", "column amount", "'20001'")),
    "an unset time": (
        with_cell("begins", "0001-01-01T00:00:00"),
        ("line 5", "column begins", "not in 2011-02"),
    ),
    "unknown category": (with_cell("grade", "7"), ("line 5", "column grade", "'7'")),
    "negative part": (with_cell("part_a", "-1"), ("line 5", "column part_a")),
    "parts do not add up": (with_cell("amount", "9999"), ("line 5", "part_a and part_b add up to")),
    "one part only": (with_cell("part_a", ""), ("line 5", "both be given or both be empty")),
    "not a time": (with_cell("begins", "yesterday"), ("line 5", "column begins")),
    "a time zone": (
        with_cell("begins", "2011-02-01T00:00:00Z"),
        ("line 5", "column begins", "zone offset"),
    ),
    "not midnight": (
        with_cell("begins", "2011-02-01T03:00:00", line=25),  # the last of its day
        ("line 25", "column begins", "midnight"),
    ),
    "another month": (
        with_cell("begins", "2011-03-01T00:00:00"),
        ("line 5", "begins", "not in 2011-02"),
    ),
    "duplicate row": (
        lambda s: [*s[:5], s[4], *s[5:]],
        ("line 6", "column begins", "appears twice"),
    ),
    "out of order": (
        lambda s: [*s[:5], s[40], *s[5:40], *s[41:]],
        ("line 7", "column begins", "out of order"),
    ),
    "too few values": (lambda s: [*s[:5], s[5][:20], *s[6:]], ("line 6", "2 values instead of 13")),
    "an open quote": (lambda s: [*s[:5], '"' + s[5], *s[6:]], ("line", "an open quote")),
    "header only": (lambda s: s[:1], ("no rows",)),
}


def spoil(path: Path, change: Change) -> None:
    header, *lines = change(path.read_text(encoding="utf-8").splitlines())
    write_month(path, lines, header)


# One of each kind; `--all` runs the others too.
FAST = {
    "missing column",
    "unknown column",
    "no header",
    "text for a number",
    "beyond the valid range",
    "an enormous integer",
    "unknown category",
    "parts do not add up",
    "a time zone",
    "duplicate row",
    "out of order",
    "header only",
}


@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=[] if each in FAST else pytest.mark.slow) for each in BAD]
)
def test_a_bad_month_is_rejected_in_one_line_and_nothing_changes(project: Path, run: Run, case: str) -> None:
    run("ingest", "--as-of", "2011-02-01")  # so that a good month lies there and two are to come
    write_month(project / "feed" / "2011-01.csv", month_lines("2011-01", seed=1))  # changed, and good
    before = contents(project / "state")
    change, fragments = BAD[case]
    spoil(project / "feed" / "2011-02.csv", change)
    refusal = run("ingest").refusal()
    assert "feed/2011-02.csv" in refusal
    assert all(fragment in refusal for fragment in fragments), refusal
    assert contents(project / "state") == before


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "the file is empty"),
        (HEADER.encode(), "the file has a header but no rows"),
        (HEADER.encode()[:-3], "line 1: column amount is missing"),
        (b"\xff\xfe" + HEADER.encode() + b"\n", "line 1: UTF-16 text"),
        (b"\x00\x01\x02\n", "line 1"),
    ],
)
def test_a_file_that_is_no_month_is_rejected(project: Path, run: Run, content: bytes, fragment: str) -> None:
    (project / "feed" / "2011-02.csv").write_bytes(content)
    assert fragment in run("ingest").refusal()
    assert contents(project / "state") == {}


@pytest.mark.parametrize("bytes_lost", [7, 30])
def test_a_month_cut_off_in_the_middle_is_rejected(project: Path, run: Run, bytes_lost: int) -> None:
    path = project / "feed" / "2011-03.csv"
    lines = path.read_bytes().count(b"\n")
    path.write_bytes(path.read_bytes()[:-bytes_lost])
    assert f"2011-03.csv, line {lines}" in run("ingest").refusal()
    assert contents(project / "state") == {}


def test_a_refused_feed_is_ingested_once_it_is_corrected(project: Path, run: Run) -> None:
    good = (project / "feed" / "2011-02.csv").read_bytes()
    spoil(project / "feed" / "2011-02.csv", with_cell("heat", "hot"))
    run("ingest").refusal()
    (project / "feed" / "2011-02.csv").write_bytes(good)
    assert run("ingest").status == 0
    assert ingested() == published(project / "feed")


def test_a_month_in_the_future_is_rejected(project: Path, run: Run) -> None:
    # On its last day, rows of the next month are accepted: it may have begun in another time zone.
    month = next_month(next_month(f"{datetime.now(UTC):%Y-%m}"))
    shutil.rmtree(project / "feed")
    write_feed(project / "feed", [month, next_month(month)])
    assert f"{month}.csv" in (refusal := run("ingest").refusal())
    assert "this month is in the future" in refusal
    assert contents(project / "state") == {}


@pytest.mark.usefixtures("project")
def test_future_rows_are_rejected_beyond_utc_plus_14h() -> None:
    source = Source("feed/")
    last = datetime(2011, 3, 31, tzinfo=UTC)
    ingest(source, DATA, "2011-01", now=last - timedelta(hours=14))
    with pytest.raises(Exception, match=r"2011-03\.csv: .*\n  line \d+, column begins: .* in the future"):
        ingest(source, Path("other/data"), "2011-01", now=last - timedelta(hours=15))


def test_a_gap_between_months_is_rejected(project: Path, run: Run) -> None:
    (project / "feed" / "2011-02.csv").unlink()
    assert "2011-02 is missing between 2011-01 and 2011-03" in run("ingest").refusal()
    assert contents(project / "state") == {}


@pytest.mark.parametrize("name", ["2011-13.csv", "2011-00.csv", "0001-01.csv", "9999-12.csv"])
def test_a_month_that_does_not_exist_is_rejected(project: Path, run: Run, name: str) -> None:
    write_month(project / "feed" / name, month_lines("2011-03"))
    assert f"{name[:7]} is not a month" in run("ingest").refusal()


@pytest.mark.parametrize(
    ("address", "fragment"),
    [
        ("nowhere", "no such folder"),
        ("empty", "no files like 2011-01.csv"),
        ("params.yaml", "no files like 2011-01.csv"),
        ("what://ever", "give a folder, http(s):// or s3://"),
    ],
)
def test_a_wrong_address_is_reported_in_one_line(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, address: str, fragment: str
) -> None:
    (project / "empty").mkdir()
    monkeypatch.setenv("BIKE_FEED", address)
    refusal = run("ingest").refusal()
    assert address in refusal
    assert fragment in refusal
    assert contents(project / "state") == {}


@pytest.mark.usefixtures("project")
def test_reading_fails_if_an_ingested_month_is_missing(run: Run) -> None:
    run("ingest")
    (DATA / f"{MONTHS[1]}.parquet").unlink()
    with pytest.raises(UserError, match=r"2011-02\.parquet is missing; run ingest again"):
        read_rows(DATA)


def test_a_feed_folder_may_be_a_link(project: Path, run: Run) -> None:
    (project / "feed").rename(project / "real")
    try:
        (project / "feed").symlink_to(project / "real", target_is_directory=True)
    except OSError:
        pytest.skip("links need a privilege here")
    assert run("ingest").status == 0
    assert ingested() == published(project / "real")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("day", ["0001-01-01", "1970-01-01", "9999-12-31"])
def test_implausible_as_of_is_rejected(run: Run, day: str) -> None:
    assert f"--as-of {day}" in run("ingest", "--as-of", day).refusal()
