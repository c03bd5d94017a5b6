"""The gate before training: are the gathered hours what they should be? Types, ranges and duplicates are
checked row by row when they are read (`data.schema`, `data.month`); here is what only shows across rows.
"""

import json
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bike_demand.data.schema import Hour
from bike_demand.data.table import iso
from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.settings import Validation

HOUR = timedelta(hours=1)
BEFORE = 24  # hours whose temperatures an hour is compared with: a whole day, so its nights and noons


@dataclass(frozen=True)
class Problem:
    """What is wrong, in a sentence without the hours, and the hours it is wrong with, ascending."""

    what: str
    hours: tuple[datetime, ...]

    def __str__(self) -> str:
        first, last = iso(self.hours[0]), iso(self.hours[-1])
        return f"{self.what} ({first if first == last else f'{len(self.hours)} hours, {first} to {last}'})"


def check(
    rows: Sequence[Hour],
    settings: Validation,
    now: datetime | None = None,
    left_out: Collection[datetime] = (),
) -> list[Problem]:
    """What is wrong with the newest `settings.days` of rows (ascending, at least one).

    `now` is the time by which a feed is called stale; none: right after its last hour. Hours that were
    `left_out` did come, or are known to be lost.
    """
    begin = rows[-1].timestamp + HOUR - timedelta(days=settings.days)
    recent = [row for row in rows if row.timestamp >= begin]
    before = rows[: len(rows) - len(recent)][-BEFORE:]
    if now is not None:
        now -= max((rows[-1].timestamp, *left_out)) - rows[-1].timestamp
    first = begin if before else recent[0].timestamp
    found = (
        stale(recent, settings.stale_hours, now),
        gaps(recent, first, settings.missing_days, settings.missing_share, left_out),
        *(jumps(part, before if part[0] is recent[0] else (), settings.jump_c) for part in _parts(recent)),
    )
    return [problem for problem in found if problem is not None]


def stale(rows: Sequence[Hour], hours: int, now: datetime | None) -> Problem | None:
    """A feed whose last hour ended more than `hours` before `now`."""
    last = rows[-1].timestamp
    if now is None or now - (last + HOUR) <= hours * HOUR:
        return None
    age = (now - (last + HOUR)) // HOUR
    return Problem(f"the feed is stale: its last hour ended {age} hours ago, more than {hours}", (last,))


def gaps(
    rows: Sequence[Hour], first: datetime, days: int, share: float, left_out: Collection[datetime] = ()
) -> Problem | None:
    """The stretch of `days` days from `first` on that lacks the most hours, if more than `share` of them.

    Shares, not single hours: an hour without any rental has no row, so some are always missing at night.
    """
    there = {row.timestamp for row in rows} | set(left_out)
    hours = [first + number * HOUR for number in range((rows[-1].timestamp - first) // HOUR + 1)]
    width = min(days * 24, len(hours))
    absent = [hour not in there for hour in hours]
    lost = worst = sum(absent[:width])
    at = 0
    for begin in range(1, len(hours) - width + 1):
        lost += absent[begin + width - 1] - absent[begin - 1]
        if lost > worst:
            worst, at = lost, begin
    # A stretch shorter than `days`, at the very start of a feed, still counts against a whole one.
    if worst <= share * days * 24:
        return None
    missing = tuple(hour for hour, gone in zip(hours[at : at + width], absent[at:], strict=False) if gone)
    return Problem(
        f"{worst} of {width} hours are missing, {worst / width:.0%} where {share:.0%} is allowed", missing
    )


def jumps(rows: Sequence[Hour], before: Sequence[Hour], jump_c: float) -> Problem | None:
    """Hours whose temperature lies more than `jump_c` beyond those of the 24 good hours before.

    Weather does not change that fast, a unit does: 40 degrees are possible, but not after a day at 4.
    """
    good = deque((row.temp_c for row in before), maxlen=BEFORE)
    wrong: list[Hour] = []
    example = ""
    for row in rows:
        if good and not min(good) - jump_c <= row.temp_c <= max(good) + jump_c:
            example = example or (f"{row.temp_c:g} after {good[-1]:g} degrees C at {iso(row.timestamp)}")
            wrong.append(row)
        else:
            good.append(row.temp_c)
    if not wrong:
        return None
    return Problem(f"temp_c changes its unit: {example}", tuple(row.timestamp for row in wrong))


def _parts(rows: Sequence[Hour]) -> Iterator[Sequence[Hour]]:
    """The rows between holes of more than a day: in such a time the weather may well have changed."""
    begin = 0
    for at in range(1, len(rows) + 1):
        if at == len(rows) or rows[at].timestamp - rows[at - 1].timestamp > BEFORE * HOUR:
            yield rows[begin:at]
            begin = at


def inspect(
    rows: Sequence[Hour],
    settings: Validation,
    as_of: datetime | None,
    report: Path,
    left_out: Collection[datetime] = (),
) -> None:
    """Check the rows, as of a date or, by setting, by the clock on the wall.

    Raises UserError with what is wrong; `report` then has every hour. Without problems, there is no report.
    """
    now = as_of if as_of is not None or settings.clock == "feed" else datetime.now()
    problems = check(rows, settings, now, left_out)
    if not problems:
        report.unlink(missing_ok=True)
        return
    told = [{"what": each.what, "hours": [iso(hour) for hour in each.hours]} for each in problems]
    write_atomically(report, (json.dumps(told, indent=1) + "\n").encode())
    raise UserError(
        f"the data are not fit for training: {'; '.join(map(str, problems))}; nothing was trained, have the"
        f" feed corrected ({report.as_posix()} has every hour)"
    )
