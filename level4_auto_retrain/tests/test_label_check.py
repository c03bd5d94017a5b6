"""The rule `counts`: the feed's counts against the outcomes that were reported."""

from datetime import datetime

import pytest

from bike_demand.data.label_check import check_gathered, counts
from bike_demand.data.schema import Hour
from bike_demand.settings import load_settings
from tests.conftest import ROOT
from tests.spoilt import feed_hours, fourfold, spoilt

RULES = load_settings(ROOT / "params.yaml").quality
ROWS = feed_hours()
COUNTS = {row.timestamp: row.count for row in ROWS}


def test_counts_that_disagree_with_the_reported_outcomes_are_found_until_they_are_right_again() -> None:
    rows = spoilt(ROWS, "2011-03-07", "2011-03-17", fourfold)
    for end, ongoing in (("2011-03-08", True), ("2011-03-17", True), ("2011-03-18", False)):
        until = datetime.fromisoformat(end)
        (found,) = check_gathered([row for row in rows if row.timestamp < until], COUNTS, RULES)
        assert (found.rule, found.subject, found.ongoing) == ("counts", "count", ongoing)
    (found,) = counts(rows, COUNTS, RULES)
    spoilt_hours = [row.timestamp for row, right in zip(rows, ROWS, strict=True) if row != right]
    assert set(found.hours) == set(spoilt_hours)
    assert counts(rows, COUNTS, RULES.model_copy(update={"counts": None})) == []


def test_of_a_wrong_day_the_hours_whose_count_was_reported_are_good() -> None:
    def evening(row: Hour) -> Hour:
        return fourfold(row) if row.timestamp.hour >= 16 else row

    (found,) = counts(spoilt(ROWS, "2011-03-07", "2011-03-08", evening), COUNTS, RULES)
    assert {hour.hour for hour in found.hours} <= set(range(16, 24))
    assert f"{4 * max(COUNTS[hour] for hour in found.hours)} instead of" in found.message


@pytest.mark.parametrize("more", [0, 3])
def test_the_same_counts_and_small_corrections_are_no_violation(more: int) -> None:
    rows = [
        row.model_copy(update={"count": row.count + more, "casual": None, "registered": None}) for row in ROWS
    ]
    assert counts(rows, COUNTS, RULES) == []


def test_counts_without_reported_outcomes_are_not_judged() -> None:
    assert counts(spoilt(ROWS, "2011-03-07", "2011-03-17", fourfold), {}, RULES) == []
