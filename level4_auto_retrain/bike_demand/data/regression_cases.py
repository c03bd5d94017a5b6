"""Regression cases: bad data of an incident, kept small, which later rules still have to recognise."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd
from pydantic import BaseModel, ConfigDict

from bike_demand.core.current import LABEL, ROWS_A_DAY, TIME, Inputs
from bike_demand.core.settings import QualityRules
from bike_demand.data.frames import concat, moments, to_frame, to_records
from bike_demand.data.label_check import check_gathered
from bike_demand.data.quality import DAY, LEVEL_DAYS, Violation, inputs

NO_TIME = timedelta()
BAD = GOOD = 2 * ROWS_A_DAY  # so many rows of each are kept
# Good ones before, where a rule has to know more.
LEADING = {"level": (LEVEL_DAYS // 2 + 1) * ROWS_A_DAY}


class BadDataCase(BaseModel):
    """The rows of an incident: what they were, and which of them (`must`) are to be recognised, as what.

    `labels` are those of the feed (none: the rows are of requests), `known` the reported outcomes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    incident: int
    check: str
    subject: str
    rows: tuple[Inputs, ...]
    labels: dict[datetime, float] = {}
    known: dict[datetime, float] = {}
    must: tuple[datetime, ...]


def make_case(
    incident: int,
    violation: Violation,
    rows: pd.DataFrame,
    known: Mapping[datetime, float],
    rules: QualityRules,
) -> BadDataCase | None:
    """The first bad rows of a violation in these rows (ascending) with the good ones before them.

    None where there is nothing to keep: these few are not recognised without the others, or no row was bad.
    """
    bad = violation.times[:BAD]
    before = rows[rows[TIME] < bad[0]][-LEADING.get(violation.rule, GOOD) :]
    until = bad[-1] + (DAY if violation.rule == "gaps" else NO_TIME)  # gaps show by what came after them
    kept = concat((before, rows[(rows[TIME] >= bad[0]) & (rows[TIME] <= until)]))
    times = {*moments(kept), *bad}
    case = BadDataCase(
        incident=incident,
        check=violation.rule,
        subject=violation.subject,
        rows=tuple(Inputs.model_construct(**each) for each in to_records(kept)),
        labels=dict(zip(moments(kept), kept[LABEL].tolist(), strict=True)) if LABEL in kept else {},
        known={moment: label for moment, label in known.items() if moment in times},
        must=bad,
    )
    must = tuple(sorted(_recognised(case, rules) & set(bad)))
    return case.model_copy(update={"must": must}) if must else None


def unrecognised(case: BadDataCase, rules: QualityRules) -> int:
    """How many of the rows that must be recognised as bad these rules do not find."""
    return len(set(case.must) - _recognised(case, rules))


def _recognised(case: BadDataCase, rules: QualityRules) -> set[datetime]:
    """The rows of a case that any rule on its subject finds."""
    rows = to_frame(case.rows)
    rows[LABEL] = [case.labels.get(moment, 0) for moment in moments(rows)]
    found = check_gathered(rows, case.known, rules) if case.labels else inputs(rows, rules)
    return {moment for each in found if each.subject == case.subject for moment in each.times}
