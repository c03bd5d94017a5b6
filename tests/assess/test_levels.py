"""This repository's own levels are what they are called, and so is a project made from one of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from ladder import cli, workcopy
from ladder.assess.judge import Assessment
from ladder.levels import Level, levels
from tests.assess.projects import assessed

JUDGED = "        results[at] = _result(gate, context)\n"
MUTATIONS = {
    "overwritten": (JUDGED, f'{JUDGED}        results[at]["passed"] = True\n'),
    "stored": ('        "passed": result.passed,\n', '        "passed": True,\n'),
    "ignored": (
        '        if not results[at]["passed"]:\n',
        '        if not results[at]["passed"] and False:\n',
    ),
}


def gaps(found: Assessment) -> set[str]:
    return {gap.practice.id for each in found.caps() for gap in each.gaps}


@pytest.mark.parametrize("level", levels(), ids=lambda each: str(each.number))
def test_a_level_is_assessed_as_what_it_is(level: Level) -> None:
    found = assessed(level.folder)
    assert found.level == level.number
    assert not found.off
    counts = found.counts()
    assert counts.get("seen", 0) > 4 * counts.get("answered", 0) or not level.number


@pytest.mark.parametrize("level", levels(), ids=lambda each: str(each.number))
def test_so_is_a_project_made_from_it_with_another_name_and_its_own_problem(
    level: Level, tmp_path: Path
) -> None:
    dest = tmp_path / "project"
    assert cli.main(["new", str(level.number), str(dest), "--package", "taxi_rides", "--no-feed"]) == 0
    assert assessed(dest).level == level.number
    problem = dest / "taxi_rides" / "problem"
    if problem.is_dir():  # any other problem
        toy = dest / "tests" / "toy" / "__init__.py"
        for path in problem.glob("*.py"):
            path.unlink()
        (problem / "__init__.py").write_text(toy.read_text(encoding="utf-8"), encoding="utf-8")
        assert assessed(dest).level == level.number


def test_a_copy_outside_of_git_is_still_what_it_is(tmp_path: Path) -> None:
    assert assessed(workcopy.make(levels()[3], tmp_path / "copy")).level == 3


@pytest.mark.parametrize("change", MUTATIONS.values(), ids=MUTATIONS)
def test_a_gate_whose_result_is_overwritten_is_named(tmp_path: Path, change: tuple[str, str]) -> None:
    project = workcopy.make(levels()[3], tmp_path / "copy")
    path = project / "bike_demand" / "release" / "deploy.py"
    before, after = change
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    found = assessed(project)
    assert found.level == 2
    assert gaps(found) == {"gates"}
    assert [each.fact.file for each in found.off] == ["bike_demand/release/deploy.py"]


def test_a_training_that_is_switched_off_is_named(tmp_path: Path) -> None:
    project = workcopy.make(levels()[2], tmp_path / "copy")
    (project / "prefect.yaml").unlink()
    path = project / ".github" / "workflows" / "training.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(f"# {line}" for line in text.split("\n")), encoding="utf-8")
    found = assessed(project)
    assert found.level == 1
    assert "training" in gaps(found)
    assert any("commented out" in each.off for each in found.off)


def test_this_repository_is_noted_to_hold_several_projects() -> None:
    folder = levels()[0].folder.parent
    done = subprocess.run(
        [sys.executable, "-m", "ladder.cli", "assess", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--path" in done.stdout
