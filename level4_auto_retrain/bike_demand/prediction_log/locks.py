"""A lock that goes with the database: whoever works on the same one takes turns; a killed one lets go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import NullPool, create_engine, text

from bike_demand.errors import UserError
from bike_demand.prediction_log.database import Database

NUMBERS = {"loop": 2_718_281_828}  # of PostgreSQL's advisory locks
LOOK_SECONDS = 0.2


@contextmanager
def alone(database: Database, what: str, patience: float = 0.0) -> Iterator[None]:
    """Inside, nobody else is at `what` with this database. Raises UserError where somebody still is."""
    busy = UserError(f"another {what} is at work on {database.where}; try again when it is done")
    if database.engine.dialect.name == "sqlite":
        file = Path(str(database.engine.url.database))
        lock = FileLock(file.with_name(f".{file.name}.{what}"))
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise busy from None
        try:
            yield
        finally:
            lock.release()
        return
    # On a connection of its own: the lock lasts as long as that.
    engine = create_engine(database.engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        until = time.monotonic() + patience
        take = text("SELECT pg_try_advisory_lock(:number)")
        while not connection.scalar(take, {"number": NUMBERS[what]}):
            if time.monotonic() > until:
                raise busy
            time.sleep(LOOK_SECONDS)
        yield
