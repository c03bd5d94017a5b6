"""Regression cases: bad data of an incident, kept small, which later rules still have to recognise."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from bike_demand.data.label_check import check_gathered
from bike_demand.data.quality import DAY, Violation, inputs
from bike_demand.data.schema import Conditions, Hour
from bike_demand.settings import QualityRules

BAD, GOOD = 48, 48  # so many hours of each are kept


class BadDataCase(BaseModel):
    """The hours of an incident: what they were, and which of them must be recognised, as what.

    `counts` are those of the feed (none: the rows are of requests), `known` the reported outcomes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    incident: int
    check: str
    subject: str
    rows: tuple[Conditions, ...]
    counts: dict[datetime, int] = {}
    known: dict[datetime, int] = {}
    must: tuple[datetime, ...]


def make_case(
    incident: int,
    violation: Violation,
    rows: Sequence[Conditions],
    known: Mapping[datetime, int],
    rules: QualityRules,
) -> BadDataCase | None:
    """The first bad hours of a violation in these rows (ascending) with the good ones before them.

    None where there is nothing to keep: these few are not recognised without the others, or no row was bad.
    """
    bad = violation.hours[:BAD]
    before = [row for row in rows if row.timestamp < bad[0]]
    kept = [
        *before[-GOOD:],
        *(row for row in rows if bad[0] <= row.timestamp <= bad[-1]),
    ]
    if violation.rule == "gaps":  # it shows by what came after it
        kept += [row for row in rows if bad[-1] < row.timestamp <= bad[-1] + DAY]
    hours = {row.timestamp for row in kept} | set(bad)
    case = BadDataCase(
        incident=incident,
        check=violation.rule,
        subject=violation.subject,
        rows=tuple(
            Conditions.model_construct(**{n: getattr(row, n) for n in Conditions.model_fields})
            for row in kept
        ),
        counts={row.timestamp: row.count for row in kept if isinstance(row, Hour)},
        known={hour: count for hour, count in known.items() if hour in hours},
        must=bad,
    )
    must = tuple(sorted(_recognised(case, rules) & set(bad)))
    return case.model_copy(update={"must": must}) if must else None


def unrecognised(case: BadDataCase, rules: QualityRules) -> int:
    """How many of the hours that must be recognised as bad these rules do not find."""
    return len(set(case.must) - _recognised(case, rules))


def _recognised(case: BadDataCase, rules: QualityRules) -> set[datetime]:
    """The hours of a case that any rule on its subject finds."""
    rows = [
        Hour.model_construct(
            **{name: getattr(row, name) for name in Conditions.model_fields},
            count=case.counts.get(row.timestamp, 0),
        )
        for row in case.rows
    ]
    found = check_gathered(rows, case.known, rules) if case.counts else inputs(rows, rules)
    return {hour for each in found if each.subject == case.subject for hour in each.hours}
