"""A database of a hundred days for status tests, filled by the functions of the loop and the service."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from bike_demand.serving.metrics import Metrics
from bike_demand.store import event_log
from bike_demand.store.daily_stats import store_drift_report
from bike_demand.store.database import open_database
from bike_demand.store.tables import Alert, DailyStats, Deployment, Signal, SignalKind, State, Transition

FIRST = date(2011, 10, 1)
DAYS = 100
NOW = datetime(2012, 1, 9)
ERROR, BASELINE = 30.0, 50.0  # mean errors, in pieces a day
BAD_QUALITY = {"heat": {"units": 24}}


def at(day: int) -> datetime:
    """Midnight of a day of the story."""
    return datetime.combine(FIRST, time()) + timedelta(days=day)


def fill_database(address: str, signals: Sequence[Signal] = (), tests: Sequence[dict[str, Any]] = ()) -> None:
    """A hundred days: three releases, one of them rolled back, two incidents, and these signals now."""
    with closing(open_database(address)) as database:
        rows: list[dict[str, Any]] = []
        for number in range(DAYS):
            error = ERROR * (2 if 40 <= number < 44 else 1)
            known = 20 if number == DAYS - 1 else 24  # the newest is not all known yet
            rows.append(
                {
                    "day": FIRST + timedelta(days=number),
                    "version": 0,
                    "rows": 24,
                    "known": known,
                    "error_sum": error * known,
                    "bias_sum": 0.0,
                    "target_sum": 4000.0,
                    "baseline_rows": 24 if number > 6 else 0,
                    "baseline_error_sum": BASELINE * 24 if number > 6 else 0.0,
                    "paired_error_sum": error * 24,
                    "quality": BAD_QUALITY if number in (90, 91) else {},
                }
            )
        with database.writing() as session:
            session.add_all([DailyStats(**row) for row in rows])
        with database.writing() as session:
            rows_of = {number: Deployment(number, "r", "d", "", at(0), at(0)) for number in (1, 2, 3)}
            session.add_all(rows_of.values())
            session.flush()
            for day, number, old, new in (
                (0, 1, State.CREATED, State.LIVE),
                (45, 1, State.LIVE, State.RETIRED),
                (45, 2, State.TESTING, State.LIVE),
                (60, 2, State.LIVE, State.RETIRED),
                (60, 3, State.TESTING, State.LIVE),
                (62, 3, State.LIVE, State.ROLLED_BACK),
                (62, 2, State.RETIRED, State.LIVE),
            ):
                session.add(Transition(rows_of[number].id, old, new, at(day), "far worse", applied=True))
                session.flush()
        for day, version, reason, outcome in (
            (43, 2, "it predicts 37 % too little", "live"),
            (59, 3, "a person wanted it", "was live and was rolled back"),
        ):
            action = event_log.begin_training(database, reason=reason, at=at(day))
            event_log.update_training(
                database, action.id, state=event_log.DONE, version=version, detail={"result": outcome}
            )
        action = event_log.begin_training(database, reason="requested again", at=at(60))
        detail = {"result": "nothing had changed", "no_training": True}
        event_log.update_training(database, action.id, state=event_log.DONE, detail=detail)
        changed = event_log.open_incident(
            database,
            SignalKind.ERROR,
            "version 1",
            since=at(40),
            detected_at=at(43),
            description="too little",
        )
        event_log.record_response(database, changed.id, at(43), "version 2 was trained")
        event_log.end_incident(
            database, changed.id, at(48), {"rows": 192, "error": 58.5, "normal_error": 30.5}
        )
        over = Alert("resolved:1", at(48), "Resolved: error-drift", {"summary": "It is over."}, {"log": None})
        event_log.store_alert(database, over, at(47))
        late = event_log.open_incident(
            database,
            SignalKind.QUALITY,
            "feed",
            since=at(80),
            detected_at=at(82),
            description="rows are late",
        )
        event_log.end_incident(database, late.id, at(84), {"rows": 96})
        for field in ("heat", "core_heat"):
            event_log.open_incident(
                database, SignalKind.QUALITY, field, since=at(90), detected_at=at(91), description="units"
            )
        body = {
            "summary": "It predicts 37 % too little.",
            "evidence": {"rows": 96},
            "response": "Version 2 is trained.",
            "suggestion": "Nothing has to be done.",
        }
        drifts = Alert("error", at(43), "Model error has increased", body, {"log": None})
        event_log.store_alert(database, drifts, at(36))
        store_drift_report(
            database,
            NOW,
            {
                "version": 2,
                "current": [at(93).isoformat(), NOW.isoformat()],
                "reference": [at(0).isoformat(), at(43).isoformat()],
                "distances": {"heat": 1.25, "moisture": 0.2},
                "drifted": ["heat"],
            },
        )
        event_log.update_signals(database, signals, NOW)
        budget = {"spent": 1, "limit": 4, "days": 30, "message": "Cool-down until 2012-01-12."}
        checked_at = datetime.now(UTC).isoformat()
        content = {
            "reference_error": 28.25,
            "last_cycle_at": checked_at,
            "comparisons": list(tests),
        }
        event_log.publish_fields(database, content | {"budget": budget}, NOW)


def example_metrics() -> Metrics:
    """A thousand requests answered by version 2, one of them in vain, and one rejected."""
    made = Metrics()
    for number in range(1000):
        made.request("/predict", 200, 0.0007 if number < 900 else 0.007)
    made.request("/predict", 500, 0.0001)
    made.request("/predict", 422, 0.0001)
    made.request("/live", 200, 0.0001)
    made.predictions("2", "champion", 1000)
    return made


def example_test() -> dict[str, Any]:
    """A test as the loop puts it there."""
    return {
        "comparison": {
            "kind": "test",
            "version": 4,
            "against": 2,
            "mode": "ab",
            "share": 0.5,
            "began": at(97).isoformat(),
            "days": 14,
        },
        "rule": {"worse": 0.05},
        "verdict": "continue",
        "reason": "undecided so far, its error is 0.93 times the other's (0.84 to 1.04)",
        "days": [
            {"ratio": 0.97, "low": 0.5, "high": None},
            {"ratio": 0.94, "low": 0.7, "high": 1.3},
            {"ratio": 0.93, "low": 0.84, "high": 1.04},
        ],
    }


def signal(kind: SignalKind, subject: str = "version 2") -> Signal:
    """A signal that says what it is."""
    return Signal(kind, subject, NOW, NOW, f"{subject} is shown <b>as it is</b>.", {})
