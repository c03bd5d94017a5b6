"""Cases of bad data that came through once: kept small, and tried on the checks before each training."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from bike_demand.data import quality
from bike_demand.data.quality import DAY, LEVEL_DAYS, Finding
from bike_demand.data.schema import Conditions, Hour
from bike_demand.settings import Quality

BAD, GOOD = 48, 48  # so many hours of each are kept
LEADING = {"level": (LEVEL_DAYS // 2 + 1) * 24}  # of good hours, where a check has to know more of before


class Case(BaseModel):
    """The hours of an incident: what they were, and which of them must be recognised, as what.

    `counts` are those of the feed (none: the rows are of requests), `known` what the application was told.
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
    finding: Finding,
    rows: Sequence[Conditions],
    known: Mapping[datetime, int],
    settings: Quality,
) -> Case | None:
    """The first bad hours of a finding about these rows (ascending) with the good ones before them.

    None where there is nothing to keep: these few are not recognised without the others, or no row was wrong.
    """
    bad = finding.hours[:BAD]
    before = [row for row in rows if row.timestamp < bad[0]]
    kept = [
        *before[-LEADING.get(finding.check, GOOD) :],
        *(row for row in rows if bad[0] <= row.timestamp <= bad[-1]),
    ]
    if finding.check == "gaps":  # it shows by what came after it
        kept += [row for row in rows if bad[-1] < row.timestamp <= bad[-1] + DAY]
    hours = {row.timestamp for row in kept} | set(bad)
    case = Case(
        incident=incident,
        check=finding.check,
        subject=finding.subject,
        rows=tuple(
            Conditions.model_construct(**{n: getattr(row, n) for n in Conditions.model_fields})
            for row in kept
        ),
        counts={row.timestamp: row.count for row in kept if isinstance(row, Hour)},
        known={hour: count for hour, count in known.items() if hour in hours},
        must=bad,
    )
    must = tuple(sorted(_recognised(case, settings) & set(bad)))
    return case.model_copy(update={"must": must}) if must else None


def unrecognised(case: Case, settings: Quality) -> int:
    """How many of the hours that must be recognised as bad the checks of now do not find."""
    return len(set(case.must) - _recognised(case, settings))


def _recognised(case: Case, settings: Quality) -> set[datetime]:
    """The hours of a case that a check of its subject finds, whichever it is."""
    rows = [
        Hour.model_construct(
            **{name: getattr(row, name) for name in Conditions.model_fields},
            count=case.counts.get(row.timestamp, 0),
        )
        for row in case.rows
    ]
    found = quality.inputs(rows, settings)
    if case.counts:
        asked = [hour for hour, count in case.known.items() if count]
        found += quality.gaps(rows, asked, settings) + quality.targets(rows, case.known, {}, settings)
    return {hour for each in found if each.subject == case.subject for hour in each.hours}
