"""What is deleted of the log once it is old, and what never is."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.store import outcomes, retention
from bike_demand.store.database import Database, open_database
from bike_demand.store.tables import LoggedPrediction, Outcome, Worker
from tests.conftest import Run

NOW = datetime(2012, 12, 31, 15)
DAYS = 500  # of the log, a row at noon of each
OLD = 99  # of them, more than 400 days before the newest
FIRST_KEPT = datetime(2011, 11, 26, 12)


@pytest.fixture
def database(project: Path) -> Iterator[Database]:
    """The log of the last days, with the outcomes."""
    assert project
    times = [NOW.replace(hour=12) - timedelta(days=number) for number in range(1, DAYS + 1)]
    with closing(open_database(load_settings().environments.production.database)) as found:
        with found.writing() as session:
            session.execute(insert(LoggedPrediction), [prediction(each) for each in times])
        outcomes.store(found, {(each, ""): 5.0 for each in times})
        with found.writing() as session:
            session.execute(update(Outcome).values(received_at=datetime(2013, 1, 1, tzinfo=UTC)))
        yield found


def prediction(time: datetime) -> dict[str, object]:
    return {
        "id": f"{time:%Y%m%d}",
        "made_at": time.replace(tzinfo=UTC),
        "client": "test",
        "event_time": time,
        "key": "",
        "inputs": {},
        "prediction": 5.0,
        "variant": "champion",
        "version": 1,
        "deployment": "",
        "other_prediction": None,
        "other_version": None,
        "other_role": None,
    }


def kept(database: Database) -> tuple[int, datetime, int, datetime]:
    """How many predictions there are, and the first; how many outcomes there are, and the first."""
    found: list[object] = []
    with database.reading() as session:
        for column in (LoggedPrediction.event_time, Outcome.event_time):
            found += session.execute(select(func.count(column), func.min(column))).one()
    return tuple(found)  # type: ignore[return-value]


def test_expired_rows_are_deleted(database: Database) -> None:
    with database.writing() as session:
        for name, seen in (("old", datetime(2013, 1, 1, tzinfo=UTC)), ("new", datetime.now(UTC))):
            session.add(Worker(name, "production", 1, "", None, seen))
    assert retention.delete_old(database, load_settings(), NOW) == OLD
    assert [each.id for each in database.all(select(Worker))] == ["new"]
    assert kept(database) == (DAYS - OLD, FIRST_KEPT, DAYS - OLD, FIRST_KEPT)
    assert retention.delete_old(database, load_settings(), NOW) == 0


def test_a_time_far_in_the_future_deletes_no_more(database: Database) -> None:
    retention.delete_old(database, load_settings(), NOW + timedelta(days=3000))
    assert kept(database)[:2] == (DAYS - OLD, FIRST_KEPT)


def test_recent_prediction_for_old_event_is_kept(database: Database) -> None:
    long_ago = datetime(1971, 1, 1)
    with database.writing() as session:
        session.execute(insert(LoggedPrediction), [prediction(long_ago) | {"made_at": datetime.now(UTC)}])
    outcomes.store(database, {(long_ago, ""): 5.0})
    assert retention.delete_old(database, load_settings(), NOW) == OLD
    assert kept(database) == (DAYS - OLD + 1, long_ago, DAYS - OLD + 1, long_ago)


def test_an_empty_log_stays_empty(project: Path) -> None:
    assert project
    with closing(open_database(load_settings().environments.production.database)) as empty:
        assert retention.delete_old(empty, load_settings(), NOW) == 0


@pytest.mark.usefixtures("stored")
def test_the_daily_step_deletes(database: Database, run: Run) -> None:
    assert run("ab", "step", "--as-of", f"{NOW:%Y-%m-%d}").status == 0
    assert kept(database)[0] == DAYS - OLD


@pytest.mark.usefixtures("project")
def test_it_cannot_be_shorter_than_what_tests_and_late_labels_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIKE_SERVING__LOG__KEEP_DAYS", "41")  # each may take twice as long
    with pytest.raises(UserError, match="keep_days is too short: a test"):
        load_settings()
