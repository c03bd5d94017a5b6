"""Daily statistics: sums per day and version, recounted when outcomes arrive late."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from bike_demand.core.current import Inputs
from bike_demand.store import daily_stats
from bike_demand.store.daily_stats import PredictionRecord
from bike_demand.store.database import Database, open_database
from bike_demand.store.outcomes import store
from bike_demand.store.tables import DailyStats
from tests.postgres import running_postgres
from tests.service import free_port
from tests.toy import MACHINES

MONDAY = datetime(2012, 1, 9)
WEEK = timedelta(days=7)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with contextlib.ExitStack() as stack:
        address = f"sqlite:///{tmp_path / 'production.db'}"
        if request.param == "postgresql":
            folder = request.getfixturevalue("tmp_path_factory").mktemp("postgres")
            address = stack.enter_context(running_postgres(folder, free_port()))
        yield stack.enter_context(contextlib.closing(open_database(address)))


def answer(
    number: int,
    prediction: float,
    version: int = 1,
    other: tuple[float, int] | None = None,
    day: datetime = MONDAY,
) -> PredictionRecord:
    inputs = Inputs(
        begins=day,
        machine=MACHINES[number],
        special=False,
        attended=1,
        grade=1,
        heat=float(number),
        core_heat=4.0,
        moisture=None if number == 3 else 0.5,
        speed=10.0,
        material="steel",
    )
    return PredictionRecord(inputs, prediction, version, *(other or (None, None)))


def whole(prediction: float = 10.0, day: datetime = MONDAY) -> list[PredictionRecord]:
    return [answer(number, prediction, day=day) for number in range(24)]


def report_labels(database: Database, label: float, day: datetime = MONDAY, rows: int = 24) -> None:
    store(database, {(day, machine): label for machine in MACHINES[:rows]})


def keep(database: Database, answers: Sequence[PredictionRecord]) -> list[DailyStats]:
    since = answers[0].inputs.begins
    until = since + timedelta(days=1)
    daily_stats.store_days(database, answers, daily_stats.labels(database, since - WEEK, until), {})
    return daily_stats.read_days(database, date(2012, 1, 1), date(2012, 2, 1))


def test_day_has_sums_of_model_and_baseline_on_the_same_rows(database: Database) -> None:
    report_labels(database, 16)
    report_labels(database, 13, MONDAY - WEEK, rows=20)
    (day,) = keep(database, [*whole()[:12], *(answer(number, 18.0) for number in range(12, 24))])
    assert (day.day, day.version, day.rows, day.known, day.target_sum) == (
        MONDAY.date(),
        daily_stats.ALL_VERSIONS,
        24,
        24,
        16 * 24.0,
    )
    assert day.error_sum == 12 * 6.0 + 12 * 2.0
    assert day.bias_sum == -12 * 6.0 + 12 * 2.0
    assert (day.baseline_rows, day.baseline_error_sum) == (20, 20 * 3.0)
    assert day.paired_error_sum == 12 * 6.0 + 8 * 2.0


def test_late_outcomes_are_counted_next_time(database: Database) -> None:
    (day,) = keep(database, whole())
    assert (day.rows, day.known, day.error_sum, day.baseline_rows) == (24, 0, 0.0, 0)
    report_labels(database, 12, rows=5)
    (day,) = keep(database, whole())
    assert (day.rows, day.known, day.error_sum) == (24, 5, 10.0)
    report_labels(database, 12)
    (day,) = keep(database, whole())
    assert (day.known, day.error_sum) == (24, 48.0)


def test_first_prediction_of_a_row_counts_and_versions_have_their_own_days(database: Database) -> None:
    report_labels(database, 10)
    answers = []
    for number, each in enumerate(whole(11.0)):
        shown = (each.prediction, 1) if number % 2 else (14.0, 2)
        other = (14.0, 2) if number % 2 else (each.prediction, 1)
        answers.append(answer(number, *shown, other=other))
        answers.append(answer(number, 99.0, version=3))  # predicted again
    (all_,) = keep(database, answers)
    assert (all_.rows, all_.error_sum) == (24, 12 * 1.0 + 12 * 4.0)
    errors = {
        version: daily_stats.read_days(database, date(2012, 1, 1), date(2012, 2, 1), version)[0].error_sum
        for version in (1, 2, 3)
    }
    assert errors == {1: 24.0, 2: 96.0, 3: 24 * 89.0}


def test_earlier_days_are_kept(database: Database) -> None:
    report_labels(database, 10)
    keep(database, whole())
    days = keep(database, whole(20.0, MONDAY + timedelta(days=1)))
    assert [day.day for day in days] == [MONDAY.date(), MONDAY.date() + timedelta(days=1)]
    assert daily_stats.last_day(database) == days[-1].day
    assert daily_stats.read_days(database, days[1].day, date(2012, 2, 1)) == days[1:]


def test_latest_drift_report_is_the_newest(database: Database) -> None:
    for number in range(3):
        daily_stats.store_drift_report(database, MONDAY + number * WEEK, {"moved": [str(number)]})
    daily_stats.store_drift_report(database, MONDAY, {"moved": ["again"]})
    found = daily_stats.latest_drift_report(database)
    assert found is not None
    assert (found.at, found.content) == (MONDAY + 2 * WEEK, {"moved": ["2"]})
