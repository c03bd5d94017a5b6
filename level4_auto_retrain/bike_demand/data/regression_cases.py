"""Regression cases: excerpts of bad data from past incidents, which the rules must still detect."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bike_demand.core.current import ID_COLUMNS, INPUT_COLUMNS, LABEL, TIME, Inputs, RowId
from bike_demand.core.problem import DAY
from bike_demand.core.settings import QualityRules
from bike_demand.data.frames import concat, row_ids, rows_per_day, to_frame, to_records
from bike_demand.data.label_check import check_ingested
from bike_demand.data.quality import MIN_ROWS, WEEK_DAYS, Violation, check_inputs

NO_TIME = timedelta()
BAD_DAYS = GOOD_DAYS = 2  # days of each that are kept
# Good days before, for rules that need more history.
LEADING_GOOD_DAYS = {"level": WEEK_DAYS + 1, "texts": WEEK_DAYS + 1}


class RegressionCaseContent(BaseModel):
    """The rows of an incident, and those (`must_detect`) that have to be detected, with the rule.

    `rows` have the fields that the rule reads, as in JSON: the schema may have changed since. `labels` are
    those of the feed (empty for rows of requests), `outcomes` those reported to the service.
    """

    model_config = ConfigDict(frozen=True)

    incident: int
    rule: str
    subject: str
    rows: tuple[dict[str, Any], ...]
    labels: tuple[float | None, ...] = ()
    outcomes: tuple[tuple[datetime, str, float], ...] = ()
    must_detect: tuple[RowId, ...]


def make_case(
    incident: int,
    violation: Violation,
    rows: pd.DataFrame,
    outcomes: Mapping[RowId, float],
    rules: QualityRules,
) -> RegressionCaseContent | None:
    """A case with the first bad rows of a violation in these rows (ascending), and the good ones before them.

    None if the excerpt is not detected without its context, or no row was bad.
    """
    a_day = max(MIN_ROWS, rows_per_day(rows))  # with fewer, rules check several days together
    bad = violation.rows[: BAD_DAYS * a_day]
    first, last = bad[0][0], bad[-1][0]
    before = rows[rows[TIME] < first][-LEADING_GOOD_DAYS.get(violation.rule, GOOD_DAYS) * a_day :]
    until = last + (DAY if violation.rule == "gaps" else NO_TIME)  # gaps are detected by the rows after them
    kept = concat((before, rows[(rows[TIME] >= first) & (rows[TIME] <= until)]))
    ids = {*row_ids(kept), *bad}
    names = [name for name in INPUT_COLUMNS if name in (*ID_COLUMNS, violation.subject)]
    case = RegressionCaseContent(
        incident=incident,
        rule=violation.rule,
        subject=violation.subject,
        rows=tuple(
            {name: each[name] for name in names} | {TIME: each[TIME].isoformat()} for each in to_records(kept)
        ),
        labels=tuple(kept[LABEL].astype(object).where(kept[LABEL].notna(), None)) if LABEL in kept else (),
        outcomes=tuple((*row, label) for row, label in outcomes.items() if row in ids),
        must_detect=tuple(bad),
    )
    must_detect = tuple(sorted(_detected(case, rules) & set(bad)))
    return case.model_copy(update={"must_detect": must_detect}) if must_detect else None


def count_undetected(case: RegressionCaseContent, rules: QualityRules) -> int:
    """The number of rows in `must_detect` that these rules no longer detect; 0 if the problem has changed so
    that it lacks the field, or has it with another type.
    """
    return len(set(case.must_detect) - _detected(case, rules))


def _detected(case: RegressionCaseContent, rules: QualityRules) -> set[RowId]:
    """The rows of a case that any rule on its subject detects."""
    if not {*ID_COLUMNS} <= case.rows[0].keys() <= {*INPUT_COLUMNS}:
        return set(case.must_detect)
    records = [each | {TIME: datetime.fromisoformat(each[TIME])} for each in case.rows]
    try:
        rows = to_frame([Inputs.model_construct(**each) for each in records])
    except (TypeError, ValueError):  # raised by Arrow
        return set(case.must_detect)
    if case.labels:
        rows[LABEL] = np.array(case.labels, dtype=np.float64)
        outcomes = {(moment, key): label for moment, key, label in case.outcomes}
        found = check_ingested(rows, outcomes, rules)
    else:
        found = check_inputs(rows, rules)
    return {row for each in found if each.subject == case.subject for row in each.rows}
