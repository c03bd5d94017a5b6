"""Each lab's own text: its check is open first and after an incomplete solution, passed after its steps."""

import hashlib
import re
from pathlib import Path

import pytest

from ladder.lab.checks import check
from ladder.lab.definition import Lab, labs, path_of
from ladder.lab.work import begin, run_solution
from ladder.levels import level
from ladder.service import free_port

QUICK = 1  # the lab that is tried whole each time; the others take minutes
IN_THE_FOLDER = [lab for lab in labs().values() if lab.has_folder]


def tree(folder: Path) -> dict[str, str]:
    """The files with their digests, without those that SQLite creates when a database is read."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith(("-shm", "-wal"))
    }


def states(lab: Lab, folder: Path, port: int) -> dict[str, bool | None]:
    """How each criterion stands."""
    found = check(lab, folder, port)
    assert [each.found for each in found if each.passed is None] == []
    return {each.criterion.id: each.passed for each in found}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "lab",
    [
        pytest.param(lab, id=path_of(lab).stem, marks=[pytest.mark.slow] * (lab.number != QUICK))
        for lab in IN_THE_FOLDER
    ],
)
def test_the_steps_of_a_lab_lead_from_an_open_check_to_a_passed_one(lab: Lab) -> None:
    port = free_port()
    folder = begin(lab, port)
    before = tree(folder)
    untouched = states(lab, folder, port)
    assert tree(folder) == before  # later, services of the lab may be writing
    assert {name for name, passed in untouched.items() if passed} == set(lab.initially_met)
    with run_solution(lab, folder, port):
        assert set(states(lab, folder, port).values()) == {True}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lab", IN_THE_FOLDER, ids=lambda lab: path_of(lab).stem)
def test_an_incomplete_solution_is_not_enough(lab: Lab) -> None:
    port = free_port()
    folder = begin(lab, port)
    assert lab.incomplete is not None
    with run_solution(lab, folder, port, without=lab.incomplete.without, instead=lab.incomplete.instead):
        found = states(lab, folder, port)
    assert {name for name, passed in found.items() if not passed} == set(lab.incomplete.unmet)


@pytest.mark.parametrize("lab", labs().values(), ids=lambda lab: path_of(lab).stem)
def test_what_participants_type_needs_no_shell(lab: Lab) -> None:
    for step in lab.steps:
        assert sum(map(bool, (step.run, step.edits, step.python))) <= 1
        assert (step.copies, step.commits) == (None, None)  # for starts: participants do it by a command
        if step.run is not None:
            assert step.run.split()[0] in {"python", "git", "dvc", "mlflow", "jupyter", "prefect"}
            assert not set(re.sub(r"\{\w+\}", "", step.run)) & set("|&;<>$`'\\{}*")
            assert "make " not in step.run
        assert step.run is not None or not (step.background or step.fails or step.shows)


def test_the_labs_are_numbered_from_0_and_each_can_be_told_from_an_untouched_start() -> None:
    assert list(labs()) == sorted(labs())
    for lab in IN_THE_FOLDER:
        assert path_of(lab).name.startswith(f"{lab.number:02}-")
        assert len(lab.hints) >= 3
        assert lab.incomplete is not None
        assert set(lab.initially_met) < {each.id for each in lab.criteria}
        unmet, met = set(lab.incomplete.unmet), set(lab.initially_met)
        assert unmet - met or unmet <= met


@pytest.mark.parametrize("lab", IN_THE_FOLDER, ids=lambda lab: path_of(lab).stem)
def test_the_edits_fit_the_files_of_the_levels(lab: Lab) -> None:
    actions = [*lab.start.actions, *lab.steps]
    texts: dict[str, str] = {}
    for change in (change for action in actions for change in action.edits):
        level_of = {f"{name}/".removeprefix("./"): number for name, number in lab.start.levels.items()}
        prefix = next((each for each in sorted(level_of, reverse=True) if change.file.startswith(each)), None)
        path = None if prefix is None else level(level_of[prefix]).folder / change.file.removeprefix(prefix)
        if change.old is None:
            texts[change.file] = change.new
        elif change.file in texts or (path is not None and path.is_file()):
            known = texts.get(change.file) or path.read_text(encoding="utf-8")  # type: ignore[union-attr]
            if known.count(change.old) == 0:  # made on another branch, and undone
                known = path.read_text(encoding="utf-8")  # type: ignore[union-attr]
            assert known.count(change.old) == 1, f"{change.file}: {change.old}"
            texts[change.file] = known.replace(change.old, change.new)


@pytest.mark.parametrize("lab", IN_THE_FOLDER, ids=lambda lab: path_of(lab).stem)
def test_the_tables_that_a_lab_queries_exist(lab: Lab) -> None:
    text = path_of(lab).read_text(encoding="utf-8")
    queried = set(re.findall(r"SELECT .*? FROM ([a-z_]+)", text)) - {"model_versions", "model_version_tags"}
    tables = level(lab.level or 0).folder / "bike_demand" / "store" / "tables.py"  # the others are MLflow's
    assert not queried or queried <= set(re.findall(r'__tablename__ = "(\w+)"', tables.read_text("utf-8")))
