"""The database of predictions and outcomes, through what the rest of the project calls."""

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi.exceptions import RequestValidationError
from sqlalchemy import event

from bike_demand.core.current import Outcome
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.onnx_model import load_model
from bike_demand.serving.outcome_requests import store_outcomes
from bike_demand.serving.telemetry import Recorder
from bike_demand.store import event_log, expected_ranges, queries, tables
from bike_demand.store.database import Database, database_at, open_database
from bike_demand.store.outcomes import Stored, store
from bike_demand.store.tables import Base, ExpectedRange, LoggedPrediction, Worker
from bike_demand.store.writer import PredictionLog, Row, remove_worker, report_worker
from tests.postgres import running_postgres
from tests.service import serve_in_thread

TIME = datetime(2012, 6, 13, 17)
INPUTS = {"heat": 24.6, "moisture": None, "special": False}
NOW = datetime(2012, 6, 13, 16, 5, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database is, or will be made, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'log.db'}"
    found: str = request.getfixturevalue("postgres")
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as address:
        yield address


@pytest.fixture
def postgres(server: str) -> str:
    """A new database of a PostgreSQL server."""
    return new_database(server)


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    with contextlib.closing(open_database(address)) as database:
        yield database


def row(
    number: int,
    *,
    at: datetime = TIME,
    shown: tuple[int, float] = (1, 10.0),
    other: tuple[int, float | None, str] | None = None,
    variant: str = "champion",
    key: str = "",
) -> Row:
    """A row of the log; the higher its number, the later it was made."""
    made_at = (NOW + timedelta(seconds=number)).replace(tzinfo=None).isoformat(" ", "microseconds")
    event_time = at.isoformat(" ", "microseconds")
    version, prediction = shown
    other_version, other_prediction, role = other or (None, None, None)
    deployment = f"deployment {version}"
    head = (f"id-{number}", made_at, "someone", event_time, key, json.dumps(INPUTS))
    return (*head, prediction, variant, version, deployment, other_prediction, other_version, role, None)


def log(address: str, rows: list[Row], limit: int = 1000) -> PredictionLog[Row]:
    """Write rows the way the service does, each as a request of its own."""
    with contextlib.closing(database_at(address)) as database:
        writer: PredictionLog[Row] = PredictionLog(database, 0.01, limit, list)
        writer.start()
        for each in rows:
            assert writer.add(each, 1)
        writer.stop()
    return writer


def test_migrations_match_tables(database: Database) -> None:
    with database.reading() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_many_who_open_a_new_database_at_once_all_get_it(address: str) -> None:
    found: list[Stored | Exception] = []

    def use(number: int) -> None:
        try:
            with contextlib.closing(open_database(address)) as database:
                found.append(store(database, {(TIME + timedelta(hours=number), ""): number}))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Stored(1, 0, 0)] * 6


def test_what_was_logged_is_found(address: str, database: Database) -> None:
    log(address, [row(1, shown=(3, 12.5), other=(4, 13.5, "challenger"))])
    found = queries.find_prediction(database, "id-1")
    assert found == LoggedPrediction(
        "id-1",
        NOW + timedelta(seconds=1),
        "someone",
        TIME,
        "",
        INPUTS,
        *(12.5, "champion", 3, "deployment 3", 13.5, 4, "challenger", None),
    )
    assert queries.find_prediction(database, "id-2") is None


def test_replacements_ranges_and_facts_are_stored(address: str, database: Database) -> None:
    first, second = list(row(1)), list(row(2, at=TIME + timedelta(hours=1)))
    first[-1] = '{"heat": 27.5, "moisture": 0.5}'
    log(address, [tuple(first), tuple(second)])
    found = [queries.find_prediction(database, f"id-{number}") for number in (1, 2)]
    assert [each and each.replaced for each in found] == [{"heat": 27.5, "moisture": 0.5}, None]
    assert expected_ranges.count_replaced(database, TIME) == {"heat": 1, "moisture": 1}
    assert expected_ranges.count_replaced(database, TIME + timedelta(hours=1)) == {}
    expected = ExpectedRange("heat", -1.5, 30.25, list(map(float, range(24))), TIME)
    expected_ranges.publish_ranges(database, [expected])
    expected_ranges.publish_ranges(database, [])
    assert expected_ranges.read_ranges(database) == {"heat": expected}
    event_log.publish_fields(database, {"live": {"a": [1, None]}, "tests": []}, TIME)
    event_log.publish_fields(database, {"tests": [1]}, TIME + timedelta(days=1))
    assert {
        name: (each.content, each.as_of) for name, each in event_log.published_fields(database).items()
    } == {
        "live": ({"a": [1, None]}, TIME),
        "tests": ([1], TIME + timedelta(days=1)),
    }


