"""The status document: what GET /status answers and /dashboard draws, for people on duty and for programs."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from bike_demand.data.schema import LIMITS
from bike_demand.data.target import ERROR_NAME, ERROR_UNIT
from bike_demand.errors import UserError
from bike_demand.prediction_log import event_log, expected_ranges
from bike_demand.prediction_log.database import Database, open_database
from bike_demand.prediction_log.event_log import (
    BEGUN,
    LIVE,
    ROLL_BACK,
    TRAIN,
    Action,
    Alert,
    Incident,
    Kind,
    Raised,
)
from bike_demand.prediction_log.history import Day, days, drifts
from bike_demand.prediction_log.queries import Worker, workers
from bike_demand.serving.live_models import LiveModels
from bike_demand.serving.metrics import Metrics, Traffic
from bike_demand.settings import Dashboard

TITLE = "Bike demand"
CACHE_SECONDS = 1.0  # many viewers cost one reading of the database a second
RECENT_DAYS = 14  # of the moving averages
MOST_ALERTS = 40
REFUSED_FOR = timedelta(days=7)  # so long an alert that a channel refuses for good is reported
PRIORITY = [Kind.RELEASE, Kind.NO_MODEL, Kind.LOOP, Kind.QUALITY, Kind.ERROR, Kind.AGE, Kind.DRIFT]


class Headline(BaseModel):
    """What matters most now, and what is being done about it."""

    state: Literal["good", "busy", "warn", "bad", "none"]
    title: str
    reason: str
    doing: list[str] = []


class ServedModel(BaseModel):
    """A model that this process answers with; `share` of the hours get its prediction."""

    version: str
    role: Literal["champion", "challenger", "shadow", "previous"]
    share: float
    deployment: str


class DayStatus(BaseModel):
    """One day. `error` is its mean; `recent_error` and `recent_baseline` are means of RECENT_DAYS up to it.

    `quality`: by field and rule, in how many hours what was asked violated it.
    """

    day: date
    hours: int
    error: float | None
    recent_error: float | None
    recent_baseline: float | None
    quality: Mapping[str, Mapping[str, int]]


class Release(BaseModel):
    """Another version went live; `rolled_back` is the one that was withdrawn for it."""

    at: datetime
    version: int
    rolled_back: int | None


class StatusDocument(BaseModel):
    """The service and the loop at one moment. Times without a zone are in the time of the feed."""

    title: str = TITLE
    environment: str
    generated_at: datetime
    as_of: datetime | None = Field(None, description="up to here the loop has monitored")
    headline: Headline
    problems: list[str] = Field([], description="what this document could not take into account, and why")
    models: list[ServedModel] = Field([], description="what this process answers with, the champion first")
    live_since: datetime | None = None
    reference_error: float | None = Field(None, description="of the live version, at its release")
    improvement: float | None = Field(
        None, description=f"share by which the baseline's error is undercut, over {RECENT_DAYS} days"
    )
    error_name: str = ERROR_NAME
    error_unit: str = ERROR_UNIT
    days: list[DayStatus] = []
    comparisons: list[dict[str, Any]] = Field([], description="A/B tests and watches, with their evidence")
    signals: list[Raised] = []
    incidents: list[Incident] = []
    releases: list[Release] = []
    trainings: list[Action] = []
    budget: dict[str, Any] = Field({}, description="of trainings: spent, of, days, says")
    alerts: list[Alert] = []
    undelivered: list[dict[str, Any]] = Field(
        [], description="alerts that a channel has not accepted, and why"
    )
    drift: dict[str, Any] | None = Field(None, description="the latest input drift test")
    fields: list[str] = Field(list(LIMITS), description="of a request")
    fallbacks: dict[str, int] = Field({}, description="values replaced in the last day, by field")
    loop_checked_at: datetime | None = Field(None, description="end of the last monitoring cycle")
    traffic: Traffic
    workers: list[Worker] = []
    links: dict[str, str] = {}
    refresh_seconds: int = 5


class StatusReporter:
    """Makes the document of one environment from its database, the metrics and the model in this process.

    `seen_within`: seconds since the last heartbeat of a worker that still counts as running. Safe between
    threads.
    """

    def __init__(
        self, address: str, environment: str, metrics: Metrics, settings: Dashboard, seen_within: float
    ) -> None:
        self._address, self._environment, self._metrics = address, environment, metrics
        self._settings, self._seen_within = settings, seen_within
        self._database: Database | None = None
        self._cached: tuple[float, tuple[LiveModels | None, str | None], bytes] | None = None
        self._lock = threading.Lock()

    def json(self, live: LiveModels | None, problem: str | None) -> bytes:
        """The document as JSON. `problem`: why the registry is not followed at the moment."""
        with self._lock:
            if self._cached is not None:
                made_at, made_of, content = self._cached
                if time.monotonic() - made_at < CACHE_SECONDS and made_of == (live, problem):
                    return content
            content = self._document(live, problem).model_dump_json().encode()
            self._cached = (time.monotonic(), (live, problem), content)
            return content

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _document(self, live: LiveModels | None, problem: str | None) -> StatusDocument:
        found: dict[str, Any] = {
            "environment": self._environment,
            "generated_at": datetime.now(UTC),
            "problems": [problem] if problem else [],
            "models": list(_served(live)),
            "traffic": self._metrics.traffic("/predict"),
            "links": self._settings.links,
            "refresh_seconds": self._settings.refresh_seconds,
        }
        try:
            found |= self._read()
        except UserError as error:
            found["problems"] = [str(error), *found["problems"]]
            doing = [f"Version {live.model.version} keeps answering."] if live else []
            headline = Headline(
                state="bad", title="The database does not answer", reason=str(error), doing=doing
            )
            return StatusDocument(**found, headline=headline)
        releases = found.get("releases", [])
        if live is not None:
            mine = [each.at for each in releases if str(each.version) == live.model.version]
            found["live_since"] = mine[-1] if mine else None
        document = StatusDocument(**found, headline=Headline(state="none", title="", reason=""))
        stale = timedelta(hours=self._settings.loop_stale_hours)
        return document.model_copy(update={"headline": headline_of(document, problem, stale)})

    def _read(self) -> dict[str, Any]:
        if not self._address:
            return {}
        database = self._database or open_database(self._address)
        try:
            found = read(database, self._environment, self._seen_within)
        except BaseException:
            self._database = None  # it may have been deleted and created again, so it is opened again
            database.close()
            raise
        self._database = database
        return found


def read(database: Database, environment: str, seen_within: float) -> dict[str, Any]:
    """Fields of the document that come from the database. Raises UnreachableError."""
    known = event_log.published(database)
    content = {name: each.content for name, each in known.items()}
    as_of = max((each.as_of for each in known.values()), default=None)
    live = content.get("live") or {}
    actions = event_log.actions(database)
    past = days(database, date.min, date.max)
    return {
        "as_of": as_of,
        "reference_error": (live.get("reference") or {}).get("mae"),
        "loop_checked_at": live.get("checked_at"),
        "comparisons": content.get("tests") or [],
        "budget": content.get("budget") or {},
        "improvement": _improvement(past),
        "days": list(_day_statuses(past)),
        "signals": sorted(
            event_log.open_signals(database), key=lambda each: (PRIORITY.index(each.kind), each.id)
        ),
        "incidents": event_log.incidents(database),
        "releases": list(_releases(actions)),
        "trainings": [each for each in actions if each.kind == TRAIN],
        "alerts": event_log.alerts(database, MOST_ALERTS),
        "undelivered": [
            each
            for each in event_log.delivery_failures(database, MOST_ALERTS)
            if not each["final"] or (as_of and datetime.fromisoformat(each["at"]) > as_of - REFUSED_FOR)
        ],
        "drift": next((each for _, each in drifts(database)), None),
        "fallbacks": expected_ranges.replaced(database, as_of - timedelta(days=1)) if as_of else {},
        "workers": [each for each in workers(database, seen_within) if each.environment == environment],
    }


def headline_of(status: StatusDocument, problem: str | None, stale: timedelta) -> Headline:
    """What matters most: a bad model, a failing loop, bad data, drift, a test, or that all is well.

    `stale`: how long ago (wall time) the last monitoring cycle may be before the loop counts as stopped.
    """
    kinds = {kind: [each for each in status.signals if each.kind is kind] for kind in Kind}
    training = next((each for each in status.trainings if each.state == BEGUN), None)
    test = next((each for each in status.comparisons if each["kind"] == "test"), None)
    doing = list(_doing(status, training))
    version = status.models[0].version if status.models else None

    def say(state: Any, title: str, reason: str) -> Headline:
        return Headline(state=state, title=title, reason=reason, doing=doing)

    if found := [each for each in kinds[Kind.RELEASE] if each.evidence.get("verdict") == "keep on"]:
        return say("warn", f"{_capital(found[0].subject)} was promoted out of band", found[0].says)
    if found := kinds[Kind.RELEASE]:
        return say("bad", f"Bad release: {found[0].subject}", found[0].says)
    if found := kinds[Kind.LOOP]:
        return say("bad", "The loop needs a person", found[0].says)
    if version is None and status.releases:
        return say("bad", "No model is loaded", problem or f"Version {status.releases[-1].version} was live.")
    if version is None:
        reason = "The loop trains and releases the first version by itself as soon as there is data."
        return say("busy" if training else "none", "No model is live yet", problem or reason)
    if problem:
        return say("warn", "The model registry is not followed", problem)
    if status.loop_checked_at and status.generated_at - status.loop_checked_at > stale:
        reason = f"The last monitoring cycle ended at {status.loop_checked_at:%Y-%m-%d %H:%M} UTC."
        return say("warn", "The loop does not run", reason)
    if found := kinds[Kind.QUALITY]:
        subjects = list(dict.fromkeys(each.subject for each in found))
        doing.append("No training until the data are right again; the last good model stays.")
        return say("warn", f"Bad data: {', '.join(subjects)}", found[0].says)
    if found := [*kinds[Kind.ERROR], *kinds[Kind.AGE]]:
        title = "The error drifts" if found[0].kind is Kind.ERROR else "The model is old"
        return say("busy" if training or test else "warn", title, found[0].says)
    if training is not None:
        return say("busy", "A new version is being trained", training.reason)
    if test is not None:
        return say("busy", "A/B test in progress", _capital(test["reason"]))
    last = status.releases[-1] if status.releases else None
    if last and last.rolled_back and status.as_of and status.as_of - last.at < timedelta(days=1):
        return say("warn", f"Version {last.rolled_back} was rolled back", f"Version {last.version} is live.")
    reason = f"Version {version} is live; nothing to do."
    if kinds[Kind.DRIFT]:
        reason = f"Version {version} is live. Inputs have drifted, the error has not: no reason to train."
    return say("good", "All is well", reason)


def _doing(status: StatusDocument, training: Action | None) -> Iterator[str]:
    if training is not None:
        yield f"Training a new version: {training.reason}"
    for each in status.comparisons:
        verb = "tested" if each["kind"] == "test" else "watched"
        yield f"Version {each['version']} is being {verb} against version {each['against']}."
    if status.fallbacks:
        yield f"Implausible values are replaced with typical ones: {', '.join(status.fallbacks)}."
    if status.undelivered:
        reason = f"{status.undelivered[0]['channel']}: {status.undelivered[0]['reason']}"
        yield f"Alerts not delivered: {len(status.undelivered)} ({reason})."


def _served(live: LiveModels | None) -> Iterator[ServedModel]:
    if live is None:
        return
    other = live.other
    share = other.share if other else 0.0
    yield ServedModel(
        version=live.model.version, role="champion", share=1 - share, deployment=live.deployment
    )
    if other is not None:
        yield ServedModel(
            version=other.model.version, role=other.role, share=share, deployment=other.deployment
        )


def _releases(actions: Sequence[Action]) -> Iterator[Release]:
    withdrawn = {each.detail.get("version") for each in actions if each.kind == ROLL_BACK}
    for each in actions:
        if each.kind == LIVE and each.version is not None:
            before = each.detail.get("instead_of")
            yield Release(
                at=each.at, version=each.version, rolled_back=before if before in withdrawn else None
            )


def _day_statuses(past: Sequence[Day]) -> Iterator[DayStatus]:
    for number, day in enumerate(past):
        recent = _recent(past[: number + 1])
        hours, known = sum(each.baseline_hours for each in recent), sum(each.known for each in recent)
        baseline = sum(each.baseline_error for each in recent)
        yield DayStatus(
            day=day.day,
            hours=day.hours,
            error=_mean(day.error, day.known),
            recent_error=_mean(sum(each.error for each in recent), known),
            # Where the baseline is known for few of the hours, the two do not compare.
            recent_baseline=_mean(baseline, hours) if hours >= 0.8 * known else None,
            quality=day.quality,
        )


def _improvement(past: Sequence[Day]) -> float | None:
    recent = _recent(past)
    baseline = sum(each.baseline_error for each in recent)
    return 1 - sum(each.paired_error for each in recent) / baseline if baseline else None


def _recent(past: Sequence[Day]) -> list[Day]:
    return [each for each in past[-RECENT_DAYS:] if each.day > past[-1].day - timedelta(days=RECENT_DAYS)]


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 4) if count else None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
