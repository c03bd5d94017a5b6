"""Structured logs: one JSON object per line on standard output, written by a separate thread.

A stalled reader of the output must not stall predictions: lines are buffered up to a limit; those beyond it
are dropped and counted.
"""

import logging
import sys
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import to_json
from pythonjsonlogger.json import JsonFormatter

CAPACITY = 20_000  # buffered lines
WRITE_SECONDS = 0.2  # between batches: a wake-up and a system call per line would cost too much
PATIENCE_SECONDS = 2.0  # to write the last lines when the service stops


class JsonLogs(logging.Handler):
    """Log handler of a process: this package's records from INFO on, libraries' from WARNING on."""

    def __init__(self, stream: TextIO | None = None, capacity: int = CAPACITY) -> None:
        super().__init__()
        self.setFormatter(
            JsonFormatter(
                ["levelname", "message"],
                rename_fields={"levelname": "level", "message": "event"},
                timestamp="time",
                json_serializer=lambda data, **_: to_json(data, fallback=str, ensure_ascii=True).decode(),
            )
        )
        self._stream, self._capacity = stream or sys.stdout, capacity
        self._waiting: deque[str] = deque()
        self.lost = 0  # lines that were dropped, or could not be written
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def start(self) -> None:
        """Start accepting and writing records."""
        logging.getLogger("bike_demand").setLevel(logging.INFO)
        logging.getLogger().addHandler(self)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record without blocking."""
        try:
            self._enqueue(self.format(record))
        except Exception:  # the caller made a mistake
            self.handleError(record)

    def info(self, event: str, fields: Mapping[str, Any]) -> None:
        """Log an event that every request causes. `Logger.info` would add a tenth to a request's time."""
        content = {"level": "INFO", "event": event, **fields, "time": datetime.now(UTC).isoformat()}
        self._enqueue(to_json(content, fallback=str, ensure_ascii=True).decode())

    def stop(self) -> None:
        """Write the queued lines, for a few seconds at most."""
        logging.getLogger().removeHandler(self)
        self._stopping.set()
        self._thread.join(PATIENCE_SECONDS)

    def _enqueue(self, line: str) -> None:
        if len(self._waiting) < self._capacity:
            self._waiting.append(line)
        else:
            self.lost += 1

    def _run(self) -> None:
        while not self._stopping.wait(WRITE_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not lines:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # the reader is gone
            self.lost += len(lines)
