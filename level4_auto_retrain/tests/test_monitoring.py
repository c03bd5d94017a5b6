"""`evaluate_signals` and the `monitor` command: signals, statistics, expected ranges, reports."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from bike_demand.__main__ import main
from bike_demand.core.current import Row, row_id
from bike_demand.core.settings import load_settings
from bike_demand.monitoring.signals import Evaluation, evaluate_signals, has_bad_requests
from bike_demand.store import daily_stats, event_log, expected_ranges
from bike_demand.store.database import Database, open_database
from bike_demand.store.tables import DailyStats, Deployment, DriftReport, Signal, SignalKind, State
from bike_demand.store.tracking import Tracking
from tests.conftest import Run, project_in
from tests.corrupted import (
    Change,
    changed,
    corrupt,
    fahrenheit,
    feed_rows,
    no_moisture,
    publish,
    times_four,
    without,
)
from tests.echo_model import echo
from tests.predictions import Model, log, store_outcomes
from tests.registry import copy_state, put_live
from tests.tiny import constant
from tests.toy import MACHINES

ROWS = feed_rows()
NO_DRIFT = {"version": 1, "drifted": [], "distances": {}}
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def fair(row: Row) -> float:
    """A model that is off by a tenth, as often too high as too low."""
    return float(row.amount * (1.1 if (row.begins.toordinal() + MACHINES.index(row.machine)) % 2 else 0.9))


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A project in which version 1 has answered in February as it should."""
    folder = tmp_path_factory.mktemp("replayed")
    with project_in(folder, empty_store):
        assert main(["ingest"]) == 0
        put_live(constant(folder / "model", 50.0))
        Tracking(load_settings()).tag(1, {"holdout_error": "10.0", "skill": "0.3"})
        rows = between("2011-02-01", "2011-03-01")
        log(rows, (1, fair))
        store_outcomes(between("2011-01-25", "2011-03-01"))
        with closing(open_database(load_settings().environments.production.database)) as database:
            # No report is due in March: the import of Evidently takes seconds.
            daily_stats.store_drift_report(database, datetime(2011, 4, 1), NO_DRIFT)
    return folder


@pytest.fixture
def database(replayed: Path, project: Path) -> Iterator[Database]:
    """The database of production of a copy of that project, which is the current folder."""
    copy_state(replayed, project)
    with closing(open_database(load_settings().environments.production.database)) as connected:
        yield connected


def between(first: str, last: str) -> list[Row]:
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return [row for row in ROWS if begin <= row.begins < end]


def log_until(until: str, requests: list[Row] | None = None, model: Model | None = None) -> None:
    """From March to a day version 1 predicts these rows, and the outcomes are posted."""
    right = between("2011-03-01", until)
    reported = {row_id(row): row for row in right}
    predict = model or fair
    requested = [row for row in requests or ROWS if row_id(row) in reported]
    log(requested, (1, lambda row: predict(reported[row_id(row)])))
    store_outcomes(right)


def publish_and_ingest(rows: list[Row], as_of: str) -> None:
    shutil.rmtree("feed")
    publish(rows, Path("feed"))
    assert main(["ingest", "--as-of", as_of]) == 0


def evaluate(database: Database, day: str) -> Evaluation:
    now = datetime.fromisoformat(day)
    settings = load_settings()
    return evaluate_signals(settings, Tracking(settings), database, now, now)


def subjects_of(found: Evaluation, kind: SignalKind = SignalKind.QUALITY) -> list[str]:
    return [each.subject for each in found.signals if each.kind is kind]


def test_no_signal_without_faults(database: Database) -> None:
    log_until("2011-03-11")
    found = evaluate(database, "2011-03-11")
    assert (len(found.signals), len(found.violations)) == (0, 0)
    assert found.champion is not None
    assert (found.days[0].day.isoformat(), found.days[-1].day.isoformat()) == ("2011-02-01", "2011-03-10")
    own = daily_stats.read_days(database, date.min, date.max, found.champion.number)
    assert [day.day for day in own] == [day.day for day in found.days]
    assert all(day.known == day.rows >= 20 for day in found.days)
    assert sum(day.error_sum for day in found.days) == pytest.approx(
        0.1 * sum(day.target_sum for day in found.days)
    )


