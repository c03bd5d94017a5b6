"""The workshop's plans have time for labs, talk and breaks; the leader's page has all answers."""

import re
from pathlib import Path

import pytest

from docs import leader
from ladder import ROOT
from ladder.lab.definition import labs

PLANS = [ROOT / "docs" / "workshop" / name for name in ("half-day.md", "two-days.md")]
TALK = 5  # minutes after a lab
LONGEST = 120  # minutes without a break
SLOT = re.compile(r"^\| (\d+) to (\d+) \| (.*?) \|", re.MULTILINE)


def planned(plan: Path) -> dict[int, int]:
    """By the number of a lab the minutes that the plan has for it."""
    slots = SLOT.findall(plan.read_text(encoding="utf-8"))
    return {
        int(found[1]): int(end) - int(begin)
        for begin, end, what in slots
        if (found := re.match(r"Lab (\d+)", what))
    }


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_a_lab_fits_into_its_slot(plan: Path) -> None:
    minutes = {number: lab.minutes for number, lab in labs().items()}
    found = planned(plan)
    assert len(found) >= 6
    needed = {number: minutes[number] + TALK for number in found}
    assert {number: (slot, needed[number]) for number, slot in found.items() if slot < needed[number]} == {}


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_a_day_is_filled_without_a_gap_and_has_breaks(plan: Path) -> None:
    end, since = 0, 0
    for begins, ends, what in SLOT.findall(plan.read_text(encoding="utf-8")):
        if begins == "0":  # another day
            end, since = 0, 0
        assert int(begins) == end
        end = int(ends)
        since = 0 if what in ("Break", "Lunch") else since + end - int(begins)
        assert since <= LONGEST


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_labs_have_the_titles_that_participants_see(plan: Path) -> None:
    text = plan.read_text(encoding="utf-8")
    for number in planned(plan):
        assert f"Lab {number}: {labs()[number].title}" in text


def test_the_leader_has_an_answer_and_every_edit_of_each_lab() -> None:
    page = leader.answers()
    for lab in labs().values():
        assert f"{{ #lab-{lab.number} }}" in page
        assert lab.discussion.question.strip() in page
        assert lab.discussion.answer.strip() in page
        for change in (change for step in lab.steps for change in step.edits):
            added = change.new.strip().splitlines()
            assert not added or added[-1].strip() in page


def test_the_numbers_are_those_of_the_comparison() -> None:
    page = leader.answers()
    compared = leader.facts()
    assert f"| {' | '.join(f'{each.mae:.1f}' for each in compared.levels.values())} |" in page
    for incident in compared.story.incidents:
        assert f"{incident.since.day} {incident.since:%B %Y}" in page


def test_two_days_have_every_lab_but_the_one_before() -> None:
    (plan,) = (each for each in PLANS if each.stem == "two-days")
    assert set(planned(plan)) == labs().keys() - {0}