def test_outcomes_may_come_late_again_and_corrected(database: Database) -> None:
    now, later = (TIME, ""), (TIME + timedelta(hours=1), "")
    assert store(database, {later: 7, now: 5}) == Stored(2, 0, 0)
    assert store(database, {now: 5, later: 7}) == Stored(0, 2, 0)
    earlier = (TIME - timedelta(days=400), "")
    assert store(database, {now: 6, later: 7, earlier: 1}) == Stored(1, 1, 1)
    assert [queries.find_label(database, each) for each in (now, later, earlier)] == [6, 7, 1]
    assert queries.find_label(database, (TIME + timedelta(hours=2), "")) is None


def test_rows_of_one_time_are_distinguished_by_their_keys(address: str, database: Database) -> None:
    other = (2, 20.0, "challenger")
    log(address, [row(1, key="A", other=other), row(2, key="B", other=other), row(3, key="A", other=other)])
    assert store(database, {(TIME, "A"): 7, (TIME, "C"): 9}) == Stored(2, 0, 0)
    read: list[object] = []
    event.listen(tables.Outcome, "load", lambda row, _: read.append(row.key))
    assert store(database, {(TIME, "A"): 7, (TIME, "B"): 8}) == Stored(1, 1, 0)
    assert read == ["A"]  # not all keys of that time
    assert [queries.find_label(database, (TIME, key)) for key in "ABCD"] == [7, 8, 9, None]
    found = queries.pairs(database, 1, 2, TIME, TIME + timedelta(days=1))
    assert [(each.key, each.label) for each in found] == [("A", 7), ("B", 8)]
    assert queries.rows_of(database, ["id-1", "id-2", "id-9"]) == {"id-1": (TIME, "A"), "id-2": (TIME, "B")}
    log(address, [row(4, key="E"), row(5, key="E"), row(6, key="F")])
    assert queries.count_missing_outcomes(database, TIME, TIME + timedelta(days=1)) == 2


def test_boolean_labels_are_stored(database: Database) -> None:
    reported = [Outcome.model_construct(begins=TIME, machine="m17", amount=True)]
    assert store_outcomes(database, reported) == Stored(1, 0, 0)
    assert store_outcomes(database, reported) == Stored(0, 1, 0)
    assert queries.find_label(database, (TIME, "m17")) == 1


@pytest.mark.parametrize("key", ["m\0", "m" * 1000])
def test_keys_that_postgresql_cannot_hold_are_refused(postgres: str, key: str) -> None:
    reported = Outcome.model_construct(begins=TIME, machine=key, amount=5)
    with contextlib.closing(database_at(postgres)) as database, pytest.raises(RequestValidationError):
        store_outcomes(database, [reported])


