"""Starters with another problem: whole, about nothing else, and with a world of their own."""

import json
import os
import re
import shlex
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from ladder import UserError
from ladder.levels import level
from ladder.starter import problems, template
from ladder.starter.new import new
from ladder.starter.rename import PACKAGE
from ladder.world import other_problems
from tests.tool.starters import run, text_of, tracked

NAMES = other_problems.names()
# Of the level's own problem, whatever they are a part of.
WORDS = re.compile(r"bikes?|bicycle|casual|registered_users|windspeed|workingday|feels_like", re.IGNORECASE)
FACTS = """
import json
from {package}.problem import PROBLEM as p
identity = {{name: p.example[name] for name in (p.time, *p.keys)}}
print(json.dumps([p.name, p.title, p.description, dict(p.example), identity | dict(p.example_label)]))
"""
SLOW = pytest.mark.slow
LEVELS = [1, pytest.param(2, marks=SLOW), pytest.param(3, marks=SLOW), 4]


def package_of(name: str) -> str:
    return name.replace("-", "_")


def made(name: str, number: int, folder: Path) -> Path:
    """A project of that level about that problem."""
    new(level(number), folder, Console(quiet=True), problem=name)
    return folder


@pytest.mark.parametrize("number", LEVELS)
@pytest.mark.parametrize("name", NAMES)
def test_no_word_of_the_bikes_is_left(name: str, number: int, tmp_path: Path) -> None:
    template.write(level(number), package_of(name), tmp_path, name)
    found = {}
    for path in sorted(each for each in tmp_path.rglob("*") if each.is_file()):
        reported = path.relative_to(tmp_path).as_posix()
        if words := WORDS.findall(reported + text_of(path)):
            found[reported] = words
    assert found == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_readme_is_about_the_problem_and_its_request_is_the_example(name: str, tmp_path: Path) -> None:
    project, package = made(name, 1, tmp_path / "project"), package_of(name)
    facts = json.loads(run(project, "-c", FACTS.format(package=package)).stdout)
    about = problems.introduction(name)
    assert facts == [about.name, about.title, about.description, about.request, about.outcome]
    readme = text_of(project / "README.md")
    assert readme.startswith(f"# {about.title}\n")
    (body,) = re.findall(r"--data '(.*?)'", readme, re.DOTALL)
    assert json.loads(body) == about.request
    assert f'problem = "{name}"\n' in text_of(project / ".starter.toml")
    assert f"{package}/problem/schema.py" in tracked(project)
    assert "tests/problem/test_bikes.py" not in tracked(project)
    run(project, "-m", package, "problem", "check")  # its fields fit its feed, and its model fits


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_its_tests_pass_and_its_main_commands_run(name: str, number: int, tmp_path: Path) -> None:
    project = made(name, number, tmp_path / "project")
    run(project, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", timeout=1500)
    run(project, "-m", "mypy")
    command = ["agent", "--once"] if number == 4 else ["train"]
    run(project, "-m", package_of(name), "ingest")
    run(project, "-m", package_of(name), *command)


def test_what_does_not_go_together_or_is_not_there_is_refused(tmp_path: Path) -> None:
    console = Console(quiet=True)
    with pytest.raises(UserError, match="energy-load"):
        new(level(1), tmp_path / "project", console, problem="tides")
    with pytest.raises(UserError, match="level 0"):
        new(level(0), tmp_path / "project", console, problem=NAMES[0])
    with pytest.raises(UserError, match="--problem"):
        new(level(1), tmp_path / "project", console, feed=tmp_path, problem=NAMES[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="permissions of Unix")
def test_a_problem_of_a_read_only_checkout_can_be_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(other_problems.PROBLEMS / NAMES[0], tmp_path / "problems" / NAMES[0])
    monkeypatch.setattr(other_problems, "PROBLEMS", tmp_path / "problems")
    for path in (tmp_path / "problems").rglob("*"):
        path.chmod(path.stat().st_mode & 0o555)
    template.write(level(1), PACKAGE, tmp_path / "project", NAMES[0])
    assert not [path for path in (tmp_path / "project").rglob("*") if not path.stat().st_mode & 0o200]


# ---- their worlds


@pytest.mark.parametrize("name", NAMES)
def test_a_world_is_always_the_same_and_changes_only_after_its_event(name: str) -> None:
    world = other_problems.world(name)
    end, event = world.START + timedelta(days=40), world.START + timedelta(days=20)
    rows, changed = list(world.happened(end)), list(world.happened(end, event))
    assert rows == list(world.happened(end))
    times = [row[world.TIME] for row in rows]
    assert times == sorted(times)
    before = [row for row in rows if row[world.TIME] < event.isoformat()]
    assert changed[: len(before)] == before
    assert changed != rows


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_published_when_they_are_due_and_faults_in_their_days(name: str, tmp_path: Path) -> None:
    world = other_problems.world(name)
    end = world.START + timedelta(days=40)
    now, fault = datetime(end.year, end.month, end.day), (end - timedelta(days=5), end)
    rows = list(world.happened(end))
    other_problems.publish(world, rows, now, tmp_path)
    good = {path.name: path.read_text(encoding="utf-8").splitlines() for path in tmp_path.iterdir()}
    assert sum(map(len, good.values())) == len(rows) + len(good)
    labelled = sum(not line.endswith(",") for lines in good.values() for line in lines[1:])
    assert labelled == sum(datetime.fromisoformat(row[world.TIME]) + world.DELAY <= now for row in rows)

    other_problems.publish(world, rows, now, tmp_path, fault)
    for path in tmp_path.iterdir():
        pairs = zip(good[path.name], path.read_text(encoding="utf-8").splitlines(), strict=True)
        days = {date.fromisoformat(line[:10]) for line, other in pairs if line != other}
        assert all(fault[0] <= day < fault[1] for day in days)
        assert bool(days) == (path.stem == f"{fault[0]:%Y-%m}")


def test_a_feed_that_ends_earlier_loses_the_later_months_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "2029-01.csv").write_text("mine\n", encoding="utf-8")
    start = other_problems.world(NAMES[0]).START
    for days in (70, 10):
        other_problems.write(NAMES[0], tmp_path, start + timedelta(days=days), None, None, 7)
    assert {path.name for path in tmp_path.iterdir()} == {f"{start:%Y-%m}.csv", "2029-01.csv"}
    with pytest.raises(UserError, match=f"--until {start}: .* after {start}"):
        other_problems.write(NAMES[0], tmp_path, start, None, None, 7)


def test_a_file_of_somebody_is_not_overwritten_by_a_month(tmp_path: Path) -> None:
    start = other_problems.world(NAMES[0]).START
    mine = tmp_path / f"{start:%Y-%m}.csv"
    mine.write_bytes(b"m\xe4in\n")
    with pytest.raises(UserError, match="not a month of this feed"):
        other_problems.write(NAMES[0], tmp_path, start + timedelta(days=40), None, None, 7)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {mine.name: b"m\xe4in\n"}


def test_the_request_of_a_readme_can_be_pasted_into_a_shell() -> None:
    request = {"place": "King's Cross", "note": "very light rain " * 8, "hours": 7, "open": None}
    about = problems.Introduction("shop", "Shop", "Sales.", request, {"at": "2023-01-01", "sold": 3})
    readme = about.put_into("# A\n\nB\n\n    curl --data '{\"x\": 1}' URL\n")
    _, _, data, _ = shlex.split(readme.split("\n\n", 2)[2])
    assert json.loads(data) == request


def test_a_problem_that_prints_can_be_introduced(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "problem.py").write_text(
        'import types\n\nprint("loaded")\n'
        'PROBLEM = types.SimpleNamespace(name="shop", title="Shop", description="",'
        ' example={"at": 1}, time="at", keys=(), example_label={"sold": 3})\n',
        encoding="utf-8",
    )
    found = problems.introduction_of(tmp_path, "shop")
    assert found == problems.Introduction("shop", "Shop", "", {"at": 1}, {"at": 1, "sold": 3}, [])


def test_clocks_change_in_the_world_of_the_electricity() -> None:
    world = other_problems.world("energy-load")
    times = [row["period_start"] for row in world.happened(date(2023, 3, 28)) if row["region"] == 1]
    on_the_day = [each[11:16] for each in times if each.startswith("2023-03-26")]
    assert len(on_the_day) == 46
    assert on_the_day[3:5] == ["01:30", "03:00"]
    assert len(list(world.half_hours(date(2023, 10, 29)))) == 50
