"""The workshop's plans have time for the labs that they name, and name all of them in two days."""

import re
from pathlib import Path

import pytest

from ladder import ROOT
from ladder.lab.definition import labs

PLANS = sorted((ROOT / "docs" / "workshop").glob("*da*.md"))
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
    assert {number: (slot, minutes[number]) for number, slot in found.items() if slot < minutes[number]} == {}


def test_two_days_have_every_lab_but_the_one_before() -> None:
    (plan,) = (each for each in PLANS if each.stem == "two-days")
    assert set(planned(plan)) == labs().keys() - {0}
