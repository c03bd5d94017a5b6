"""Regression cases: excerpts of bad data from past incidents, which the rules must still detect."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bike_demand.core.current import LABEL, TIME, Inputs, RowId
from bike_demand.core.problem import DAY
from bike_demand.core.settings import QualityRules
from bike_demand.data.frames import concat, row_ids, rows_per_day, to_frame, to_records
from bike_demand.data.label_check import check_gathered
from bike_demand.data.quality import LEVEL_DAYS, Violation, check_inputs

NO_TIME = timedelta()
BAD_DAYS = GOOD_DAYS = 2  # days of each that are kept
LEADING = {"level": LEVEL_DAYS // 2 + 1}  # good days before, for rules that need more history


class BadDataCase(BaseModel):
    """The rows of an incident, and those (`must`) that have to be detected, with the rule.

    `labels` are those of the feed (empty for rows of requests), `known` the reported outcomes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    incident: int
    check: str
    subject: str
    rows: tuple[Inputs, ...]
    labels: tuple[float | None, ...] = ()
    known: tuple[tuple[datetime, str, float], ...] = ()
    must: tuple[RowId, ...]


def make_case(
    incident: int,
    violation: Violation,
    rows: pd.DataFrame,
    known: Mapping[RowId, float],
    rules: QualityRules,
) -> BadDataCase | None:
    """A case with the first bad rows of a violation in these rows (ascending), and the good ones before them.

    None if the excerpt is not detected without its context, or no row was bad.
    """
    a_day = rows_per_day(rows)
    bad = violation.rows[: BAD_DAYS * a_day]
    first, last = bad[0][0], bad[-1][0]
    before = rows[rows[TIME] < first][-LEADING.get(violation.rule, GOOD_DAYS) * a_day :]
    until = last + (DAY if violation.rule == "gaps" else NO_TIME)  # gaps are detected by the rows after them
    kept = concat((before, rows[(rows[TIME] >= first) & (rows[TIME] <= until)]))
    ids = {*row_ids(kept), *bad}
    case = BadDataCase(
        incident=incident,
        check=violation.rule,
        subject=violation.subject,
        rows=tuple(Inputs.model_construct(**each) for each in to_records(kept)),
        labels=tuple(kept[LABEL].astype(object).where(kept[LABEL].notna(), None)) if LABEL in kept else (),
        known=tuple((*row, label) for row, label in known.items() if row in ids),
        must=tuple(bad),
    )
    must = tuple(sorted(_recognised(case, rules) & set(bad)))
    return case.model_copy(update={"must": must}) if must else None


def unrecognised(case: BadDataCase, rules: QualityRules) -> int:
    """The number of rows in `must` that these rules no longer detect."""
    return len(set(case.must) - _recognised(case, rules))


def _recognised(case: BadDataCase, rules: QualityRules) -> set[RowId]:
    """The rows of a case that any rule on its subject detects."""
    rows = to_frame(case.rows)
    if case.labels:
        rows[LABEL] = np.array(case.labels, dtype=np.float64)
        known = {(moment, key): label for moment, key, label in case.known}
        found = check_gathered(rows, known, rules)
    else:
        found = check_inputs(rows, rules)
    return {row for each in found if each.subject == case.subject for row in each.rows}
