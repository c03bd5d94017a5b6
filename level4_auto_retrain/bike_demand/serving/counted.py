"""Counts requests to predict by minute and version, for the history in the database."""

import time
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime

from bike_demand.prediction_log.load import LIMITS, NOBODY, Load

ROUTE = "/predict"
MINUTE = 60  # seconds
A_DAY = 24 * 60  # minutes


class _Cell:
    """What was counted in one minute for one version."""

    __slots__ = ("buckets", "failures", "requests", "rows", "seconds", "told")

    def __init__(self) -> None:
        self.requests = self.rows = self.failures = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(LIMITS) + 1)
        self.told = 0  # so many of the requests are in what was told


class Counted:
    """The counts of one process. `request` is called by one thread, the others by another.

    Nothing is lost between the two: a minute's counts only ever grow, are told again while they do, and are
    dropped when all of them were told and the minute is over.
    """

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], _Cell] = {}

    def request(self, at: float, version: str, rows: int, status: int, seconds: float) -> None:
        """Count a request that was answered, or failed (5xx). `at` in seconds of the epoch."""
        key = (int(at // MINUTE), int(version) if version.isdigit() else NOBODY)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        cell.rows += rows
        cell.failures += status >= 500
        cell.seconds += seconds
        cell.buckets[bisect_left(LIMITS, seconds)] += 1
        cell.requests += 1

    def untold(self) -> list[Load]:
        """What has changed since it was told, each minute as it stands now."""
        return [
            Load(
                datetime.fromtimestamp(minute * MINUTE, UTC),
                version,
                cell.requests,
                cell.rows,
                cell.failures,
                cell.seconds,
                tuple(cell.buckets),
            )
            for (minute, version), cell in list(self._cells.items())
            if cell.requests != cell.told
        ]

    def told(self, loads: Sequence[Load]) -> None:
        """These are in the database. What is not, while that is away, waits for a day at most."""
        now = int(time.time() // MINUTE)
        for each in loads:
            self._cells[int(each.at.timestamp() // MINUTE), each.version].told = each.requests
        for key, cell in list(self._cells.items()):
            if key[0] < now - 1 and (cell.told == cell.requests or key[0] < now - A_DAY):
                del self._cells[key]
