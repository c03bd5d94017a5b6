"""The loop's event log: signals, actions and alerts, and that two loops do not act at the same time."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from bike_demand.core.errors import UserError
from bike_demand.store import event_log
from bike_demand.store.daily_stats import store_drift_report
from bike_demand.store.database import Database, lock, open_database
from bike_demand.store.event_log import DONE
from bike_demand.store.expected_ranges import publish_ranges
from bike_demand.store.tables import ExpectedRange, Signal, SignalKind
from tests.conftest import ROOT
from tests.postgres import running_postgres
from tests.service import free_port

NOON = datetime(2012, 5, 1, 12)
DAY = timedelta(days=1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with contextlib.ExitStack() as stack:
        address = f"sqlite:///{tmp_path / 'production.db'}"
        if request.param == "postgresql":
            folder = request.getfixturevalue("tmp_path_factory").mktemp("postgres")
            address = stack.enter_context(running_postgres(folder, free_port()))
        yield stack.enter_context(contextlib.closing(open_database(address)))


def signal(
    at: datetime, message: str = "too hot", subject: str = "heat", kind: SignalKind = SignalKind.QUALITY
) -> Signal:
    return Signal(kind, subject, at, at, message, {"message": message})


def all_signals(database: Database) -> list[Signal]:
    return database.all(select(Signal).order_by(Signal.id))


def test_open_signal_is_one_row(
    database: Database,
) -> None:
    first = event_log.update_signals(database, [signal(NOON)], NOON)
    assert [(each.message, each.ended_at) for each in first.new] == [("too hot", None)]
    again = event_log.update_signals(database, [signal(NOON + DAY, "still")], NOON + DAY)
    assert (again.new, [each.id for each in again.open]) == ([], [first.new[0].id])
    (kept,) = event_log.open_signals(database)
    assert (kept.first_at, kept.last_at, kept.message) == (NOON, NOON + DAY, "still")
    assert kept.evidence == {"message": "still"}
    over = event_log.update_signals(database, [], NOON + 2 * DAY)
    assert [(each.id, each.ended_at) for each in over.ended] == [(kept.id, NOON + 2 * DAY)]
    assert event_log.open_signals(database) == []
    event_log.update_signals(database, [signal(NOON + 3 * DAY)], NOON + 3 * DAY)
    assert [each.ended_at for each in all_signals(database)] == [NOON + 2 * DAY, None]


def test_signals_differ_by_kind_and_subject(database: Database) -> None:
    raised = event_log.update_signals(
        database,
        [
            signal(NOON),
            signal(NOON, "and again"),
            signal(NOON, subject="moisture"),
            signal(NOON, kind=SignalKind.DRIFT),
        ],
        NOON,
    )
    assert [(each.kind, each.subject, each.message) for each in raised.new] == [
        (SignalKind.QUALITY, "heat", "too hot"),
        (SignalKind.QUALITY, "moisture", "too hot"),
        (SignalKind.DRIFT, "heat", "too hot"),
    ]


def test_open_action_is_reused(database: Database) -> None:
    begun = event_log.begin_training(database, reason="drift", at=NOON, detail={"a": 1})
    assert event_log.begin_training(database, reason="age", at=NOON + DAY) == begun
    assert event_log.open_trainings(database) == [begun]
    event_log.update_training(database, begun.id, version=3, detail={"b": 2})
    (kept,) = event_log.open_trainings(database)
    assert (kept.version, kept.detail) == (3, {"a": 1, "b": 2})
    event_log.update_training(database, begun.id, state=DONE)
    assert event_log.open_trainings(database) == []
    assert event_log.begin_training(database, reason="age", at=NOON + DAY).id != begun.id
    assert [each.reason for each in event_log.trainings(database)] == ["drift", "age"]


def test_open_incident_and_case_are_unique(database: Database) -> None:
    about = {"since": NOON - DAY, "detected_at": NOON, "description": "a jump"}
    first = event_log.open_incident(database, SignalKind.QUALITY, "heat", **about)  # type: ignore[arg-type]
    assert event_log.open_incident(database, SignalKind.QUALITY, "heat", **about) == first  # type: ignore[arg-type]
    event_log.record_response(database, first.id, NOON, "held")
    event_log.record_response(database, first.id, NOON + DAY, "held")
    for rows in (3, 5):  # details that change with each cycle
        event_log.record_response(database, first.id, NOON + DAY, f"No training. {rows} rows are bad.")
        event_log.record_response(database, first.id, NOON + DAY, "The response failed.")
    regression_case = event_log.add_regression_case(database, first.id, {"rows": [1]})
    assert event_log.add_regression_case(database, first.id, {"rows": [2]}) == regression_case
    event_log.end_incident(database, first.id, NOON + DAY, {"rows": 3})
    (kept,) = event_log.incidents(database)
    assert [each["response"] for each in kept.responses] == [
        "held",
        "The response failed.",
        "No training. 5 rows are bad.",
    ]
    assert kept.responses[0]["at"] == NOON.isoformat()
    assert (kept.ended_at, kept.cost, kept.regression_case) == (NOON + DAY, {"rows": 3}, regression_case)
    assert [each.content for each in event_log.regression_cases(database)] == [{"rows": [2]}]
    assert event_log.incidents(database, only_open=True) == []
    assert event_log.open_incident(database, SignalKind.QUALITY, "heat", **about).id != first.id  # type: ignore[arg-type]


def test_concurrent_raises_keep_one_row(database: Database) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(5):
                event_log.update_signals(database, [signal(NOON + number * DAY)], NOON + number * DAY)
                event_log.begin_training(database, reason="drift", at=NOON)
                event_log.publish_fields(database, {str(number): {}}, NOON)
                store_drift_report(database, NOON + number * DAY, {})
                publish_ranges(database, [ExpectedRange(str(number), 0.0, 1.0, [0.5] * 24, NOON)])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    assert len(all_signals(database)) == 1
    assert len(event_log.trainings(database)) == 1


# ---- one at a time

HOLD = """
import sys, time
from bike_demand.store.database import open_database
from bike_demand.store.database import lock
with lock(open_database(sys.argv[1]), "loop"):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_lock_is_exclusive_and_released_on_kill(database: Database) -> None:
    address = database.engine.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, address], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "mine\n"
            with pytest.raises(UserError, match="another loop is running"), lock(database, "loop", 0.3):
                pass
        finally:
            other.kill()
            other.wait()
    with lock(database, "loop", 5), pytest.raises(UserError, match="is running"), lock(database, "loop"):
        pass
