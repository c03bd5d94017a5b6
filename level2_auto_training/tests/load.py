"""Load on the service: keep-alive connections that send each request as soon as the last was answered."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httptools

from tests.toy import EXAMPLE

CONNECTIONS = 16


class Load:
    """What came of it so far: which version answered each request and when, and what went wrong."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, str]] = []  # seconds of a monotonic clock, version
        self.failures: list[str] = []
        self.ending = False

    def latest(self, count: int) -> set[str]:
        """The versions of that many latest answers."""
        return {version for _, version in self.answers[-count:]}


class _User(asyncio.Protocol):
    def __init__(self, load: Load, request: bytes) -> None:
        self._load, self._request = load, request
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._waiting = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._waiting = False
        status = self._parser.get_status_code()
        if status == 200:
            self._load.answers.append((time.monotonic(), json.loads(self._body)["model_version"]))
        else:
            self._load.failures.append(f"status {status}: {self._body!r}")
        if self._load.ending:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting or not self._load.ending:
            self._load.failures.append(f"connection lost: {error}")
        self.done.set_result(None)

    def _ask(self) -> None:
        self._body = b""
        self._waiting = True
        self._transport.write(self._request)


@contextmanager
def loaded(port: int) -> Iterator[Load]:
    """Meanwhile, users send requests of one row to a service on this machine, one after the other."""
    load = Load()
    body = json.dumps(EXAMPLE).encode()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        made: list[Any] = [
            await loop.create_connection(lambda: _User(load, request), "127.0.0.1", port)
            for _ in range(CONNECTIONS)
        ]
        await asyncio.wait_for(asyncio.gather(*(user.done for _, user in made)), timeout=100)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield load
    finally:
        load.ending = True
        thread.join()
