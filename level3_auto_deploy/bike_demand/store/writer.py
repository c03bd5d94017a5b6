"""Writes predictions to the database in the background: in batches, by one thread, with bounded memory.

Logging a prediction costs a request one append to a list. While the database is down or full, rows are
queued up to a limit and predictions continue; further rows are dropped and counted. After `kill -9` the rows
since the last flush are missing.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from sqlalchemy import delete, inspect
from sqlalchemy.exc import DataError, IntegrityError

from bike_demand.core.errors import UserError
from bike_demand.store.database import Database, one_line
from bike_demand.store.tables import LoggedPrediction, Worker

RETRY_SECONDS = 1.0  # before a failed database is tried again
PATIENCE_SECONDS = 5.0  # for the last flush, when the service stops
ROWS_OF_STATEMENT = 500  # SQLite takes at most 32,766 values per statement

log = logging.getLogger(__name__)

Entry = TypeVar("Entry")
# The columns of `LoggedPrediction`, in order. Timestamps are texts, as SQLAlchemy formats them for SQLite.
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Counts:
    """Numbers of rows logged by this process so far."""

    written: int
    lost: int
    queued: int


class PredictionLog(Generic[Entry]):
    """The prediction log of one process.

    `add` queues an entry from one thread and returns at once; `rows` converts entries to rows later, in the
    writer's thread. After each flush, `after_flush` is called in that thread with the database and whether it
    was the last flush, so that the worker can report itself over the same connection.
    """

    def __init__(
        self,
        database: Database,
        flush_seconds: float,
        limit: int,
        rows: Callable[[Sequence[Entry]], list[Row]],
        after_flush: Callable[[Database, bool], None] = lambda _database, _last: None,
    ) -> None:
        self._database, self._flush_seconds, self._limit, self._rows = database, flush_seconds, limit, rows
        self._after_flush = after_flush
        self._entries: deque[Entry] = deque()
        self._pending: list[Row] = []  # converted but not yet written
        # Each counter is written by one thread only, so no lock is needed.
        self._added = self._refused = 0  # by the request thread
        self._written = self._dropped = 0  # by the writer
        self.error: str | None = None  # why the database cannot be written to at the moment
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._flushed = threading.Condition()  # notified after each flush
        self._started = self._finished = 0  # numbers of the last flush that was started, and finished
        self._thread = threading.Thread(target=self._write, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def add(self, entry: Entry, rows: int) -> bool:
        """Queue an entry that stands for `rows` rows. Returns False if there is no room, so they are lost."""
        waiting = self._added - self._written - self._dropped
        if waiting + rows > self._limit:
            self._refused += rows
            return False
        self._entries.append(entry)
        self._added += rows
        if waiting * 2 > self._limit:
            self._wake.set()
        return True

    def counts(self) -> Counts:
        """Numbers of written, lost and queued rows."""
        done = self._written + self._dropped
        return Counts(self._written, self._refused + self._dropped, self._added - done)

    def flush(self, patience: float) -> None:
        """Write everything added so far and call `after_flush`. Returns when done, when it has failed, or
        after `patience` seconds.
        """
        with self._flushed:
            following = self._started + 1  # a flush that is running may have begun too early
            self._wake.set()
            self._flushed.wait_for(lambda: self._finished >= following or self.error is not None, patience)

    def stop(self) -> None:
        """Write the queued rows, waiting a few seconds at most, and log how many could not be written."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(PATIENCE_SECONDS)
        left = self.counts().queued
        if left:
            log.error("prediction_log_lost", extra={"rows": left})

    # ---- the writer's thread

    def _write(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            self._started += 1
            self._try_to_flush()
            with self._flushed:
                self._finished = self._started
                self._flushed.notify_all()
            if self.error is not None:
                self._stopping.wait(RETRY_SECONDS)
        self._try_to_flush(last=True)

    def _try_to_flush(self, last: bool = False) -> None:
        try:
            self._database.migrate()  # also without rows, so that an error is noticed
            self._flush(self._database)
            self._after_flush(self._database, last)
        except Exception as error:  # the thread must survive any error, which is logged below
            message = str(error) if isinstance(error, UserError) else one_line(error)
            if message != self.error:
                log.error("prediction_log_error", extra={"detail": message, "capacity": self._limit})
            self.error = message
            return
        if self.error is not None:
            self.error = None
            log.info("prediction_log_resumed", extra={"lost": self.counts().lost})

    def _flush(self, database: Database) -> None:
        entries = [self._entries.popleft() for _ in range(len(self._entries))]
        if entries:
            self._pending.extend(self._rows(entries))
        if self._pending:
            dropped = self._insert(database, self._pending)
            self._dropped += dropped
            self._written += len(self._pending) - dropped
            self._pending = []

    def _insert(self, database: Database, batch: Sequence[Row]) -> int:
        """Write the rows. Returns how many of them the database rejects for good."""
        try:
            _insert_new(database, batch)
            return 0
        except (IntegrityError, DataError):  # an invalid row must not block the others forever
            pass
        dropped = 0
        for row in batch:
            try:
                _insert_new(database, [row])
            except (IntegrityError, DataError) as error:
                dropped += 1
                log.error("prediction_log_row", extra={"detail": one_line(error), "row": row})
        return dropped


def report_worker(database: Database, worker: Worker) -> None:
    """Store that a worker is running, and what it serves."""
    with database.writing() as session:
        session.merge(worker)


def remove_worker(database: Database, worker: str) -> None:
    """Store that a worker has stopped."""
    with database.writing() as session:
        session.execute(delete(Worker).where(Worker.id == worker))


def _insert_new(database: Database, batch: Sequence[Row]) -> None:
    """Insert rows unless they exist: after a commit whose confirmation was lost, they are sent again.

    Uses multi-row statements that bypass SQLAlchemy's processing of values: Python work in this thread holds
    the interpreter and slows requests, while the database releases it.
    """
    mark = "?" if database.engine.dialect.name == "sqlite" else "%s"
    columns = [column.name for column in inspect(LoggedPrediction).columns]
    values = f"({', '.join([mark] * len(columns))})"
    with database.writing() as session:
        for start in range(0, len(batch), ROWS_OF_STATEMENT):
            rows = batch[start : start + ROWS_OF_STATEMENT]
            statement = (
                f"INSERT INTO {LoggedPrediction.__tablename__} ({', '.join(columns)})"
                f" VALUES {', '.join([values] * len(rows))} ON CONFLICT DO NOTHING"
            )
            session.connection().exec_driver_sql(statement, tuple(chain.from_iterable(rows)))
