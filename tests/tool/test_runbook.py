"""Runbooks and people: which step is done on which day, and how manual steps are replayed."""

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ladder import UserError, runbook
from ladder.levels import level, levels

PEOPLE = runbook.load_people()


def test_each_level_has_a_time_for_each_step_of_its_runbook() -> None:
    for each in levels():
        steps = runbook.load(each.folder)
        ids = {step.id for step in (*steps.release, *steps.after_refusal)}
        assert ids == set(PEOPLE.levels[each.number].days)


def test_releases_go_live_on_the_teams_days_with_data_as_old_as_the_steps_take() -> None:
    start, end = date(2011, 7, 1), date(2012, 12, 31)
    chosen = level(0)
    plan = list(runbook.plan(chosen, PEOPLE.levels[0], runbook.load(chosen.folder), start, end))
    exports = [day for day, _, step in plan if step.id == "export"]
    lives = [day for day, _, step in plan if step.id == "check"]
    assert lives == [date(2011, 7, 1), date(2012, 1, 1), date(2012, 7, 1)]
    assert [(live - export).days for live, export in zip(lives, exports, strict=True)] == [21, 21, 21]
    assert [day for day, *_ in plan] == sorted(day for day, *_ in plan)


def on_same_dates(number: int, start: date, end: date) -> tuple[runbook.Due, ...]:
    chosen = level(number)
    book = runbook.load(chosen.folder)
    return runbook.plan_on_same_dates(chosen, PEOPLE.team(chosen), book, PEOPLE.same_dates, start, end)


@pytest.mark.parametrize("number", [each.number for each in levels()])
def test_with_the_same_dates_every_level_begins_a_release_on_them(number: int) -> None:
    start, end = date(2011, 7, 1), date(2012, 12, 31)
    plan = on_same_dates(number, start, end)
    team, book = PEOPLE.levels[number], runbook.load(level(number).folder)
    begins: dict[int, date] = {}
    for due in plan:  # a step is done on the day on which it ends
        takes = timedelta(days=team.days[due.step.id].days if due.step.id in team.days else 0)
        begins.setdefault(due.release, due.on - takes)
    takes = timedelta(days=sum(team.days[step.id].days for step in book.release))
    assert begins.pop(0) + takes == start
    assert list(begins) == list(range(1, len(begins) + 1))
    first, last = min(begins.values()), max(begins.values())
    assert list(begins.values()) == [day.date() for day in pd.date_range(first, last, freq="MS")]
    assert first <= date(2011, 8, 1)
    assert last + takes <= end < last + takes + timedelta(days=31)


@pytest.mark.parametrize(("number", "same"), [(0, False), (1, False), (2, True), (3, False), (4, False)])
def test_a_level_that_has_these_dates_anyway_does_the_same(number: int, same: bool) -> None:
    start, end = date(2011, 7, 1), date(2012, 12, 31)
    chosen = level(number)
    own = runbook.plan(chosen, PEOPLE.team(chosen), runbook.load(chosen.folder), start, end)
    assert (on_same_dates(number, start, end) == own) == same


@pytest.mark.parametrize(
    ("number", "planned"),
    [
        (1, []),  # nobody corrects anything
        (
            2,
            [
                (date(2012, 6, 8), 11, "correct"),
                (date(2012, 6, 8), 40, "train"),
                (date(2012, 6, 10), 40, "review"),
                (date(2012, 6, 11), 40, "release"),
            ],
        ),
        (3, [(date(2012, 6, 8), 11, "correct"), (date(2012, 6, 8), 40, "train")]),
    ],
)
def test_people_see_to_what_a_gate_refused(number: int, planned: list[tuple[date, int, str]]) -> None:
    book, team = runbook.load(level(number).folder), PEOPLE.levels[number]
    refused = runbook.Due(date(2012, 6, 1), 11, book.release[0])
    found = runbook.plan_again(team, book, refused, 40)
    assert [(due.on, due.release, due.step.id) for due in found] == planned


def test_a_team_that_forgets_a_step_is_refused() -> None:
    chosen = level(0)
    team = PEOPLE.levels[0].model_copy(update={"days": dict(list(PEOPLE.levels[0].days.items())[1:])})
    with pytest.raises(UserError, match=r"steps differ from its runbook\.yaml: export"):
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
