"""Structured logs: one JSON object per line on standard output, written by a thread of its own.

A reader of the output that stalls must not stall predictions: lines then wait in memory, up to a limit. The
lines beyond it are dropped and counted.
"""

import logging
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import Any, TextIO

from pydantic_core import to_json
from pythonjsonlogger.json import JsonFormatter

CAPACITY = 20_000  # lines that wait for a slow reader
WRITE_SECONDS = 0.2
PATIENCE_SECONDS = 2.0  # for the last lines, when the service stops


class _BoundedHandler(QueueHandler):
    """Takes records without ever waiting."""

    def __init__(self, capacity: int) -> None:
        self.waiting: SimpleQueue[Any] = SimpleQueue()
        super().__init__(self.waiting)
        self._capacity = capacity
        self.lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # it stays in this process, so it need not be formatted here

    def enqueue(self, record: Any) -> None:
        if self.waiting.qsize() < self._capacity:
            self.waiting.put_nowait(record)
        else:
            self.lost += 1


class _Output(logging.Handler):
    """Formats each record, and writes them in batches: one system call for each would cost too much."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.setFormatter(
            JsonFormatter(
                ["levelname", "message"],
                rename_fields={"levelname": "level", "message": "event"},
                timestamp="time",
                json_serializer=lambda data, **_: to_json(data, fallback=str).decode(),
            )
        )
        self._stream = stream
        self._lines: list[str] = []
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def emit_event(self, event: str, created: float, fields: Mapping[str, Any]) -> None:
        """Write a line like those of the formatter, in a tenth of its time."""
        time = datetime.fromtimestamp(created, UTC).isoformat()
        line = {"level": "INFO", "event": event, **fields, "time": time}
        self._lines.append(to_json(line, fallback=str).decode())

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            try:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more
                self.lost += len(lines)


class _Listener(QueueListener):
    """Looks for records every so often: to wake up for each costs more than to write it."""

    def __init__(self, waiting: SimpleQueue[Any], output: _Output) -> None:
        super().__init__(waiting, output)
        self._waiting, self._output = waiting, output

    def dequeue(self, block: bool) -> Any:  # noqa: ARG002 -- it always blocks
        while self._waiting.empty():
            self._output.flush()
            time.sleep(WRITE_SECONDS)
        return self._waiting.get()

    def handle(self, record: Any) -> None:
        if isinstance(record, logging.LogRecord):
            super().handle(record)
        else:
            self._output.emit_event(*record)

    def stop(self) -> None:
        super().stop()
        self._output.flush()


class JsonLogs:
    """The logs of one process: those of this package from INFO on, those of libraries from WARNING on."""

    def __init__(self, stream: TextIO | None = None, capacity: int = CAPACITY) -> None:
        self._handler, self._output = _BoundedHandler(capacity), _Output(stream or sys.stdout)
        self._listener = _Listener(self._handler.waiting, self._output)

    @property
    def lost(self) -> int:
        """Lines that nobody received."""
        return self._handler.lost + self._output.lost

    def start(self) -> None:
        """Begin to take records and to write them."""
        logging.getLogger("bike_demand").setLevel(logging.INFO)
        logging.getLogger().addHandler(self._handler)
        self._listener.start()

    def info(self, event: str, fields: Mapping[str, Any]) -> None:
        """Log an event that comes with every request, to which `Logger.info` would add a tenth."""
        self._handler.enqueue((event, time.time(), fields))

    def stop(self) -> None:
        """Write the lines that wait, for a few seconds at most."""
        logging.getLogger().removeHandler(self._handler)
        last = threading.Thread(target=self._listener.stop, daemon=True)
        last.start()
        last.join(PATIENCE_SECONDS)
