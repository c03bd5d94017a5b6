"""`ladder demo`: what it prints and writes, that it can be repeated, and what Ctrl-C leaves behind."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from ladder import ROOT
from ladder.levels import levels
from ladder.world.feedfile import read_feed, write_feed
from tests.tool.conftest import Ladder


def content_of_levels() -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for level in levels()
        for path in level.folder.rglob("*")
        if path.is_file() and "cache" not in str(path)
    }


def without_times(content: Any) -> Any:
    """A comparison without what differs each time it is made: what a clock says, and ids of predictions."""
    of_the_clock = {"wall_seconds", "machine_seconds", "seconds", "begins", "ends"}
    if isinstance(content, dict) and "asks" in content:
        return content["question"], content["answered"]
    if isinstance(content, dict):
        return {key: without_times(value) for key, value in content.items() if key not in of_the_clock}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def processes_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.cwd() or any(str(folder) in part for part in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.parametrize(
    ("numbers", "name", "since", "incidents"),
    [
        ((1,), "days", "2011-11-12", ("2011-11-13", "2011-11-14")),
        pytest.param(
            tuple(level.number for level in levels()),
            "week",
            "2011-10-25",
            ("2011-11-04", "2011-11-08"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_demo_replays_every_level_and_reports_what_users_got(
    run_ladder: Ladder,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    numbers: tuple[int, ...],
    name: str,
    since: str,
    incidents: tuple[str, str],
) -> None:
    before = content_of_levels()
    every = len(numbers) == len(levels())
    chosen = [] if every else [part for number in numbers for part in ("--level", str(number))]
    scenario = request.getfixturevalue(name)
    done = run_ladder("demo", "--scenario", scenario, "--out", tmp_path / "reports", *chosen)
    assert done.returncode == 0, done.stderr

    report = json.loads((tmp_path / "reports" / "compare.json").read_text(encoding="utf-8"))
    assert report["story"]["incidents"] == [
        {"kind": "units", "since": incidents[0], "until": incidents[0]},
        {"kind": "growth", "since": incidents[1], "until": None},
    ]
    assert report["story"]["name"] == str(scenario)  # by which it is found again
    assert list(report["levels"]) == [str(number) for number in numbers]
    for number, row in report["levels"].items():
        assert 0 < row["mae"] < 200
        assert len(row["weekly_mae"]) == (4 if every else 1)
        assert row["failed_requests"] == 0
        assert row["manual_steps"] >= row["manual_steps_of_releases"]
        assert (row["manual_steps_of_releases"] > 0) == (int(number) < 3), "from level 3 on nobody releases"
        assert row["trainings"] >= 1
        assert f"{row['mae']:.1f}" in done.stdout, f"level {number}"
    assert report["same_dates"] is None
    assert "<html" in (tmp_path / "reports" / "compare.html").read_text(encoding="utf-8")
    # Level 1 releases on 15 November, level 0 only in January: both start with one release.
    assert report["levels"]["1"]["released_on"] == [since, "2011-11-15"]
    if every:
        zero = report["levels"]["0"]
        assert zero["released_on"] == [since]
        # Three steps a day are done by hand for users to have predictions at all.
        assert zero["manual_steps"] - zero["manual_steps_of_releases"] == 3 * 24

    assert content_of_levels() == before, "a level was run in place"
    assert list((tmp_path / "home").iterdir()) == [], "something was written to the home folder"
    assert processes_in(tmp_path / "ladder") == []


@pytest.mark.slow
def test_a_feed_of_ones_own_is_replayed_without_what_only_the_simulator_can_do(
    run_ladder: Ladder, week: Path, tmp_path: Path
) -> None:
    clean = read_feed(ROOT / "data" / "feed")
    write_feed(clean[clean["timestamp"] < "2011-12-01"], tmp_path / "mine")
    done = run_ladder(
        "demo", "--scenario", week, "--feed", tmp_path / "mine", "--level", "0", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "(they need the simulator): growth" in done.stdout
    report = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    assert [incident["kind"] for incident in report["story"]["incidents"]] == ["units"]


@pytest.mark.slow
def test_a_replay_gives_the_same_numbers_each_time(run_ladder: Ladder, tmp_path: Path) -> None:
    calm = tmp_path / "calm.toml"
    calm.write_text(
        'title = "Calm"\nsays = "Nothing."\nstart = 2011-10-25\nend = 2011-10-27\n', encoding="utf-8"
    )
    reports = []
    for number in range(2):
        done = run_ladder("demo", "--scenario", calm, "--level", "0", "--out", tmp_path / str(number))
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / str(number) / "compare.json").read_text(encoding="utf-8"))
        reports.append(without_times(report))
    assert reports[0] == reports[1]


def test_a_feed_too_short_for_the_story_is_refused_in_one_line(
    ladder: Ladder, week: Path, tmp_path: Path
) -> None:
    clean = read_feed(ROOT / "data" / "feed")
    write_feed(clean[clean["timestamp"] < "2011-11-01"], tmp_path / "mine")
    done = ladder("demo", "--scenario", week, "--feed", tmp_path / "mine", "--out", tmp_path / "reports")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'mine'}: the feed runs from 2011-01-01 to 2011-10-31")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "reports").exists()


def test_a_folder_the_tool_did_not_make_is_not_removed(
    ladder: Ladder, week: Path, environment: dict[str, str]
) -> None:
    mine = Path(environment["LADDER_HOME"], "demo")
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work", encoding="utf-8")
    done = ladder("demo", "--scenario", week)
    assert done.returncode == 1
    assert "was not created by ladder" in done.stderr
    assert (mine / "thesis.txt").read_text(encoding="utf-8") == "years of work"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a test cannot press Ctrl-C there")
@pytest.mark.parametrize(
    ("sign", "chosen"),
    [
        pytest.param(".ladder-made", (), id="at once", marks=pytest.mark.slow),
        pytest.param("level0/export.csv", ("--level", "0"), id="notebook"),
        pytest.param("level1/state/service.log", ("--level", "1"), id="release", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_ends_every_process_and_leaves_no_half_written_file(
    environment: dict[str, str], week: Path, tmp_path: Path, sign: str, chosen: tuple[str, ...]
) -> None:
    copies = Path(environment["LADDER_HOME"])
    command = [sys.executable, "-m", "ladder", "demo", "--scenario", str(week), *chosen]
    demo = subprocess.Popen(
        [*command, "--out", str(tmp_path / "reports")],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    give_up = time.monotonic() + 200
    while not (copies / "demo" / sign).exists():
        assert demo.poll() is None, demo.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.05)
    time.sleep(0.5)  # into the start of processes, the notebook's cells, the application's start
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to everything it started
    _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 130, errors
    assert errors == "stopped\n"
    assert processes_in(copies) == []
    assert list((tmp_path / "reports").iterdir()) == []
    left = [
        path for path in copies.rglob("*") if ".git" not in path.parts and path.suffix in (".tmp", ".part")
    ]
    assert left == []
    for feed in copies.glob("demo/*/feed"):
        read_feed(feed)  # strict: a month cut off in the middle would be refused


def test_a_report_that_could_not_be_written_is_refused_before_the_replay(ladder: Ladder, week: Path) -> None:
    done = ladder("demo", "--scenario", week, "--out", "README.md")
    assert done.returncode == 1
    assert done.stderr == "error: README.md: File exists; choose another path\n"
    assert done.stdout == ""


def test_two_commands_do_not_share_a_working_copy(
    ladder: Ladder, week: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    lock = Path(environment["LADDER_HOME"], ".demo.lock")
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        done = ladder("demo", "--scenario", week, "--out", tmp_path / "reports")
    assert done.returncode == 1
    assert "another ladder command is using" in done.stderr


def test_an_incident_outside_the_period_is_a_mistake(ladder: Ladder, week: Path) -> None:
    week.write_text(week.read_text(encoding="utf-8").replace("2011-11-08", "2012-11-08"), encoding="utf-8")
    done = ladder("demo", "--scenario", week)
    assert done.returncode == 1
    assert "growth begins on 2012-11-08, outside the story's period" in done.stderr
