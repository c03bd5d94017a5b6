"""The feed on disk: what is read, what is refused and how, what is written."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ladder import UserError
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import COLUMNS, read_feed, write_feed

HEADER = ",".join(COLUMNS)
ROWS = [
    "2011-01-01T00:00:00,0,0,1,3.28,2.1,0.81,0.0,3,13,16",
    "2011-01-01T01:00:00,0,0,2,2.34,1.0,,6.5,,,40",
    "2011-01-01T03:00:00,1,0,4,-2.0,-4.5,1.0,12.0,0,1,1",
]


def feed_of(folder: Path, rows: list[str], name: str = "2011-01.csv", header: str = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8", newline="")
    return folder


def test_a_file_of_somebody_is_not_overwritten(tmp_path: Path) -> None:
    frame = read_feed(feed_of(tmp_path / "feed", ROWS))
    mine = tmp_path / "mine" / "2011-01.csv"
    mine.parent.mkdir()
    mine.write_text("my,own,data\n1,2,3\n", encoding="utf-8")
    with pytest.raises(UserError, match="not part of a feed"):
        write_feed(frame, mine.parent)
    assert mine.read_text(encoding="utf-8") == "my,own,data\n1,2,3\n"


def test_a_feed_without_a_month_in_between_is_not_written(tmp_path: Path) -> None:
    frame = read_feed(feed_of(tmp_path / "feed", ROWS))
    later = frame.assign(timestamp=frame["timestamp"] + pd.DateOffset(months=2))
    with pytest.raises(UserError, match="no rows in 2011-02"):
        write_feed(pd.concat([frame, later], ignore_index=True), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_cell_that_is_too_long_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not CSV"):
        read_feed(feed_of(tmp_path / "feed", ["x" * 200_000]))


def test_types_and_nulls_of_a_good_feed(tmp_path: Path) -> None:
    frame = read_feed(feed_of(tmp_path / "feed", ROWS))
    assert list(frame.columns) == COLUMNS
    assert frame["timestamp"].tolist()[2] == pd.Timestamp("2011-01-01 03:00")
    assert frame["humidity"].isna().tolist() == [False, True, False]
    assert frame["casual"].isna().tolist() == [False, True, False]
    kinds = {column: str(kind) for column, kind in frame.dtypes.items()}
    assert kinds["timestamp"].startswith("datetime64")
    assert {kinds[column] for column in ("holiday", "workingday", "weather", "count")} == {"int64"}
    assert {kinds[column] for column in ("casual", "registered")} == {"Int64"}
    assert {kinds[column] for column in ("temp_c", "feels_like_c", "humidity", "windspeed_kmh")} == {
        "float64"
    }


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    folder = feed_of(tmp_path / "feed", ROWS)
    path = folder / "2011-01.csv"
    plain = read_feed(folder)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_feed(folder), plain)


EXPORTS: dict[str, Callable[[str], str]] = {
    "capitals in the header": lambda text: text.replace(HEADER, HEADER.upper()),
    "quoted cells": lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text),
    "padded cells": lambda text: text.replace(",", " , "),
    "empty lines at its end": lambda text: f"{text}\n\n",
}


@pytest.mark.parametrize("case", list(EXPORTS))
def test_the_same_feed_is_read_however_it_was_exported(tmp_path: Path, case: str) -> None:
    folder = feed_of(tmp_path / "feed", ROWS)
    path = folder / "2011-01.csv"
    plain = read_feed(folder)
    text = path.read_text(encoding="utf-8")
    path.write_text(EXPORTS[case](text), encoding="utf-8", newline="")
    assert path.read_text(encoding="utf-8") != text
    pd.testing.assert_frame_equal(read_feed(folder), plain)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("timestamp", "2011-01-01", "'2011-01-01' is not a full hour; write it like 2011-01-31T23:00:00"),
        ("timestamp", "2011-01-01T01:30:00", "'2011-01-01T01:30:00' is not a full hour"),
        ("timestamp", "2011-01-32T01:00:00", "'2011-01-32T01:00:00' is not a full hour"),
        ("timestamp", "2011-02-01T01:00:00", "is not in the month of the file; move the row"),
        ("timestamp", "2011-01-01T00:00:00", "appears twice; remove one of the rows"),
        ("timestamp", "", "'' is not a full hour"),
        ("holiday", "2", "'2' is not between 0 and 1; correct it"),
        ("workingday", "yes", "'yes' is not a whole number; correct it"),
        ("weather", "0", "'0' is not between 1 and 4; correct it"),
        ("weather", "5", "'5' is not between 1 and 4; correct it"),
        ("weather", "1.5", "'1.5' is not a whole number; correct it"),
        ("temp_c", "", "is empty; fill it in"),
        ("temp_c", "warm", "'warm' is not a number; correct it"),
        ("temp_c", "nan", "'nan' is not a number; correct it"),
        ("temp_c", "200", "'200' is not between -90 and 150; correct it"),
        ("feels_like_c", "-inf", "'-inf' is not between -90 and 150; correct it"),
        ("humidity", "1.01", "'1.01' is not between 0 and 1; correct it"),
        ("humidity", "81%", "'81%' is not a number; correct it"),
        ("windspeed_kmh", "-1", "'-1' is not between 0 and 410; correct it"),
        ("casual", "-1", "'-1' is not between 0 and 999999999; correct it"),
        ("casual", "", "both filled or both empty; correct the row"),
        ("registered", "many", "'many' is not a whole number; correct it"),
        ("count", "", "is empty; fill it in"),
        ("count", "7", "'7' is not casual + registered (0 + 1); correct the row"),
        ("count", "1.0", "'1.0' is not a whole number; correct it"),
    ],
)
def test_a_bad_value_is_refused_with_file_line_and_column(
    tmp_path: Path, column: str, value: str, says: str
) -> None:
    cells = ROWS[2].split(",")
    cells[COLUMNS.index(column)] = value
    folder = feed_of(tmp_path / "feed", [*ROWS[:2], ",".join(cells)])
    with pytest.raises(UserError) as error:
        read_feed(folder)
    where = "registered" if (column, value) == ("casual", "") else column
    assert str(error.value).startswith(f"{folder / '2011-01.csv'} line 4: column {where}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_line_is_that_of_the_second_file(tmp_path: Path) -> None:
    folder = feed_of(tmp_path / "feed", ROWS)
    later = [row.replace("2011-01", "2011-02") for row in ROWS]
    feed_of(folder, [later[0], later[1].replace(",40", ",forty")], "2011-02.csv")
    with pytest.raises(UserError, match=r"2011-02\.csv line 3: column count: 'forty' is not a whole number"):
        read_feed(folder)


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 4: column timestamp: '2011-01-01T01:00:00' is earlier than"):
        read_feed(feed_of(tmp_path / "feed", [ROWS[0], ROWS[2], ROWS[1]]))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            HEADER.replace("humidity,", ""),
            "humidity",
        ),
        (HEADER + ",bikes", "bikes"),
        (HEADER.replace("casual,registered", "registered,casual"), "order"),
    ],
)
def test_another_header_is_refused(tmp_path: Path, header: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        read_feed(feed_of(tmp_path / "feed", ROWS, header=header))
    assert f"2011-01.csv line 1: the header must be {HEADER};" in str(error.value)
    assert says in str(error.value).rpartition(": ")[2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "2011-01.csv: the file is empty; download it again"),
        (f"{HEADER}\n".encode(), "2011-01.csv: has a header but no rows; download it again"),
        (
            f"{HEADER}\n{ROWS[0]}\n{ROWS[1]}".encode(),
            "2011-01.csv line 3: has no line end: the file is truncated",
        ),
        (f"{HEADER}\n{ROWS[0]}\n{ROWS[1][:34]}".encode(), "line 3: has no line end: the file is truncated"),
        (f"{HEADER}\n{ROWS[0][:34]}\n{ROWS[1]}\n".encode(), "line 2: 6 values, not 11; correct the line"),
        (f"{HEADER}\n{ROWS[0]},1\n".encode(), "line 2: 12 values, not 11; correct the line"),
        (f"{HEADER}\n\xe9".encode("latin-1"), "2011-01.csv: not UTF-8 text"),
        (HEADER.replace(",", ";").encode(), "line 1: the separator is ';'; separate columns by commas"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    folder = tmp_path / "feed"
    folder.mkdir()
    (folder / "2011-01.csv").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_feed(folder)
    assert says in str(error.value)


def test_a_missing_month_is_refused(tmp_path: Path) -> None:
    folder = feed_of(tmp_path / "feed", ROWS)
    feed_of(folder, [row.replace("2011-01", "2011-03") for row in ROWS], "2011-03.csv")
    with pytest.raises(UserError, match=r"2011-02\.csv is missing between 2011-01\.csv and 2011-03\.csv"):
        read_feed(folder)


@pytest.mark.parametrize("name", ["2011-13.csv", "january.csv", "2011-01 (1).csv"])
def test_a_file_that_is_not_a_month_is_refused(tmp_path: Path, name: str) -> None:
    folder = feed_of(tmp_path / "feed", ROWS)
    feed_of(folder, ROWS, name)
    with pytest.raises(UserError, match="unexpected file name"):
        read_feed(folder)


def test_a_folder_without_a_feed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_feed(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no month file"):
        read_feed(tmp_path)


def test_a_feed_survives_writing_and_reading(tmp_path: Path, committed: pd.DataFrame) -> None:
    written = write_feed(committed, tmp_path / "feed")
    assert [path.name for path in written] == sorted(path.name for path in COMMITTED_FEED.glob("*.csv"))
    pd.testing.assert_frame_equal(read_feed(tmp_path / "feed"), committed)


def test_only_files_that_change_are_written(tmp_path: Path, committed: pd.DataFrame) -> None:
    folder = tmp_path / "feed"
    write_feed(committed, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert write_feed(committed, folder) == []
    changed = committed.copy()
    changed.loc[changed["timestamp"] == pd.Timestamp("2012-03-05 08:00"), "weather"] = 4
    assert write_feed(changed, folder) == [folder / "2012-03.csv"]
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"2012-03.csv"}


def test_months_that_the_feed_no_longer_has_are_removed(tmp_path: Path, committed: pd.DataFrame) -> None:
    folder = tmp_path / "feed"
    write_feed(committed, folder)
    write_feed(committed[committed["timestamp"] < pd.Timestamp("2011-03-01")], folder)
    assert sorted(path.name for path in folder.iterdir()) == ["2011-01.csv", "2011-02.csv"]


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, committed: pd.DataFrame) -> None:
    (tmp_path / "thesis.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(UserError, match=r"thesis\.txt: not part of a feed, so the folder is left unchanged"):
        write_feed(committed, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_hidden_files_do_not_matter(tmp_path: Path, committed: pd.DataFrame) -> None:
    (tmp_path / ".gitignore").write_text("*\n", encoding="utf-8")
    assert len(write_feed(committed, tmp_path)) == 24
    assert (tmp_path / ".gitignore").exists()
    assert len(read_feed(tmp_path)) == len(committed)


def test_a_file_that_is_only_named_like_a_month_is_not_removed(
    committed: pd.DataFrame, tmp_path: Path
) -> None:
    precious = tmp_path / "2013-05.csv"
    precious.write_text("precious\n", encoding="utf-8")
    with pytest.raises(UserError, match="named like a month, but not part of a feed"):
        write_feed(committed.head(100), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["2013-05.csv"]
