"""Generates load on one HTTP route: keep-alive connections that send the next request after each response."""

import asyncio
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

import httptools
from rich.table import Table


@dataclass(frozen=True)
class Load:
    """The result: requests per second, latencies of all requests in seconds, and the number of failures."""

    rate: float
    latencies: tuple[float, ...]
    failed: int

    def percentile(self, share: float) -> float:
        """The latency in seconds that this share (0 to 1) of the requests stayed within; nearest rank."""
        ordered = sorted(self.latencies)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def table(title: str, rows: Sequence[tuple[str, Sequence[Load]]]) -> Table:
    """The medians of the runs in each row, and how many of their requests failed."""
    made = Table(title=title, title_justify="left")
    made.add_column("")
    for column in ("requests/s", "p50, ms", "p99, ms", "failed"):
        made.add_column(column, justify="right")
    for name, runs in rows:
        rate = statistics.median(run.rate for run in runs)
        p50, p99 = (1e3 * statistics.median(run.percentile(share) for run in runs) for share in (0.5, 0.99))
        made.add_row(name, f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}", str(sum(run.failed for run in runs)))
    return made


class _Connection(asyncio.Protocol):
    """One user who sends the next request as soon as the response arrives, until the end."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request, self._until = request, until
        self._parser = httptools.HttpResponseParser(self)
        self._sent = 0.0
        self.latencies: list[float] = []
        self.failed = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        self.failed += self._parser.get_status_code() != 200
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self.failed += 1
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


def post(
    url: str,
    body: bytes,
    seconds: float,
    connections: int = 16,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Load:
    """POST `body` (JSON) to `url` on loopback for `seconds` seconds.

    Raises ValueError for an address that is not on loopback, OSError if nothing listens there.
    """
    parts = urlsplit(url)
    port = parts.port
    if parts.hostname != "127.0.0.1" or port is None:
        raise ValueError(f"{url}: load goes to 127.0.0.1 only")
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"{more}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body

    async def run() -> Load:
        start = time.perf_counter()
        loop = asyncio.get_running_loop()
        users = [
            (await loop.create_connection(lambda: _Connection(request, start + seconds), "127.0.0.1", port))[
                1
            ]
            for _ in range(connections)
        ]
        await asyncio.wait_for(asyncio.gather(*(user.done for user in users)), timeout=seconds + 30)
        latencies = tuple(latency for user in users for latency in user.latencies)
        return Load(
            len(latencies) / (time.perf_counter() - start), latencies, sum(user.failed for user in users)
        )

    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.run(run())
    return uvloop.run(run())
