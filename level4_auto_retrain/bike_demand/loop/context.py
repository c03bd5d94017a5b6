"""What every part of a turn is given."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bike_demand.prediction_log.database import Database
from bike_demand.settings import Settings
from bike_demand.tracking import Tracking

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Context:
    """The project at work: settings, stores, `now` in the time of the feed. `tell` gets lines for people."""

    settings: Settings
    tracking: Tracking
    database: Database
    as_of: datetime | None
    now: datetime
    tell: Tell
