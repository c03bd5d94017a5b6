"""Writes predictions into the database in the background: in batches, by one thread, within bounds.

What an answer costs for being logged is one append to a list in memory. While the database is away or full,
up to so many rows wait for it, answers go on, and what comes on top is lost and counted. After `kill -9` the
rows since the last flush are missing.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Generic, TypeVar

from sqlalchemy import delete, inspect
from sqlalchemy.exc import DataError, IntegrityError

from bike_demand.core.errors import UserError
from bike_demand.store.database import Database, one_line, open_database
from bike_demand.store.tables import LoggedPrediction, Worker

RETRY_SECONDS = 1.0  # until a database that failed is tried again
PATIENCE_SECONDS = 5.0  # for the last flush, when the service ends
ROWS_OF_STATEMENT = 500  # sqlite takes 32,766 values in one

log = logging.getLogger(__name__)

Entry = TypeVar("Entry")
Row = tuple[Any, ...]  # the columns of `LoggedPrediction`, in their order; moments without a zone


@dataclass(frozen=True)
class Counts:
    """Rows of the log so far in this process."""

    written: int
    lost: int
    queued: int


class PredictionLog(Generic[Entry]):
    """The log of one process.

    `add` takes an entry from one thread and returns at once; `rows` makes of entries, later and in the
    writer's thread, the rows that they stand for. After each flush `after_flush` gets the database in that
    thread, and whether it was the last one, for whatever else the process has to write there or to read.
    """

    def __init__(
        self,
        address: str,
        flush_seconds: float,
        limit: int,
        rows: Callable[[Sequence[Entry]], list[Row]],
        after_flush: Callable[[Database, bool], None] = lambda _database, _last: None,
    ) -> None:
        self._address, self._flush_seconds, self._limit, self._rows = address, flush_seconds, limit, rows
        self._after_flush = after_flush
        self._entries: deque[Entry] = deque()
        self._pending: list[Row] = []  # rows that are made, and not written yet
        # Each is counted up by one thread only, so no lock is needed.
        self._added = self._refused = 0  # by whoever answers
        self._written = self._dropped = 0  # by the writer
        self._database: Database | None = None
        self._retry_at = 0.0
        self.problem: str | None = None  # why the database does not take anything at the moment
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._flushed = threading.Condition()  # notified after each flush
        self._begun = self._ended = 0  # number of the last flush that was
        self._thread = threading.Thread(target=self._write, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, entry: Entry, rows: int) -> bool:
        """Log an entry that stands for so many rows; False where there is no room, and they are lost."""
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
        """How many rows were written, were lost, and wait."""
        done = self._written + self._dropped
        return Counts(self._written, self._refused + self._dropped, self._added - done)

    def flush(self, patience: float) -> None:
        """Have written what was added so far, and `after_flush` called. Returns when that is done, when it
        cannot be, or after the seconds.
        """
        with self._flushed:
            following = self._begun + 1  # a flush that goes on now may have begun too early
            self._wake.set()
            self._flushed.wait_for(lambda: self._ended >= following or self.problem is not None, patience)

    def stop(self) -> None:
        """Write what is there, wait for it a few seconds, and say what could not be written."""
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
            self._begun += 1
            self._try_to_flush()
            with self._flushed:
                self._ended = self._begun
                self._flushed.notify_all()
        self._retry_at = 0.0
        self._try_to_flush(last=True)
        if self._database is not None:
            self._database.close()

    def _try_to_flush(self, last: bool = False) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            if self._database is None:
                self._database = open_database(self._address)
            self._flush(self._database)
            self._after_flush(self._database, last)
        except Exception as error:  # whatever it is, the thread has to go on, and it is said below
            said = str(error) if isinstance(error, UserError) else one_line(error)
            if said != self.problem:
                log.error("prediction_log_problem", extra={"detail": said, "capacity": self._limit})
            self.problem = said
            self._retry_at = time.monotonic() + RETRY_SECONDS
            if self._database is not None:  # it may have been deleted and made anew: open it again
                self._database.close()
                self._database = None
            return
        if self.problem is not None:
            self.problem = None
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
        """Write the rows; how many of them the database never will take."""
        try:
            _insert_new(database, batch)
            return 0
        except (IntegrityError, DataError):  # a row that does not fit must not keep the others out for ever
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
    """Store that a worker runs, and what it serves."""
    with database.writing() as session:
        session.merge(worker)


def remove_worker(database: Database, worker: str) -> None:
    """Store that a worker runs no more."""
    with database.writing() as session:
        session.execute(delete(Worker).where(Worker.id == worker))


def _insert_new(database: Database, batch: Sequence[Row]) -> None:
    """Insert the rows, but not what is there: after a commit whose answer was lost, they come again.

    In statements of many rows, past SQLAlchemy's handling of each value: what this thread does in Python it
    takes from the requests, and while it is in the database they have the interpreter to themselves.
    """
    sqlite_ = database.engine.dialect.name == "sqlite"
    columns = [column.name for column in inspect(LoggedPrediction).columns]
    values = f"({', '.join(['?' if sqlite_ else '%s'] * len(columns))})"
    with database.writing() as session:
        for start in range(0, len(batch), ROWS_OF_STATEMENT):
            rows = batch[start : start + ROWS_OF_STATEMENT]
            statement = (
                f"INSERT INTO {LoggedPrediction.__tablename__} ({', '.join(columns)})"
                f" VALUES {', '.join([values] * len(rows))} ON CONFLICT DO NOTHING"
            )
            flat = chain.from_iterable(map(_for_sqlite, rows) if sqlite_ else rows)
            session.connection().exec_driver_sql(statement, tuple(flat))


def _for_sqlite(row: Row) -> Row:
    """The row with its moments as SQLAlchemy writes and reads them there."""
    id_, made_at, client, event_time, *others = row
    return (id_, _text(made_at), client, _text(event_time), *others)


def _text(moment: datetime) -> str:
    return moment.isoformat(" ", "microseconds")
