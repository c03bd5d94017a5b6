"""Structured logs: one JSON object per line on standard output, written by a thread of its own.

A reader of the output that stalls must not stall predictions: lines then wait in memory, up to a limit. The
lines beyond it are dropped and counted.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import to_json
from pythonjsonlogger.json import JsonFormatter

CAPACITY = 20_000  # lines that wait for a slow reader
WRITE_SECONDS = 0.2  # between batches: to wake up for each line, and one system call for each, cost too much
PATIENCE_SECONDS = 2.0  # for the last lines, when the service stops

Event = tuple[str, float, Mapping[str, Any]]  # name, moment in seconds of the epoch, fields


class JsonLogs(logging.Handler):
    """The logs of one process: those of this package from INFO on, those of libraries from WARNING on."""

    def __init__(self, stream: TextIO | None = None, capacity: int = CAPACITY) -> None:
        super().__init__()
        self.setFormatter(
            JsonFormatter(
                ["levelname", "message"],
                rename_fields={"levelname": "level", "message": "event"},
                timestamp="time",
                json_serializer=lambda data, **_: to_json(data, fallback=str).decode(),
            )
        )
        self._stream, self._capacity = stream or sys.stdout, capacity
        self._waiting: deque[logging.LogRecord | Event] = deque()
        self._dropped = self._unread = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    @property
    def lost(self) -> int:
        """Lines that nobody received."""
        return self._dropped + self._unread

    def start(self) -> None:
        """Begin to take records and to write them."""
        logging.getLogger("bike_demand").setLevel(logging.INFO)
        logging.getLogger().addHandler(self)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record, without ever waiting."""
        self._take(record)

    def info(self, event: str, fields: Mapping[str, Any]) -> None:
        """Log an event that comes with every request, to which `Logger.info` would add a tenth."""
        self._take((event, time.time(), fields))

    def stop(self) -> None:
        """Write the lines that wait, for a few seconds at most."""
        logging.getLogger().removeHandler(self)
        self._stopping.set()
        self._thread.join(PATIENCE_SECONDS)

    def _take(self, line: logging.LogRecord | Event) -> None:
        if len(self._waiting) < self._capacity:
            self._waiting.append(line)
        else:
            self._dropped += 1

    def _run(self) -> None:
        while not self._stopping.wait(WRITE_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._as_json(self._waiting.popleft()) for _ in range(len(self._waiting))]
        if not lines:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more
            self._unread += len(lines)

    def _as_json(self, line: logging.LogRecord | Event) -> str:
        if isinstance(line, logging.LogRecord):
            return self.format(line)
        event, created, fields = line  # like a line of the formatter, in a tenth of its time
        moment = datetime.fromtimestamp(created, UTC).isoformat()
        return to_json({"level": "INFO", "event": event, **fields, "time": moment}, fallback=str).decode()
