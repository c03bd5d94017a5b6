"""The parts of the page, and what each of them needs: no part computes anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from bike_demand.prediction_log.journal import Raised
from bike_demand.prediction_log.load import Load
from bike_demand.serving.dashboard.charts import Tick


@dataclass(frozen=True)
class Headline:
    """The first thing that is read: how it is (good, busy, warn, bad, none), in a few words, and why."""

    state: str
    title: str
    why: str
    doing: Sequence[str] = ()


@dataclass(frozen=True)
class Mark:
    """Something that happened, on the plot of the error."""

    at: float
    kind: str  # release, back, trigger
    label: str
    says: str


@dataclass(frozen=True)
class Band:
    """A stretch of time on it, in which an incident went on."""

    left: float
    width: float
    kind: str
    says: str


@dataclass(frozen=True)
class Errors:
    """The plot of the error over time."""

    x: Sequence[Tick]
    y: Sequence[Tick]
    daily: str
    rolling: str
    yardstick: str
    marks: Sequence[Mark]
    bands: Sequence[Band]
    crowded: bool
    says: str


@dataclass(frozen=True)
class Test:
    """A comparison of two versions that is under way, with the plot of its ratio."""

    content: Mapping[str, Any]
    day: int
    x: Sequence[Tick]
    y: Sequence[Tick]
    ratio: str
    dots: Sequence[tuple[float, float]]
    bounds: str
    one: float  # where the ratio 1 lies, in percent from the top
    margin: float | None


@dataclass(frozen=True)
class Cell:
    """One day of one field: ok, bad or none."""

    state: str
    says: str


@dataclass(frozen=True)
class Quality:
    """One field: how it is now, and how its last days were."""

    name: str
    state: str
    says: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Event:
    """A line of what happened."""

    at: datetime
    kind: str
    title: str
    lines: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Service:
    """Volume and latency."""

    bars: Sequence[tuple[float, float, float, float, str]]  # left, width, height, failed, says; in percent
    line: str
    y: Sequence[Tick]
    y_ms: Sequence[Tick]
    x: Sequence[Tick]
    versions: Sequence[tuple[str, Load]]
    rate: str
    p95: str
    failures: int
    every: str


@dataclass(frozen=True)
class View:
    """All that the page needs."""

    headline: Headline
    now: datetime | None
    live: Mapping[str, Any]
    live_since: datetime | None
    live_days: int | None
    error: float | None
    yardstick: float | None  # on the hours for which there is one,
    paired: float | None  # and the error on the same hours
    promised: float | None
    last_day: float | None
    errors: Errors | None
    chosen: str
    tests: Sequence[Test]
    signals: Sequence[Raised]
    events: Sequence[Event]
    trainings: Sequence[Mapping[str, Any]]
    budget: Mapping[str, Any]
    quality: Sequence[Quality]
    first_cell: date | None
    drift: Mapping[str, Any] | None
    service: Service | None
    workers: Sequence[Mapping[str, Any]]
    looked: str
    problem: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