@pytest.mark.parametrize(
    ("change", "subjects"),
    [
        pytest.param(fahrenheit, {"heat", "core_heat"}, id="units"),
        pytest.param(no_moisture, {"moisture"}, id="nulls"),
    ],
)
def test_fault_raises_signal_that_ends_with_it(
    database: Database, change: Change, subjects: set[str]
) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-12", change)
    log_until("2011-03-08", rows)
    publish_and_ingest(rows, "2011-03-08")
    found = evaluate(database, "2011-03-08")
    assert set(subjects_of(found)) == subjects
    for signal in found.signals:
        assert signal.evidence["since"] == "2011-03-07T00:00:00"
        assert set(signal.evidence["rows"]) == {"requests", "feed"}
        assert "in requests and in the feed" in signal.message
    # Days on which something was wrong say nothing of the model (see the error signals below).
    assert has_bad_requests(found.days[-1])


@pytest.mark.slow
def test_long_fault_ends_a_day_after_its_last_row(database: Database) -> None:
    warm = [row.model_copy(update={"heat": row.heat + 5, "core_heat": row.core_heat + 5}) for row in ROWS]
    rows = corrupt(warm, "2011-03-02", "2011-03-12", fahrenheit)
    log_until("2011-04-01", rows)
    publish_and_ingest(rows, "2011-04-01")
    # On the last two days the evaluated window would start inside the fault; it must start before it.
    days = [f"2011-03-{day:02}" for day in (2, 3, 7, 11, 12, 13, 14, 20, 25, 31)] + ["2011-04-01"]
    open_on = [int(day[-2:]) for day in days if subjects_of(evaluate(database, day))]
    assert open_on == [3, 7, 11, 12]


def test_one_odd_request_a_day_raises_no_signal_and_keeps_no_range(database: Database) -> None:
    odd = [
        changed(row, speed=135.0) if row.machine == MACHINES[row.begins.day] else row
        for row in between("2011-03-01", "2011-03-11")
    ]
    log_until("2011-03-11", odd)
    found = evaluate(database, "2011-03-11")
    assert (found.signals, [each.violation.rule for each in found.violations]) == ([], ["ranges"])
    assert expected_ranges.read_ranges(database)["speed"].as_of == datetime(2011, 3, 11)


def test_signal_about_odd_requests_stays_open_near_its_limit(database: Database) -> None:
    odd = {5: 2, 6: 3, 7: 2, 8: 1}  # of two dozen requests, by day

    def is_odd(row: Row) -> bool:
        first = 3 * row.begins.day % len(MACHINES)  # other machines each day
        return row.machine in MACHINES[first : first + odd.get(row.begins.day, 0)]

    log_until("2011-03-09", [changed(row, speed=135.0) if is_odd(row) else row for row in ROWS])
    assert open_on(database, "speed", *(f"2011-03-0{day}" for day in range(6, 10))) == [7, 8]


def open_on(database: Database, subject: str, *days: str) -> list[int]:
    """The days of the month on which a signal is open, evaluated on these days."""
    found = []
    for day in days:
        now = datetime.fromisoformat(day)
        change = event_log.update_signals(database, evaluate(database, day).signals, now)
        found += [now.day for each in change.open if each.subject == subject]
    return found


