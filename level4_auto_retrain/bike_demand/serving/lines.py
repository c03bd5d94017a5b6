"""What the service writes on standard output: a JSON object a line, beside the requests, within bounds."""

import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

MOST_WAITING = 20_000  # lines, while whoever reads them is slow; what comes on top is lost, and counted
PATIENCE_SECONDS = 2.0  # for the last lines, when the service ends
EVERY_SECONDS = 0.2


class Say(Protocol):
    """Writes that something happened, with what there is to know about it."""

    def __call__(self, event: str, **fields: Any) -> None: ...


class Answered(NamedTuple):
    """A request that was answered, well or not. `at` in seconds of the epoch."""

    at: float
    route: str
    status: int
    seconds: float
    client: str
    ids: Sequence[str]  # of its predictions
    version: str = ""  # that was shown


def say(event: str, **fields: Any) -> None:
    """Write a line at once."""
    print(_line(datetime.now(UTC).timestamp(), event, fields), flush=True)


class Lines:
    """The lines of one process, written by a thread of its own: a reader that stops must not stop answers."""

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self._write = write or _to_stdout
        self._waiting: deque[Answered | str] = deque()
        self.lost = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def say(self, event: str, **fields: Any) -> None:
        """Write that something happened, soon."""
        self._add(_line(datetime.now(UTC).timestamp(), event, fields))

    def request(self, answered: Answered) -> None:
        """Write a line about a request, soon."""
        self._add(answered)

    def stop(self) -> None:
        """Write what is there, and wait for it a few seconds."""
        self._stopping.set()
        self._thread.join(PATIENCE_SECONDS)

    def _add(self, line: Answered | str) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(line)
        else:
            self.lost += 1

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if lines:
            text = [line if isinstance(line, str) else _of_request(line) for line in lines]
            try:
                self._write("\n".join(text) + "\n")
            except (OSError, ValueError):  # nobody reads any more
                self.lost += len(lines)


def _of_request(answered: Answered) -> str:
    """Put together here: there is one for each request, and nothing in it but the client needs quoting."""
    ids = '","'.join(answered.ids)
    return (
        f'{{"time":"{_time(answered.at)}","event":"request","route":"{answered.route}",'
        f'"status":{answered.status},"ms":{1e3 * answered.seconds:.3f},"client":{_quoted(answered.client)},'
        f'"ids":[{ids and f"{chr(34)}{ids}{chr(34)}"}]}}'
    )


def _line(at: float, event: str, fields: dict[str, Any]) -> str:
    return json.dumps({"time": _time(at), "event": event, **fields}, separators=(",", ":"))


def _time(at: float) -> str:
    second, part = divmod(at, 1)
    return f"{_second(int(second))}.{int(part * 1000):03d}Z"


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return json.dumps(text)


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
