"""Runbooks and people: which step is done on which day, and how hands are played."""

from datetime import date
from pathlib import Path

import pytest

from data import UserError
from ladder import runbook
from ladder.levels import level, levels

PEOPLE = runbook.load_people()


def test_each_level_has_a_time_for_each_step_of_its_runbook() -> None:
    for each in levels():
        steps = runbook.load(each.folder)
        assert {step.id for step in steps.release} == set(PEOPLE.levels[each.number].days)


def test_releases_go_live_on_the_teams_days_with_data_as_old_as_the_steps_take() -> None:
    start, end = date(2011, 7, 1), date(2012, 12, 31)
    chosen = level(0)
    plan = list(runbook.plan(chosen, PEOPLE.levels[0], runbook.load(chosen.folder), start, end))
    exports = [day for day, step in plan if step.id == "export"]
    lives = [day for day, step in plan if step.id == "check"]
    assert lives == [date(2011, 7, 1), date(2012, 1, 1), date(2012, 7, 1)]
    assert [(live - export).days for live, export in zip(lives, exports, strict=True)] == [21, 21, 21]
    assert [day for day, _ in plan] == sorted(day for day, _ in plan)


def test_a_team_that_forgets_a_step_is_refused() -> None:
    chosen = level(0)
    team = PEOPLE.levels[0].model_copy(update={"days": dict(list(PEOPLE.levels[0].days.items())[1:])})
    with pytest.raises(UserError, match=r"not the steps of its runbook\.yaml: export"):
        list(runbook.plan(chosen, team, runbook.load(chosen.folder), date(2012, 1, 1), date(2012, 2, 1)))


def test_a_runbook_with_an_unknown_key_is_refused_by_file_and_key(tmp_path: Path) -> None:
    (tmp_path / "runbook.yaml").write_text(
        "release:\n  - {id: a, who: machine, does: x, comand: y}\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"runbook\.yaml: release\.0\.comand"):
        runbook.load(tmp_path)


def test_pasting_keeps_one_header(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(f"x\n{name}\n", encoding="utf-8")
    runbook.paste(tmp_path, runbook.Move.model_validate({"from": "[ab].csv", "to": "out.csv"}))
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "x\na\nb\n"


def test_copying_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    for name, file in (("new", "1"), ("old", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    runbook.copy(tmp_path, runbook.Move.model_validate({"from": "new", "to": "old"}))
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["1"]


def test_copying_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no state/handoff to copy"):
        runbook.copy(tmp_path, runbook.Move.model_validate({"from": "state/handoff", "to": "x"}))
