"""Waits until the services have taken what an alias says now."""

import time
from typing import TYPE_CHECKING

from bike_demand.errors import UserError
from bike_demand.settings import Settings
from bike_demand.tracking import Arms, Tracking

if TYPE_CHECKING:
    from bike_demand.prediction_log.database import Database

PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 0.1


def wait_until_taken(settings: Settings, environment: str, tracking: Tracking) -> str:
    """Wait until every running worker of the environment answers with what its alias says; one line on it.

    A worker is running where it gave a sign within the last few seconds. None: there is nothing to wait for.
    Never raises for a service or a database that is away: the alias has moved, whoever starts will follow it.
    """
    place = settings.environments.named(environment)
    from bike_demand.prediction_log.database import database_exists, open_database

    if not database_exists(place.database):
        return _nobody(environment)

    arms = tracking.arms(place.alias)
    try:
        database = open_database(place.database)
        try:
            return _wait(database, environment, arms, 2 * settings.serving.poll_seconds + 1)
        finally:
            database.close()
    except UserError as error:
        return f"warning: nobody can say which workers have taken it: {error}"


def _wait(database: "Database", environment: str, arms: Arms | None, seen_within: float) -> str:
    from bike_demand.prediction_log.queries import workers

    other = None if arms is None or arms.other is None else arms.other.number
    wanted = (None if arms is None else arms.shown.number, other)
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        running = [each for each in workers(database, seen_within) if each.environment == environment]
        behind = [each for each in running if (each.version, each.other_version) != wanted]
        if not running:
            return _nobody(environment)
        said = f"{len(running) - len(behind)} of {len(running)} worker{'s' if len(running) > 1 else ''}"
        if not behind:
            return f"Live in {said} of {environment}."
        if time.monotonic() > until:
            return (
                f"warning: live in {said} of {environment} after {PATIENCE_SECONDS:g} seconds; look into the"
                f" log of {behind[0].id}"
            )
        time.sleep(LOOK_SECONDS)


def _nobody(environment: str) -> str:
    return f"No service of {environment} is running; one that starts answers with it."
