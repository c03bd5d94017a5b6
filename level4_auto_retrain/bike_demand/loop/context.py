"""What every part of a monitoring cycle is given; a module of its own, as all others import it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bike_demand.core.settings import Settings
from bike_demand.store.database import Database
from bike_demand.store.deployments import Deployments
from bike_demand.store.tracking import Tracking

Report = Callable[[str], None]


@dataclass(frozen=True)
class Context:
    """Settings, stores, and `now` in story time. `report` gets lines for people."""

    settings: Settings
    tracking: Tracking
    database: Database
    deployments: Deployments
    as_of: datetime | None
    now: datetime
    report: Report
