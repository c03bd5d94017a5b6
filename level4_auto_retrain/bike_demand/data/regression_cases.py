"""Regression cases: bad data of an incident, kept small, which later rules still have to recognise."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from bike_demand.core.current import LABEL, ROWS_A_DAY, Inputs, Row, label_of, time_of
from bike_demand.core.settings import QualityRules
from bike_demand.data.label_check import check_gathered
from bike_demand.data.quality import DAY, LEVEL_DAYS, Violation, inputs

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
    rows: Sequence[Inputs],
    known: Mapping[datetime, float],
    rules: QualityRules,
) -> BadDataCase | None:
    """The first bad rows of a violation in these rows (ascending) with the good ones before them.

    None where there is nothing to keep: these few are not recognised without the others, or no row was bad.
    """
    bad = violation.times[:BAD]
    before = [row for row in rows if time_of(row) < bad[0]]
    kept = [
        *before[-LEADING.get(violation.rule, GOOD) :],
        *(row for row in rows if bad[0] <= time_of(row) <= bad[-1]),
    ]
    if violation.rule == "gaps":  # it shows by what came after it
        kept += [row for row in rows if bad[-1] < time_of(row) <= bad[-1] + DAY]
    times = {time_of(row) for row in kept} | set(bad)
    case = BadDataCase(
        incident=incident,
        check=violation.rule,
        subject=violation.subject,
        rows=tuple(
            Inputs.model_construct(**{n: getattr(row, n) for n in Inputs.model_fields}) for row in kept
        ),
        labels={time_of(row): label_of(row) for row in kept if isinstance(row, Row)},
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
    rows = [
        Row.model_construct(
            **{name: getattr(row, name) for name in Inputs.model_fields},
            **{LABEL: case.labels.get(time_of(row), 0)},
        )
        for row in case.rows
    ]
    found = check_gathered(rows, case.known, rules) if case.labels else inputs(rows, rules)
    return {moment for each in found if each.subject == case.subject for moment in each.times}
