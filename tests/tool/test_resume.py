"""A replay that was cut off in the middle goes on where it was, and comes to what it would have come to."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import psutil
import pytest

from ladder.compare.checkpoint import Checkpoint
from ladder.levels import ROOT, levels
from tests.tool.test_demo import processes_in, without_times


def day(number: int) -> date:
    return date(2011, 11, number)


@pytest.fixture
def often(environment: dict[str, str]) -> dict[str, str]:
    """It is kept how far a replay is as often as it can be."""
    environment["LADDER_KEEP_SECONDS"] = "0"
    return environment


def begin(environment: dict[str, str], *arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "ladder", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def to_its_end(replay: "subprocess.Popen[str]") -> str:
    """What it printed."""
    said, _ = replay.communicate()
    assert replay.returncode == 0, said
    return said


def until_kept(replay: "subprocess.Popen[str]", saved: Path, after: str) -> str:
    """Wait until a day after that one was kept; which."""
    while replay.poll() is None:
        kept = [path.name.removeprefix("day-") for path in saved.glob("day-????-??-??")]
        if kept and max(kept) > after:
            return max(kept)
        time.sleep(0.02)
    raise AssertionError(f"nothing was kept: {replay.communicate()}")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("numbers", "end"),
    [
        # Without incidents, which would need a yardstick. What is kept of a day is tested below, too.
        pytest.param("1", "2011-11-02", marks=pytest.mark.slow),
        pytest.param(
            ",".join(str(each.number) for each in levels()),
            "2011-11-12",
            marks=[pytest.mark.slow, pytest.mark.timeout(1800)],
        ),
    ],
)
def test_a_replay_that_was_killed_twice_comes_to_the_same(
    often: dict[str, str], week: Path, tmp_path: Path, numbers: str, end: str
) -> None:
    command = ("compare", "--scenario", week, "--to", end, "--levels", numbers, "--no-one-cadence", "--out")
    assert "cut off" not in to_its_end(begin(often, *command, tmp_path / "whole"))

    saved = Path(often["LADDER_HOME"], "compare", "saved", numbers[-1])
    # The command alone is killed; what it started is still at work when it is called again at once.
    first = begin(often, *command, tmp_path / "parts")
    reached = until_kept(first, saved, "2011-10-20")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    # Everything is killed but the application, which nobody is left to stop.
    second = begin(often, *command, tmp_path / "parts")
    until_kept(second, saved, reached)
    workers = psutil.Process(second.pid).children()
    os.killpg(second.pid, signal.SIGKILL)
    for worker in workers:
        worker.kill()
    said, _ = second.communicate()
    assert "Going on where the replay of" in said
    assert f"level {numbers[-1]} at {reached}" in " ".join(said.split())
    assert not (tmp_path / "parts" / "compare.json").exists()

    assert "Going on where" in to_its_end(begin(often, *command, tmp_path / "parts"))
    found = [
        json.loads((tmp_path / name / "compare.json").read_text(encoding="utf-8"))
        for name in ("whole", "parts")
    ]
    assert without_times(found[1]) == without_times(found[0])
    assert processes_in(Path(often["LADDER_HOME"])) == []
    assert not saved.parent.exists(), "the next one would not begin anew"


def test_another_replay_does_not_go_on_where_this_one_was(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "file").write_text("mine", encoding="utf-8")
    Checkpoint(tmp_path / "saved", "one").keep(day(3), {"said": [1.0]}, copy)
    assert Checkpoint(tmp_path / "saved", "one").reached() == day(3)
    assert Checkpoint(tmp_path / "saved", "other").reached() is None
    Checkpoint(tmp_path / "saved", "one").done("all of it")
    assert Checkpoint(tmp_path / "saved", "one").result() == "all of it"
    assert Checkpoint(tmp_path / "saved", "other").result() is None


def test_what_was_kept_is_put_back_as_it_was_then(tmp_path: Path) -> None:
    copy, kept = tmp_path / "copy", Checkpoint(tmp_path / "saved", "key")
    (copy / "deep").mkdir(parents=True)
    (copy / "deep" / "same").write_text("same", encoding="utf-8")
    (copy / "deep" / "changes").write_text("one", encoding="utf-8")
    database = sqlite3.connect(copy / "log.db")  # stays open, as an application's does
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE rows (number INTEGER)")
    for number, text in enumerate(("two", "three"), start=1):
        database.execute("INSERT INTO rows VALUES (?)", (number,))
        database.commit()
        kept.keep(day(number), number, copy)
        (copy / "deep" / "changes").write_text(text, encoding="utf-8")
    database.execute("INSERT INTO rows VALUES (3)")
    database.commit()
    (copy / "later").touch()
    database.close()

    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"files", "day-2011-11-02"}
    assert len(list((tmp_path / "saved" / "files").iterdir())) == 3, "copies that no day needs are left"
    assert Checkpoint(tmp_path / "saved", "key").restore(copy) == 2
    assert sorted(path.name for path in copy.rglob("*") if path.is_file()) == ["changes", "log.db", "same"]
    assert (copy / "deep" / "changes").read_text(encoding="utf-8") == "two"
    back = sqlite3.connect(copy / "log.db")
    assert back.execute("SELECT number FROM rows").fetchall() == [(1,), (2,)]
    back.close()


def test_files_that_an_application_has_for_a_moment_are_in_no_way(tmp_path: Path) -> None:
    copy, kept = tmp_path / "copy", Checkpoint(tmp_path / "saved", "key")
    copy.mkdir()
    done = threading.Event()

    def work() -> None:
        """As SQLite has a log while a database is open, and others write a file and then move it."""
        while not done.is_set():
            for name in ("log.db-wal", "log.db-shm", "half"):
                (copy / name).touch()
            (copy / "half").replace(copy / "whole")
            for name in ("log.db-wal", "log.db-shm"):
                (copy / name).unlink()

    sqlite3.connect(copy / "log.db").close()
    worker = threading.Thread(target=work)
    worker.start()
    try:
        for number in range(1, 29):
            kept.keep(day(number), number, copy)
    finally:
        done.set()
        worker.join()
    assert Checkpoint(tmp_path / "saved", "key").restore(copy) == 28
    assert (copy / "log.db").is_file()
    assert not list(copy.glob("log.db-*"))


def test_a_day_of_which_not_all_was_written_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    copy, kept = tmp_path / "copy", Checkpoint(tmp_path / "saved", "key")
    copy.mkdir()
    (copy / "file").touch()
    kept.keep(day(1), "whole", copy)
    (tmp_path / "saved" / "files" / "7").write_bytes(b"copied, but the list was not written")
    (tmp_path / "saved" / "day-2011-11-02.new").write_bytes(b"key\nhalf")
    again = Checkpoint(tmp_path / "saved", "key")
    assert again.reached() == day(1)
    assert again.restore(copy) == "whole"
    again.keep(day(3), "next", copy)
    assert Checkpoint(tmp_path / "saved", "key").restore(copy) == "next"
    assert len(list((tmp_path / "saved" / "files").iterdir())) == 1
