"""The rule `labels`: the feed's labels against the outcomes that were reported."""

from datetime import datetime

import pytest

from bike_demand.core.current import Row, row_id
from bike_demand.core.settings import load_settings
from bike_demand.data.label_check import check_ingested, check_labels
from tests.conftest import ROOT
from tests.corrupted import corrupt, feed_rows, times_four, unlabelled
from tests.ingested import frame
from tests.toy import MACHINES

RULES = load_settings(ROOT / "params.yaml").quality
ROWS = feed_rows()
LABELS = {row_id(row): row.amount for row in ROWS}


def test_disagreeing_labels_are_detected() -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-17", times_four)
    for end, ongoing in (("2011-03-08", True), ("2011-03-17", True), ("2011-03-18", False)):
        until = datetime.fromisoformat(end)
        (found,) = check_ingested(frame([row for row in rows if row.begins < until]), LABELS, RULES)
        assert (found.rule, found.subject, found.ongoing) == ("labels", "label", ongoing)
    (found,) = check_labels(frame(rows), LABELS, RULES)
    spoilt_rows = [row_id(row) for row, right in zip(rows, ROWS, strict=True) if row != right]
    assert set(found.rows) == set(spoilt_rows)
    assert check_labels(frame(rows), LABELS, RULES.model_copy(update={"labels": None})) == []


def test_disagreement_is_ongoing_while_newer_rows_have_no_label() -> None:
    rows = corrupt(ROWS, "2011-02-20", "2011-03-01", times_four)
    rows = corrupt(rows, "2011-03-01", "2011-04-01", unlabelled)
    (found,) = check_labels(frame(rows), LABELS, RULES)
    assert found.ongoing
    assert check_labels(frame([unlabelled(row) for row in ROWS]), LABELS, RULES) == []


def test_rows_equal_to_their_outcome_stay_good() -> None:
    def large(row: Row) -> Row:
        return times_four(row) if row.machine >= "m16" else row

    (found,) = check_labels(frame(corrupt(ROWS, "2011-03-07", "2011-03-08", large)), LABELS, RULES)
    assert {key for _, key in found.rows} <= set(MACHINES[16:])
    assert f"{4 * max(LABELS[row] for row in found.rows)} instead of" in found.message


@pytest.mark.parametrize("more", [0, 3])
def test_equal_labels_and_small_corrections_are_no_violation(more: int) -> None:
    rows = [
        row.model_copy(update={"amount": row.amount + more, "part_a": None, "part_b": None}) for row in ROWS
    ]
    assert check_labels(frame(rows), LABELS, RULES) == []


def test_labels_without_outcomes_are_not_checked() -> None:
    assert check_labels(frame(corrupt(ROWS, "2011-03-07", "2011-03-17", times_four)), {}, RULES) == []
