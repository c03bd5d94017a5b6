"""What the page shows, as the database has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bike_demand.prediction_log import expected_ranges, facts, journal, load
from bike_demand.prediction_log.database import Database
from bike_demand.prediction_log.facts import Fact
from bike_demand.prediction_log.history import Day, days, drifts
from bike_demand.prediction_log.journal import Action, Alert, Incident, Raised
from bike_demand.prediction_log.load import Load
from bike_demand.prediction_log.queries import Worker, workers

EVER = date(1970, 1, 1)
MOST_ALERTS = 40
BARS = 60  # of the plots of volume and latency, at most


@dataclass(frozen=True)
class Seen:
    """All of it. `loads` are by stretches of `step`; moments are in the time of the feed, but for loads and
    workers, where they are the machine's."""

    facts: Mapping[str, Fact]
    days: Sequence[Day]
    signals: Sequence[Raised]
    incidents: Sequence[Incident]
    alerts: Sequence[Alert]
    actions: Sequence[Action]
    drift: Mapping[str, Any] | None  # what the newest look for drift found
    replaced: Mapping[str, int]
    workers: Sequence[Worker]
    loads: Sequence[Load]
    step: timedelta
    read_at: datetime

    @property
    def now(self) -> datetime | None:
        """When the loop looked last; without it, the end of the last day that is known; None: nothing is."""
        if self.facts:
            return max(each.as_of for each in self.facts.values())
        if self.days:
            return datetime.combine(self.days[-1].day, datetime.min.time()) + timedelta(days=1)
        return None


def read(database: Database, environment: str, seen_within: float) -> Seen:
    """Read what there is. Raises UnreachableError where the database is away."""
    known = facts.read(database)
    every = days(database, EVER, date.max)
    step, since = _stretch(database)
    now = max((each.as_of for each in known.values()), default=None)
    return Seen(
        facts=known,
        days=every,
        signals=journal.open_signals(database),
        incidents=journal.incidents(database),
        alerts=journal.alerts(database, MOST_ALERTS),
        actions=journal.actions(database),
        drift=next((content for _, content in drifts(database)), None),
        replaced=expected_ranges.replaced(database, now - timedelta(days=1)) if now else {},
        workers=[each for each in workers(database, seen_within) if each.environment == environment],
        loads=[] if since is None else load.history(database, since, step),
        step=step,
        read_at=datetime.now(UTC),
    )


def _stretch(database: Database) -> tuple[timedelta, datetime | None]:
    """By which stretches of time the plots of load are drawn, and since when; None: nothing is known."""
    first, last = load.span(database)
    if first is None or last is None:
        return timedelta(minutes=1), None
    for minutes in (1, 5, 30, 180):
        step = timedelta(minutes=minutes)
        if last - first < BARS * step:
            break
    return step, max(first, last - (BARS - 1) * step)