def test_outcomes_are_missing_until_they_arrive(database: Database) -> None:
    """Also where nothing is predicted on weekends, and the outage is longer than what is evaluated."""

    def predict(known: int) -> None:
        days = [date(2011, 3, 1) + number * DAY for number in range(80)]
        with database.writing() as session:
            for day in days:
                if day.weekday() < 5:
                    session.merge(DailyStats(day, 0, 100, known, 0, 0, 0, 0, 0, 0))

    evaluate(database, "2011-03-01")  # counts the days of February
    predict(40)
    days = ("2011-03-02", "2011-03-05", "2011-03-07", "2011-03-08", "2011-05-12")
    assert open_on(database, "outcomes", *days) == [5, 7, 8, 12]
    predict(60)
    assert open_on(database, "outcomes", "2011-05-13") == []


def test_poisoned_labels_raise_signal_without_error_increase(
    database: Database,
) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-12", times_four)
    log_until("2011-03-09")
    publish_and_ingest(rows, "2011-03-09")
    found = evaluate(database, "2011-03-09")
    assert subjects_of(found) == ["label"]
    assert found.signals[0].message.endswith("in the feed.")
    assert not any(has_bad_requests(day) for day in found.days)
    assert subjects_of(found, SignalKind.ERROR) == []


def test_late_feed_with_missing_rows_raises_signal(database: Database) -> None:
    rows = [row for row in without(ROWS, "2011-03-07", "2011-03-12", every=3) if row.begins.day < 12]
    log_until("2011-03-14")
    publish_and_ingest([row for row in rows if row.begins < datetime(2011, 3, 12)], "2011-03-14")
    found = evaluate(database, "2011-03-14")
    (signal,) = found.signals
    assert (signal.subject, signal.evidence["rule"]) == ("feed", "stale")
    assert "Its last row" not in signal.message
    assert "ended 48 hours ago" in signal.message
    assert "gaps: rows of the feed are missing" in signal.message


def test_world_change_raises_error_signal_only(
    database: Database,
) -> None:
    log_until("2011-03-09", model=lambda row: row.amount / 1.6)
    found = evaluate(database, "2011-03-09")
    (signal,) = found.signals
    assert (signal.kind, signal.subject) == (SignalKind.ERROR, "version 1")


@pytest.mark.slow
def test_bad_requests_do_not_count_as_error_increase(
    database: Database,
) -> None:
    rows = corrupt(ROWS, "2011-03-02", "2011-03-12", fahrenheit)
    bad = {row_id(row) for row, right in zip(rows, ROWS, strict=True) if row != right}
    log_until("2011-03-15", rows, model=lambda row: row.amount * (2.0 if row_id(row) in bad else 1.0))
    publish_and_ingest(rows, "2011-03-15")
    assert subjects_of(evaluate(database, "2011-03-08"), SignalKind.ERROR) == []
    assert evaluate(database, "2011-03-15").signals == []


def test_bad_requests_of_one_key_do_not_hide_an_error_increase(database: Database) -> None:
    rows = corrupt(
        ROWS, "2011-03-02", "2011-03-12", lambda row: fahrenheit(row) if row.machine == "m08" else row
    )
    log_until("2011-03-09", rows, model=lambda row: row.amount / 1.6)
    found = evaluate(database, "2011-03-09")
    assert subjects_of(found, SignalKind.ERROR) == ["version 1"]
    assert subjects_of(found) == ["heat", "core_heat"]


def test_late_outcomes_are_counted(database: Database) -> None:
    log_until("2011-03-05")
    log(between("2011-03-05", "2011-03-08"), (1, fair))
    log(between("2011-03-05", "2011-03-06"), (1, lambda row: 2 * fair(row)))  # predicted again
    assert [day.known for day in evaluate(database, "2011-03-08").days[-3:]] == [0, 0, 0]
    store_outcomes(between("2011-03-05", "2011-03-08"))
    assert all(day.known == day.rows for day in evaluate(database, "2011-03-25").days)


