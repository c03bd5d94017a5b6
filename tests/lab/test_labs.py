"""Each lab's own text: its check is open first and after an incomplete solution, passed after its steps."""

import hashlib
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ladder.lab.checks import Finding, check
from ladder.lab.definition import Lab, lab_of, labs, path_of
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


def states(lab: Lab, folder: Path) -> dict[str, bool | None]:
    """How each criterion stands."""
    found = check(lab, folder)
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
    untouched = states(lab, folder)
    assert tree(folder) == before  # later, services of the lab may be writing
    assert {name for name, passed in untouched.items() if passed} == set(lab.initially_met)
    with run_solution(lab, folder, port):
        assert set(states(lab, folder).values()) == {True}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lab", IN_THE_FOLDER, ids=lambda lab: path_of(lab).stem)
def test_an_incomplete_solution_is_not_enough(lab: Lab) -> None:
    port = free_port()
    folder = begin(lab, port)
    assert lab.incomplete is not None
    with run_solution(lab, folder, port, without=lab.incomplete.without, instead=lab.incomplete.instead):
        found = states(lab, folder)
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


def found_by(number: int, folder: Path, *ids: str) -> dict[str, Finding]:
    """What some criteria of a lab find in a folder."""
    lab = lab_of(number)
    chosen = tuple(each for each in lab.criteria if each.id in ids)
    return {each.criterion.id: each for each in check(lab.model_copy(update={"criteria": chosen}), folder)}


COPIED = """\
golden["hour"] = golden["timestamp"].dt.hour
        golden["weekday"] = golden["timestamp"].dt.dayofweek
        golden["workingday"] = ((golden["weekday"] < 5) & (golden["holiday"] == 0)).astype(int)
        predicted = model.predict(golden[FEATURES].to_numpy(np.float32))
        difference = np.abs(predicted - golden["prediction"]).max()
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_lab_1_accepts_each_guard_that_refuses_and_no_other() -> None:
    port = free_port()
    folder = begin(lab_of(1), port)
    with run_solution(lab_of(1), folder, port):
        pass
    script = folder / "score.py"
    solved = script.read_text(encoding="utf-8")

    def found_after(*changes: tuple[str, str]) -> tuple[bool | None, str]:
        text = solved
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        script.write_text(text, encoding="utf-8")
        found = found_by(1, folder, "fixed", "guard")
        return found["fixed"].passed, found["guard"].found

    assert found_after(('print(f"error: golden', 'raise RuntimeError(f"golden')) == (True, "refused")
    assert found_after(("def main(", "# its day is < 5\ndef main(")) == (True, "refused")
    at_most = ('frame["weekday"] < 5', 'frame["weekday"] <= 4')
    assert found_after(at_most) == (True, "refused")
    compared = 'difference = np.abs(predict(model, golden) - golden["prediction"]).max()\n'
    fixed, guard = found_after(at_most, (compared, COPIED))
    assert fixed
    assert "old mistake" in guard
    predicted = 'frame["prediction"] = predict(model, frame)'
    more = f"frame = pd.concat([frame, golden])\n        {predicted}"
    fixed, guard = found_after((predicted, more))
    assert (fixed, guard) == (False, "refused")
    fixed, guard = found_after((predicted, "frame["))
    assert fixed is False
    assert "not Python" in guard


@pytest.mark.parametrize(
    ("extra", "whole"),
    [(None, True), (".DS_Store", True), ("more.txt", False), ("handoff/model.onnx", False)],
)
def test_lab_2_compares_the_files_of_a_handoff(tmp_path: Path, extra: str | None, whole: bool) -> None:
    folders = [tmp_path / "scientist" / "state" / "handoff", tmp_path / "engineer" / "state" / "model"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "model.json").write_text('{"version": "1"}', encoding="utf-8")
    if extra is not None:
        (folders[1] / extra).parent.mkdir(exist_ok=True)
        (folders[1] / extra).touch()
    assert found_by(2, tmp_path, "whole")["whole"].passed is whole


@pytest.mark.slow
def test_lab_5_accepts_a_later_version_than_one_with_uncommitted_code(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    state = tmp_path / "level2" / "state"
    state.mkdir(parents=True)
    client = MlflowClient(uri := f"sqlite:///{(state / 'mlflow.db').as_posix()}", uri)
    client.create_registered_model("toy")
    experiment = client.create_experiment("toy")
    for uncommitted in ("false", "false", "true", "false"):
        run = client.create_run(experiment, tags={"git.uncommitted": uncommitted}).info.run_id
        client.log_param(run, "max_leaf_nodes", 15)
        client.create_model_version("toy", f"runs:/{run}/model", run)
        (state / "reproduced" / run).mkdir(parents=True)
    ids = ("restored", "own", "smaller", "again")
    assert {each.passed for each in found_by(5, tmp_path, *ids).values()} == {True}
    (state / "reproduced" / run).rmdir()
    assert {name for name, each in found_by(5, tmp_path, *ids).items() if not each.passed} == {"again"}


@pytest.mark.parametrize(
    ("number", "name", "row", "passed"),
    [
        (8, "decided", (2, "live", None, "", 1), True),
        (8, "decided", (2, "live", "we are in a hurry", "", 1), False),
        (10, "back", (2, "rolled_back", None, "drill", 1), True),
        (10, "back", (2, "rolled_back", None, "found worse by its watch: 9 % higher", 1), False),
    ],
)
def test_what_was_done_by_hand_is_told_apart(
    tmp_path: Path, number: int, name: str, row: tuple[object, ...], passed: bool
) -> None:
    folder = tmp_path / "lab" / str(number)
    project = tmp_path / "up" / "level4" if number == 10 else folder
    (project / "state").mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".ladder-made").touch()
    if number == 10:
        (project / ".ladder-made").touch()
        os.utime(folder / ".ladder-made", (1, 1))
    with closing(sqlite3.connect(project / "state" / "production.db")) as database:
        columns = "version, state, skip_reason, reason, began_at"
        database.execute(f"CREATE TABLE deployments (id INTEGER PRIMARY KEY, {columns})")
        database.execute("CREATE TABLE transitions (deployment, new)")
        database.execute("CREATE TABLE signals (kind)")
        database.execute(f"INSERT INTO deployments ({columns}) VALUES (?, ?, ?, ?, ?)", row)
        database.commit()
    assert found_by(number, folder, name)[name].passed is passed


def test_lab_12_names_the_project_that_it_checks(tmp_path: Path) -> None:
    for name in ("newer", "older"):
        (tmp_path / name / name / "problem").mkdir(parents=True)
        (tmp_path / name / name / "problem" / "schema.py").touch()
        (tmp_path / name / "runbook.yaml").touch()
    os.utime(tmp_path / "older", (1, 1))
    assert found_by(12, tmp_path, "checked")["checked"].found == "newer: no"