def test_a_transaction_that_is_left_open_does_not_block_for_good(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bike_demand.store.database.BUSY_SECONDS", 0.1)
    with contextlib.closing(open_database(postgres)) as database, database.writing() as session:
        session.add(tables.Outcome(TIME, "", 5, NOW))
        session.flush()
        with pytest.raises(UnreachableError, match="lock timeout"):
            store(database, {(TIME, ""): 6})


def test_outcomes_are_kept_all_or_none(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)null"):
        store(database, {(TIME, ""): 5, (TIME + timedelta(hours=1), ""): None})  # type: ignore[dict-item]
    assert queries.find_label(database, (TIME, "")) is None


def test_two_who_correct_the_same_ones_at_once_do_not_fail(database: Database) -> None:
    rows = [(TIME + timedelta(hours=number), "") for number in range(50)]
    results: list[object] = []

    def send(label: int) -> None:
        results.extend([store(database, dict.fromkeys(rows, label)) for _ in range(5)])

    threads = [threading.Thread(target=send, args=(label,)) for label in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 10
    assert len({queries.find_label(database, each) for each in rows}) == 1


def test_pairs_are_the_first_answers_of_two_versions_whichever_was_shown(
    address: str, database: Database
) -> None:
    times = [TIME + timedelta(hours=number) for number in range(6)]
    log(
        address,
        [
            row(3, at=times[0], shown=(1, 99.0), other=(2, 98.0, "challenger")),  # not the first
            row(2, at=times[0], shown=(1, 10.0), other=(2, 20.0, "challenger")),
            row(4, at=times[1], shown=(2, 21.0), other=(1, 11.0, "champion"), variant="challenger"),
            row(1, at=times[2], shown=(1, 12.0)),  # before the test began: one alone
            row(5, at=times[2], shown=(1, 12.5), other=(2, 22.5, "challenger")),
            row(6, at=times[3], shown=(1, 13.0), other=(2, None, "challenger")),  # the other failed
            row(7, at=times[4], shown=(1, 14.0), other=(2, 24.0, "challenger")),  # no outcome yet
            row(8, at=times[5], shown=(1, 15.0), other=(3, 25.0, "challenger")),  # another test
        ],
    )
    store(database, {(each, ""): 100 + place for place, each in enumerate(times) if place != 4})
    found = queries.pairs(database, 1, 2, TIME, TIME + timedelta(days=1))
    expected = [
        queries.Pair(times[0], "champion", 10.0, 20.0, 100),
        queries.Pair(times[1], "challenger", 11.0, 21.0, 101),
        queries.Pair(times[2], "champion", 12.5, 22.5, 102),
    ]
    assert found == expected
    swapped = queries.pairs(database, 2, 1, TIME, TIME + timedelta(days=1))
    assert [(each.prediction, each.other) for each in swapped] == [(20.0, 10.0), (21.0, 11.0), (22.5, 12.5)]
    assert queries.pairs(database, 1, 2, times[1], times[2]) == expected[1:2]  # `until` is exclusive
    assert queries.count_missing_outcomes(database, TIME, TIME + timedelta(days=1)) == 1


def test_a_flush_returns_when_what_was_added_is_written(database: Database) -> None:
    writer: PredictionLog[Row] = PredictionLog(database, 60.0, 1000, list)
    writer.start()
    try:
        for number in range(3):
            writer.add(row(number), 1)
            writer.flush(20.0)
            assert queries.find_prediction(database, f"id-{number}") is not None
    finally:
        writer.stop()


def test_rows_that_come_again_are_written_once(address: str, database: Database) -> None:
    log(address, [row(1), row(2)])
    writer = log(address, [row(2), row(3)])
    assert writer.counts().lost == 0
    with database.reading() as connection:
        assert connection.connection().exec_driver_sql("SELECT count(*) FROM predictions").scalar() == 3


def test_invalid_row_does_not_block_others(
    address: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    bad = (*row(2)[:5], None, *row(2)[6:])  # no prediction
    writer = log(address, [row(1), bad, row(3)])
    assert (writer.counts().written, writer.counts().lost) == (2, 1)
    assert queries.find_prediction(database, "id-3") is not None
    (refused,) = [each for each in caplog.records if each.getMessage() == "prediction_log_row"]
    assert "id-2" in str(vars(refused)["row"])


def test_many_rows_are_written_in_several_statements(database: Database) -> None:
    writer: PredictionLog[list[Row]] = PredictionLog(
        database, 60, 5000, lambda entries: [each for entry in entries for each in entry]
    )
    writer.start()
    assert writer.add([row(number) for number in range(1234)], 1234)
    writer.stop()
    assert writer.counts().written == 1234
    with database.reading() as connection:
        assert connection.connection().exec_driver_sql("SELECT count(*) FROM predictions").scalar() == 1234


def test_workers_are_listed_with_what_they_serve_until_they_end(database: Database) -> None:
    serving: list[tuple[int | None, str | None, int | None]] = [(None, None, None), (4, "d", 5)]

    def after_flush(database: Database, last: bool) -> None:
        if last:
            remove_worker(database, "here:1")
        else:
            report_worker(database, Worker("here:1", "production", *serving[0], datetime.now(UTC)))

    writer: PredictionLog[Row] = PredictionLog(database, 0.01, 100, list, after_flush)
    writer.start()
    wait_until(lambda: [each.version for each in queries.workers(database, 60)] == [None])
    serving.pop(0)
    wait_until(lambda: [each.version for each in queries.workers(database, 60)] == [4])
    (worker,) = queries.workers(database, 60)
    assert (worker.id, worker.environment, worker.deployment, worker.other_version) == (
        "here:1",
        "production",
        "d",
        5,
    )
    writer.stop()
    report_worker(
        database, Worker("gone:1", "production", 4, "d", 5, datetime.now(UTC) - timedelta(minutes=2))
    )
    assert queries.workers(database, 60) == []


def test_while_the_database_is_spoilt_rows_wait_the_rest_is_lost_and_it_recovers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bike_demand")
    file = tmp_path / "log.db"
    address = f"sqlite:///{file}"
    log(address, [row(0)])
    aside = file.rename(tmp_path / "aside")
    file.write_bytes(b"not a database" * 100)
    writer: PredictionLog[Row] = PredictionLog(database_at(address), 0.01, 20, list)
    writer.start()
    try:
        taken = [writer.add(row(number), 1) for number in range(1, 31)]
        assert taken == [True] * 20 + [False] * 10
        wait_until(lambda: writer.error is not None)
        assert (writer.counts().lost, writer.counts().queued, writer.counts().written) == (10, 20, 0)
        aside.replace(file)
        wait_until(lambda: writer.counts().written == 20)
        assert writer.add(row(31), 1)
    finally:
        writer.stop()
    problem, resumed = (each for each in caplog.records if each.name.startswith("bike_demand."))
    assert "file is not a database" in vars(problem)["detail"]
    assert vars(resumed)["lost"] == 10
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (22,)


def test_on_a_network_share_ready_names_the_cause_and_the_remedy(
    tmp_path: Path, handoff: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("locking protocol")

    monkeypatch.setattr(sqlite3.dbapi2, "connect", refuse)
    (tmp_path / "log.db").touch()
    database = database_at(f"sqlite:///{tmp_path / 'log.db'}")
    writer: PredictionLog[Any] = PredictionLog(database, 0.01, 20, list)
    writer.start()
    wait_until(lambda: writer.error is not None)
    app = create_app(ModelHolder(load_model(handoff, "17")), recorder=Recorder(predictions=writer))
    with serve_in_thread(app) as client:
        response = client.get("/ready")
    writer.stop()
    assert response.status_code == 200
    assert "SQLite cannot lock; use a local disk, or PostgreSQL" in response.json()["warning"]


def test_a_database_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    writer: PredictionLog[Row] = PredictionLog(database_at(f"sqlite:///{file}"), 0.01, 100, list)
    writer.start()
    writer.add(row(1), 1)
    wait_until(lambda: writer.counts().written == 1)
    for each in tmp_path.glob("log.db*"):
        each.unlink()
    writer.add(row(2), 1)
    writer.stop()
    with contextlib.closing(open_database(f"sqlite:///{file}")) as database:
        assert queries.find_prediction(database, "id-2") is not None


def test_unwritten_rows_are_reported_at_shutdown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database" * 100)
    log(f"sqlite:///{tmp_path / 'log.db'}", [row(1), row(2)])
    (lost,) = [each for each in caplog.records if each.getMessage() == "prediction_log_lost"]
    assert vars(lost)["rows"] == 2


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("postgresql+psycopg://user:secret@127.0.0.1:9/log", "127.0.0.1"),
        ("nonsense", "not an address"),
        ("", "not an address"),
        ("postgresql+psycopg://user:secret@127.0.0.1:54x/log", "not an address"),
        ("postgresql;psycopg://user:secret@127.0.0.1/log", "not an address"),
        ("mysql://host/log", "not supported"),
        ("sqlite://", "not supported"),
    ],
)
def test_a_database_that_is_away_or_none_is_reported_in_one_line(address: str, message: str) -> None:
    with pytest.raises(UserError) as reported:
        open_database(address)
    assert message in str(reported.value)
    assert "secret" not in str(reported.value)
    assert "\n" not in str(reported.value)


@pytest.mark.parametrize(
    ("revision", "message"), [("9999", "schema is newer"), ("dc11669786a5", "another program")]
)
def test_a_database_of_a_newer_version_or_another_program_is_not_touched(
    tmp_path: Path, revision: str, message: str
) -> None:
    address = f"sqlite:///{tmp_path / 'log.db'}"
    open_database(address).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    with pytest.raises(UserError, match=message):
        open_database(address)


def new_database(server: str) -> str:
    """Make a database on the server of that address."""
    import psycopg

    name = f"log_{time.monotonic_ns()}"
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{server.rpartition('/')[0]}/{name}"


def wait_until(happened: object) -> None:
    assert callable(happened)
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)