def test_a_look_at_the_past_changes_no_later_statistics(database: Database, run: Run) -> None:
    log_until("2011-03-11")
    evening = [changed(row, begins=row.begins + 18 * HOUR) for row in between("2011-03-08", "2011-03-09")]
    log(evening, (1, fair))
    evaluate(database, "2011-03-11")

    def stored() -> tuple[object, object]:
        return expected_ranges.read_ranges(database), daily_stats.read_days(database, date.min, date.max)

    before = stored()
    later = datetime(2011, 3, 10)
    event_log.update_signals(
        database, [Signal(SignalKind.ERROR, "version 1", later, later, "40% too low.", {})], later
    )
    assert "40% too low" not in run("monitor", "--as-of", "2011-02-01T12:00:00").out
    assert run("monitor", "--as-of", "2011-03-08T12:00:00").status == 0
    assert stored() == before
    now = datetime(2011, 3, 10)  # after a look at the future
    evaluate_signals(load_settings(), Tracking(load_settings()), database, None, now)
    assert expected_ranges.read_ranges(database)["heat"].as_of == now


def test_version_that_predicted_nothing_has_no_statistics(database: Database) -> None:
    (row,) = between("2011-03-01", "2011-03-02")[:1]
    made = daily_stats.PredictionRecord(row, 1.0, 1, None, 2)
    daily_stats.store_days(database, [made], {}, {})
    day = row.begins.date()
    assert daily_stats.read_days(database, day, day + timedelta(days=1), 2) == []


def test_missed_days_are_recounted(database: Database) -> None:
    evaluate(database, "2011-02-03")
    log_until("2011-03-31")
    days = evaluate(database, "2011-03-31").days
    assert [day.day for day in days] == sorted(
        {row.begins.date() for row in between("2011-02-01", "2011-03-31")}
    )
    assert all(day.known == day.rows for day in days)


# ---- what is expected


def test_ranges_come_from_good_days_and_stay_while_a_field_is_bad(
    database: Database,
) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-12", fahrenheit)
    log_until("2011-03-15", rows)
    evaluate(database, "2011-03-07")
    before = expected_ranges.read_ranges(database)
    week = [row.heat for row in between("2011-02-28", "2011-03-07")]
    assert before["heat"].low == pytest.approx(min(week) - 12)
    assert before["heat"].high == pytest.approx(max(week) + 12)
    own = [row.heat for row in between("2011-02-28", "2011-03-07") if row.machine == "m12"]
    assert before["heat"].by_key is not None
    assert before["heat"].by_key["m12"][0] == pytest.approx(sum(own) / len(own), abs=1e-3)
    assert before["moisture"].low >= 0
    evaluate(database, "2011-03-10")
    during = expected_ranges.read_ranges(database)
    assert during["heat"] == before["heat"]
    assert during["moisture"].as_of == datetime(2011, 3, 10)
    evaluate(database, "2011-03-15")
    assert expected_ranges.read_ranges(database)["heat"].as_of == datetime(2011, 3, 15)
    assert expected_ranges.read_ranges(database)["heat"].high < 40


def test_texts_that_were_seen_before_the_checked_rows_are_expected(database: Database) -> None:
    def winter(row: Row) -> Row:
        return changed(row, material="pine") if row.machine < "m08" else row

    rows = corrupt(corrupt(ROWS, "2011-01-01", "2011-01-20", winter), "2011-03-20", "2011-04-01", winter)
    log_until("2011-03-24", rows)
    publish_and_ingest(rows, "2011-03-24")
    for day in ("2011-03-01", "2011-03-17", "2011-03-24"):
        assert subjects_of(evaluate(database, day)) == []
        texts = expected_ranges.read_ranges(database)["material"].texts
        assert texts is not None
        assert "pine" in texts


