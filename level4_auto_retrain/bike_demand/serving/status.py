"""The status document behind GET /status and /dashboard, for the people on call and for programs."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, Field

from bike_demand.core.current import FIELDS, PROBLEM
from bike_demand.core.errors import UserError
from bike_demand.core.settings import Dashboard
from bike_demand.serving.live_models import LiveModels
from bike_demand.serving.metrics import Metrics, RequestStatistics
from bike_demand.store import event_log, expected_ranges
from bike_demand.store.daily_stats import latest_drift_report, read_days
from bike_demand.store.database import Database
from bike_demand.store.deployments import all_deployments, history
from bike_demand.store.queries import workers
from bike_demand.store.tables import (
    PRIORITY,
    Alert,
    DailyStats,
    FeedTime,
    Incident,
    Signal,
    SignalKind,
    State,
    Training,
    Worker,
)

CACHE_SECONDS = 1.0  # so that many viewers cost one database read per second
RECENT_DAYS = 14  # window of the moving averages
MAX_ALERTS = 40


@dataclass(frozen=True)
class Headline:
    """The most important fact now, and the response to it."""

    state: Literal["good", "busy", "warn", "bad", "none"]
    title: str
    reason: str
    responses: tuple[str, ...] = ()


class ServedModel(BaseModel):
    """A model that this process serves; `share` of the randomization units are shown its predictions."""

    version: str
    role: Literal["champion", "challenger", "shadow", "previous"]
    share: float


class DayStatus(BaseModel):
    """One day. `error` is its mean; `recent_*` are means of the RECENT_DAYS up to it.

    `skill`: the share of the baseline's error that the model saves, on rows where both are known.
    `quality`: the number of rows that violated a rule, by field and rule; rules that the feed violated begin
    with "feed ".
    """

    day: date
    rows: int
    error: float | None
    recent_error: float | None
    recent_baseline: float | None
    skill: float | None
    quality: Mapping[str, Mapping[str, int]]


class Release(BaseModel):
    """A change of the live version; `rolled_back` is the version that it replaced by a rollback."""

    at: FeedTime
    version: int
    rolled_back: int | None


class StatusDocument(BaseModel):
    """The state of the service and the loop. Times without a zone are feed time."""

    title: str = PROBLEM.title
    environment: str
    generated_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    as_of: FeedTime | None = Field(None, description="the time up to which the loop has monitored")
    headline: Headline = Headline("none", "", "")
    errors: list[str] = Field([], description="what this document does not include, and why")
    models: list[ServedModel] = Field([], description="the models that this process serves, champion first")
    live_since: FeedTime | None = None
    reference_error: float | None = Field(
        None, description="error of the live version's holdout model, measured when it was trained"
    )
    error_name: str = PROBLEM.loss.name
    error_unit: str = PROBLEM.loss.unit
    error_decimals: int = PROBLEM.loss.decimals
    days: list[DayStatus] = []
    comparisons: list[dict[str, Any]] = Field([], description="A/B tests and watches, with their evidence")
    signals: list[Signal] = []
    incidents: list[Incident] = []
    releases: list[Release] = []
    trainings: list[Training] = []
    budget: dict[str, Any] = Field({}, description="of trainings: spent, limit, days, message")
    alerts: list[Alert] = []
    undelivered: list[dict[str, Any]] = Field([], description="alerts that a channel has not accepted")
    drift: dict[str, Any] | None = Field(None, description="the latest input drift test")
    fields: list[str] = Field(list(FIELDS), description="of a request")
    fallbacks: dict[str, int] = Field({}, description="values replaced since a day before `as_of`, by field")
    last_cycle_at: datetime | None = Field(None, description="end of the last monitoring cycle")
    traffic: RequestStatistics = RequestStatistics(0, 0, 0, [], {})
    workers: list[Worker] = []
    links: dict[str, str] = {}
    refresh_seconds: int = Dashboard().refresh_seconds


class StatusReporter:
    """Builds the status document from the database, the metrics, and the models in this process. Thread-safe.

    `timeout`: seconds after its last heartbeat for which a worker counts as running.
    """

    def __init__(
        self, database: Database, environment: str, metrics: Metrics, settings: Dashboard, timeout: float
    ) -> None:
        self._database, self._environment, self._metrics = database, environment, metrics
        self._settings, self._timeout = settings, timeout
        self._cached: tuple[float, tuple[LiveModels | None, str | None], bytes] | None = None
        self._lock = threading.Lock()

    def json(self, live: LiveModels | None, registry_error: str | None) -> bytes:
        """The document as JSON. `registry_error`: why the registry is unreachable at the moment."""
        with self._lock:
            if self._cached is not None:
                made_at, made_of, content = self._cached
                if time.monotonic() - made_at < CACHE_SECONDS and made_of == (live, registry_error):
                    return content
            content = self._document(live, registry_error).model_dump_json().encode()
            self._cached = (time.monotonic(), (live, registry_error), content)
            return content

    def _document(self, live: LiveModels | None, registry_error: str | None) -> StatusDocument:
        known = self._settings.model_dump() | {
            "environment": self._environment,
            "models": _served(live) if live else [],
            "traffic": self._metrics.traffic("/predict"),
        }
        errors = [registry_error] if registry_error else []
        try:
            found = read_status(self._database, self._environment, self._timeout)
        except UserError as error:
            responses = (f"Version {live.model.version} keeps predicting.",) if live else ()
            headline = Headline("bad", "The database does not respond", str(error), responses)
            return StatusDocument(**known, errors=[str(error), *errors], headline=headline)
        status = StatusDocument(**known, errors=errors, **found)
        version = live.model.version if live else None
        own_releases = [each.at for each in status.releases if str(each.version) == version]
        status.live_since = max(own_releases, default=None)
        stale = timedelta(hours=self._settings.loop_stale_hours)
        headline = find_headline(status, registry_error, stale)
        status.headline = replace(headline, responses=tuple(_responses(status)))
        return status


def read_status(database: Database, environment: str, worker_timeout: float) -> dict[str, Any]:
    """The fields of the document that come from the database. Raises UnreachableError."""
    fields = event_log.published_fields(database)
    as_of = max((each.as_of for each in fields.values()), default=None)
    signals = event_log.open_signals(database)
    return {name: each.content for name, each in fields.items()} | {
        "as_of": as_of,
        "days": list(_day_statuses(read_days(database, date.min, date.max))),
        "signals": sorted(signals, key=lambda each: (PRIORITY.index(each.kind), each.id)),
        "incidents": event_log.incidents(database),
        "releases": list(_releases(database)),
        "trainings": event_log.trainings(database),
        "alerts": event_log.alerts(database, MAX_ALERTS),
        "undelivered": event_log.delivery_failures(database, MAX_ALERTS),
        "drift": None if (latest := latest_drift_report(database)) is None else latest.content,
        "fallbacks": expected_ranges.count_replaced(database, as_of - timedelta(days=1)) if as_of else {},
        "workers": [each for each in workers(database, worker_timeout) if each.environment == environment],
    }


def find_headline(status: StatusDocument, registry_error: str | None, stale: timedelta) -> Headline:
    """The most important fact: a bad model, a failing loop, bad data, drift, a test, or that all is well.

    `stale`: wall time since the last monitoring cycle after which the loop counts as stopped.
    """
    kinds = {kind: [each for each in status.signals if each.kind is kind] for kind in SignalKind}
    training = next((each for each in status.trainings if each.state == event_log.BEGUN), None)
    test = next((each for each in status.comparisons if each["comparison"]["kind"] == "test"), None)
    version = status.models[0].version if status.models else None
    last = status.releases[-1] if status.releases else None
    bad_releases = kinds[SignalKind.BAD_RELEASE]
    if found := [each for each in bad_releases if each.evidence.get("verdict") == "continue"]:
        return Headline("warn", f"Out-of-band promotion: {found[0].subject}", found[0].message)
    if bad_releases:
        return Headline("bad", f"Bad release: {bad_releases[0].subject}", bad_releases[0].message)
    if found := kinds[SignalKind.LOOP]:
        return Headline("bad", "The loop needs attention", found[0].message)
    if version is None and last:
        return Headline(
            "bad",
            "No model is loaded",
            registry_error or f"Version {last.version} was live, but this process has not loaded it.",
        )
    if version is None:
        reason = registry_error or _why_nothing_is_live(status.trainings)
        return Headline("busy" if training else "none", "No model is live yet", reason)
    if registry_error:
        return Headline("warn", "The model registry is unreachable", registry_error)
    if status.last_cycle_at and status.generated_at - status.last_cycle_at > stale:
        reason = f"The last monitoring cycle ended at {status.last_cycle_at:%Y-%m-%d %H:%M} UTC."
        return Headline("warn", "The loop is not running", reason)
    if found := kinds[SignalKind.QUALITY]:
        subjects = ", ".join(dict.fromkeys(each.subject for each in found))
        return Headline("warn", f"Bad data: {subjects}", found[0].message)
    if found := [*kinds[SignalKind.ERROR], *kinds[SignalKind.AGE]]:
        title = "Model error has increased" if kinds[SignalKind.ERROR] else "Model age limit reached"
        return Headline("busy" if training or test else "warn", title, found[0].message)
    if training is not None:
        return Headline("busy", "A new version is being trained", training.reason)
    if test is not None:
        return Headline("busy", "A/B test in progress", test["reason"][:1].upper() + test["reason"][1:])
    if last and last.rolled_back and status.as_of and abs(status.as_of - last.at) < timedelta(days=1):
        return Headline(
            "warn", f"Version {last.rolled_back} was rolled back", f"Version {last.version} is live."
        )
    drifted = "inputs have drifted, but the model's error has not increased"
    advice = drifted if kinds[SignalKind.DRIFT] else "nothing to do"
    return Headline("good", "All is well", f"Version {version} is live; {advice}.")


def _why_nothing_is_live(trainings: Sequence[Training]) -> str:
    for last in [each for each in trainings if each.detail.get("result")][-1:]:
        if last.detail["result"] == "registered":
            return f"Version {last.version} waits for a person: python -m bike_demand deploy {last.version}."
        return f"The training of {last.at:%Y-%m-%d}: {last.detail['result']}."
    return "The loop trains and releases the first version as soon as there is data."


def _responses(status: StatusDocument) -> Iterator[str]:
    for training in status.trainings:
        if training.state == event_log.BEGUN:
            yield f"Training a new version: {training.reason}"
    for each in status.comparisons:
        compared = each["comparison"]
        verb = "tested" if compared["kind"] == "test" else "watched"
        yield f"Version {compared['version']} is being {verb} against version {compared['against']}."
    quality = [each.subject for each in status.signals if each.kind is SignalKind.QUALITY]
    if set(quality) - {event_log.OUTCOMES}:
        yield "No training until the data pass the quality rules again; the last good model stays live."
    if status.fallbacks:
        counts = ", ".join(f"{name} ({count})" for name, count in status.fallbacks.items())
        yield f"Implausible values replaced with typical ones in rows of the last day and later: {counts}."
    if status.undelivered:
        reason = f"{status.undelivered[0]['channel']}: {status.undelivered[0]['reason']}"
        yield f"Alerts not delivered: {len(status.undelivered)} ({reason})."


def _served(live: LiveModels) -> list[ServedModel]:
    share = live.other.share if live.other else 0.0
    champion = ServedModel(version=live.model.version, role="champion", share=1 - share)
    if live.other is None:
        return [champion]
    return [champion, ServedModel(version=live.other.model.version, role=live.other.role, share=share)]


def _releases(database: Database) -> Iterator[Release]:
    versions = {each.id: each.version for each in all_deployments(database)}
    changes = [each for each in history(database) if each.old is not each.new]
    for previous, each in pairwise([None, *changes]):
        if each is not None and each.new is State.LIVE:
            back = previous is not None and previous.new is State.ROLLED_BACK
            rolled_back = versions[previous.deployment] if back and previous else None
            yield Release(at=each.at, version=versions[each.deployment], rolled_back=rolled_back)


def _day_statuses(past: Sequence[DailyStats]) -> Iterator[DayStatus]:
    for place, day in enumerate(past, 1):
        window = past[max(0, place - RECENT_DAYS) : place]
        recent = [each for each in window if day.day - each.day < timedelta(days=RECENT_DAYS)]
        known, rows = sum(each.known for each in recent), sum(each.baseline_rows for each in recent)
        baseline = sum(each.baseline_error_sum for each in recent)
        yield DayStatus(
            day=day.day,
            rows=day.rows,
            error=_ratio(day.error_sum, day.known),
            recent_error=_ratio(sum(each.error_sum for each in recent), known),
            # If the baseline is known for too few of the rows, the two are not comparable.
            recent_baseline=_ratio(baseline, rows) if rows >= 0.8 * known else None,
            skill=_ratio(baseline - sum(each.paired_error_sum for each in recent), baseline),
            quality=day.quality,
        )


def _ratio(total: float, count: float) -> float | None:
    return total / count if count else None
