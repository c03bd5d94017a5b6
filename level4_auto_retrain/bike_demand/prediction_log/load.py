"""How much the service was asked and how fast it answered, by minute and by version: SQL, for the history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select

from bike_demand.prediction_log import loop_tables as tables
from bike_demand.prediction_log.database import Database
from bike_demand.prediction_log.upsert import upsert

NOBODY = 0  # the version of requests that no model answered
# Upper ends of the classes of how long requests took, in seconds; the last class has none.
LIMITS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


@dataclass(frozen=True)
class Load:
    """Requests to predict in a stretch of time that begins at `at` (UTC), which `version` answered.

    `failures` are those that got no answer (5xx); `seconds` is the sum of what they took; `buckets` counts
    them by LIMITS, and has one more for what took longer.
    """

    at: datetime
    version: int
    requests: int
    rows: int
    failures: int
    seconds: float
    buckets: tuple[int, ...]

    def percentile(self, share: float) -> float:
        """Within how many seconds so much (0 to 1) of them was answered, as if evenly spread in each class.

        0 where there were none. What took longer than the last limit counts as having taken that.
        """
        wanted, counted, low = share * sum(self.buckets), 0, 0.0
        for count, high in zip(self.buckets, (*LIMITS, LIMITS[-1]), strict=True):
            if count and counted + count >= wanted:
                return low + (high - low) * (wanted - counted) / count
            counted, low = counted + count, high
        return 0.0


def keep(database: Database, worker: str, loads: Sequence[Load]) -> None:
    """Write what a process counted, each minute as it stands now, in the place of what it told before."""
    rows = [
        {
            "worker": worker,
            "minute": each.at,
            **{name: getattr(each, name) for name in ("version", "requests", "rows", "failures", "seconds")},
            "buckets": list(each.buckets),
        }
        for each in loads
    ]
    if not rows:
        return
    with database.writing() as connection:
        upsert(database, connection, tables.load, rows)


def forget(database: Database, before: datetime) -> None:
    """Take out what is older than that moment."""
    with database.writing() as connection:
        connection.execute(delete(tables.load).where(tables.load.c.minute < before))


def span(database: Database) -> tuple[datetime | None, datetime | None]:
    """The first and the last minute of which something is known."""
    minute = tables.load.c.minute
    with database.reading() as connection:
        first, last = connection.execute(select(func.min(minute), func.max(minute))).one()
        return first, last


def history(database: Database, since: datetime, step: timedelta) -> list[Load]:
    """What all processes counted since a moment: by stretches of `step` and by version, ascending."""
    table = tables.load
    with database.reading() as connection:
        rows = (
            connection.execute(
                select(table).where(table.c.minute >= since).order_by(table.c.minute, table.c.version)
            )
            .mappings()
            .all()
        )
    found: dict[tuple[datetime, int], Load] = {}
    width = step.total_seconds()
    for row in rows:
        at = datetime.fromtimestamp(row["minute"].timestamp() // width * width, UTC)
        more = Load(
            at,
            row["version"],
            row["requests"],
            row["rows"],
            row["failures"],
            row["seconds"],
            tuple(row["buckets"]),
        )
        before = found.get((at, more.version))
        found[at, more.version] = more if before is None else add(before, more)
    return list(found.values())


def add(one: Load, other: Load) -> Load:
    """Both together; `at` and `version` are those of the first."""
    return replace(
        one,
        requests=one.requests + other.requests,
        rows=one.rows + other.rows,
        failures=one.failures + other.failures,
        seconds=one.seconds + other.seconds,
        buckets=tuple(mine + theirs for mine, theirs in zip(one.buckets, other.buckets, strict=True)),
    )


def by_version(loads: Sequence[Load]) -> Mapping[int, Load]:
    """All of a version together."""
    found: dict[int, Load] = {}
    for each in loads:
        found[each.version] = add(found[each.version], each) if each.version in found else each
    return found