def test_ranges_come_from_the_feed_without_requests(stored: Path) -> None:
    assert main(["ingest", "--as-of", "2011-03-01"]) == 0
    with closing(open_database(load_settings().environments.production.database)) as database:
        found = evaluate(database, "2011-03-01")
        expected = {"heat", "core_heat", "moisture", "speed", "material"}
        assert expected_ranges.read_ranges(database).keys() == expected
        assert (found.champion, found.days, found.signals) == (None, [], [])
        before = expected_ranges.read_ranges(database)["heat"]
        log(between("2011-03-01", "2011-03-02")[:3], (1, fair))  # too few
        evaluate(database, "2011-03-02")
        after = expected_ranges.read_ranges(database)["heat"]
        assert (after.as_of, after.low) == (datetime(2011, 3, 2), before.low)
    assert stored.is_dir()


# ---- drift


@pytest.fixture
def no_drift_report(database: Database) -> Database:
    """No drift report was made yet."""
    with database.writing() as connection:
        connection.execute(delete(DriftReport))
    return database


@pytest.mark.slow
def test_seasonal_drift_is_reported_without_training(no_drift_report: Database, run: Run) -> None:
    database = no_drift_report
    # It grew warm by a degree and a half a day.
    rows = list(ROWS)
    for number in range(1, 12):
        first = (datetime(2011, 2, 28) + number * DAY).isoformat()
        rows = corrupt(
            rows,
            first,
            "2011-04-01",
            lambda row: row.model_copy(update={"heat": row.heat + 1.5, "core_heat": row.core_heat + 1.5}),
        )
    log_until("2011-03-18", rows)
    publish_and_ingest(rows, "2011-03-18")
    found = evaluate(database, "2011-03-11")
    (signal,) = found.signals
    assert (signal.kind, signal.subject) == (SignalKind.DRIFT, "inputs")
    assert set(signal.evidence["drifted"]) >= {"heat", "core_heat"}
    assert "moisture" not in signal.evidence["drifted"]
    assert "heat shifted by" in signal.message
    assert Path("state/reports/drift.html").stat().st_size > 100_000
    from evidently.ui.workspace import Workspace

    (project,) = Workspace("state/evidently").list_projects()
    assert len(Workspace("state/evidently").list_runs(project.id)) == 3  # on drift, data and model
    # Until the next report is due the last one counts; it is not made again.
    assert subjects_of(evaluate(database, "2011-03-14"), SignalKind.DRIFT) == ["inputs"]
    for day in ("2011-03-11", "2011-03-18"):
        last = daily_stats.latest_drift_report(database)
        assert last is not None
        assert last.at == datetime.fromisoformat(day)
        assert subjects_of(evaluate(database, "2011-03-18"), SignalKind.DRIFT) == ["inputs"]
    assert run("agent", "--once", "--as-of", "2011-03-18").status == 0
    assert event_log.trainings(database) == []


@pytest.mark.parametrize(
    ("age", "version", "count"),
    [(13, 1, 1), (14, 1, 0), (1, 2, 0)],
    ids=["valid", "old", "of another version"],
)
def test_drift_signal_ends_with_its_data_and_its_champion(
    no_drift_report: Database, age: int, version: int, count: int
) -> None:
    drifted = {"drifted": ["heat", "speed"], "distances": {"heat": 2.0, "speed": 2.0}}
    report = NO_DRIFT | drifted | {"version": version, "current": ["2011-02-22", "2011-02-28"]}
    at = datetime(2011, 3, 20)
    daily_stats.store_drift_report(no_drift_report, at - age * DAY, report)
    assert len(subjects_of(evaluate(no_drift_report, f"{at:%Y-%m-%d}"), SignalKind.DRIFT)) == count


@pytest.mark.slow
def test_unchanged_inputs_show_no_drift(no_drift_report: Database, run: Run) -> None:
    database = no_drift_report
    log_until("2011-03-08")
    assert subjects_of(evaluate(database, "2011-03-08"), SignalKind.DRIFT) == []
    last = daily_stats.latest_drift_report(database)
    assert last is not None
    assert (last.at, last.content["version"], last.content["drifted"]) == (datetime(2011, 3, 8), 1, [])
    assert not Path("state/reports/drift.html").exists()
    out = run("monitor", "--as-of", "2011-03-08", "--report").out
    assert "Drift report: state/reports/drift.html" in out
    assert Path("state/reports/drift.html").exists()


@pytest.mark.slow
def test_prediction_drift_uses_champions_predictions_on_its_training_rows(
    no_drift_report: Database, tmp_path: Path
) -> None:
    champion = put_live(echo(tmp_path / "echo", "heat"))
    rows = between("2011-03-01", "2011-03-08")
    log(rows[:99], (champion.number, lambda row: row.heat))  # too few
    evaluate(no_drift_report, "2011-03-08")
    assert daily_stats.latest_drift_report(no_drift_report) is None
    log(rows[99:], (champion.number, lambda row: row.heat))
    evaluate(no_drift_report, "2011-03-08")
    report = daily_stats.latest_drift_report(no_drift_report)
    assert report is not None
    distances = report.content["distances"]
    assert distances["prediction"] == pytest.approx(distances["heat"], abs=0.01)


# ---- the command


def test_monitor_reports_production_and_responds_to_nothing(database: Database, run: Run) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-12", fahrenheit)
    log_until("2011-03-08", rows)
    done = run("monitor", "--as-of", "2011-03-08")
    assert done.status == 0
    assert "does not belong to" in done.err  # a deciding command adopts what is live
    assert "Live: version 1" in done.out
    assert "In the last 7 days 1" in done.out
    assert "data-quality, heat: heat changes its unit" in done.out
    assert "Trainings: 0." in done.out
    assert event_log.open_signals(database) == []
    assert event_log.trainings(database) == []
    page = Path("state/reports/drift.html")
    page.parent.mkdir(exist_ok=True)
    page.write_text("an old report", encoding="utf-8")
    assert "Drift report: none" in run("monitor", "--as-of", "2011-03-20", "--report").out


def test_monitor_json_is_complete(database: Database, run: Run) -> None:
    log_until("2011-03-08")
    incident = event_log.open_incident(
        database,
        SignalKind.QUALITY,
        "heat",
        since=datetime(2011, 2, 1),
        detected_at=datetime(2011, 2, 2),
        description="test",
    )
    event_log.end_incident(database, incident.id, datetime(2011, 2, 5), {"rows": 3})
    action = event_log.begin_training(database, reason="the error drifts", at=datetime(2011, 2, 3))
    event_log.update_training(
        database, action.id, state=event_log.DONE, version=2, detail={"result": "promoted"}
    )
    at = datetime(2011, 2, 9)
    back = Deployment(2, "r", "d", "", at, at, against=1, state=State.ROLLED_BACK, reason="far worse")
    with database.writing() as session:
        session.add(back)
    done = run("monitor", "--as-of", "2011-03-08", "--json")
    assert done.status == 0
    reported = json.loads(done.out)
    assert (reported["as_of"], reported["alerts"]) == ("2011-03-08T00:00:00", [])
    assert reported["signals"] == []
    assert (reported["days"][0]["day"], reported["days"][-1]["day"]) == ("2011-02-01", "2011-03-07")
    day = reported["days"][-1]
    assert day["rows"] >= 20
    assert 0 < day["error"] < day["recent_baseline"]
    (training,) = reported["trainings"]
    assert (training["at"], training["version"]) == ("2011-02-03T00:00:00", 2)
    assert (training["reason"], training["detail"]) == ("the error drifts", {"result": "promoted"})
    (kept,) = reported["incidents"]
    assert (kept["since"], kept["ended_at"], kept["cost"]) == (
        "2011-02-01T00:00:00",
        "2011-02-05T00:00:00",
        {"rows": 3},
    )


def test_monitor_without_ingested_data_suggests_ingest(project: Path, run: Run) -> None:
    assert "run `python -m bike_demand ingest`" in run("monitor").refusal()
    assert project.is_dir()
