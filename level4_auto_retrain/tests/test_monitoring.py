"""A look at production: what is seen of log and feed, what is published, and what `monitor` says of it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from bike_demand.__main__ import main
from bike_demand.core.current import Row, row_id
from bike_demand.core.settings import load_settings
from bike_demand.monitoring import signals as signals_module
from bike_demand.monitoring.drift import report
from bike_demand.monitoring.signals import Evaluation, evaluate_signals, has_bad_requests
from bike_demand.store import event_log, expected_ranges, history
from bike_demand.store.database import Database, open_database
from bike_demand.store.tables import Deployment, DriftReport, Kind, State
from bike_demand.store.tracking import Tracking
from tests.conftest import Run, project_in
from tests.corrupted import Change, corrupt, fahrenheit, feed_rows, no_moisture, publish, times_four, without
from tests.fieldmodel import echo
from tests.ingested import frame
from tests.predictions import Model, log, store_outcomes
from tests.registry import copy_state, put_live
from tests.tiny import constant
from tests.toy import MACHINES

ROWS = feed_rows()
NO_DRIFT = {"version": 1, "moved": [], "distances": {}}
DAY = timedelta(days=1)


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
        Tracking(load_settings()).tag(1, {"mae": "10.0", "skill": "0.3"})
        rows = between("2011-02-01", "2011-03-01")
        log(rows, (1, fair))
        store_outcomes(between("2011-01-25", "2011-03-01"))
        with closing(open_database(load_settings().environments.production.database)) as database:
            # No report is due in March: the import of Evidently takes seconds.
            history.keep_drift(database, datetime(2011, 4, 1), NO_DRIFT)
    return folder


@pytest.fixture
def database(replayed: Path, project: Path) -> Iterator[Database]:
    """The database of production of a copy of that project, which is the current folder."""
    copy_state(replayed, project)
    signals_module._clean.clear()
    with closing(open_database(load_settings().environments.production.database)) as opened:
        yield opened


def between(first: str, last: str) -> list[Row]:
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return [row for row in ROWS if begin <= row.begins < end]


def live(until: str, requests: list[Row] | None = None, model: Model | None = None) -> None:
    """From March to a day version 1 predicts these rows, and the outcomes are posted."""
    right = between("2011-03-01", until)
    reported = {row_id(row): row for row in right}
    predict = model or fair
    asked = [row for row in requests or ROWS if row_id(row) in reported]
    log(asked, (1, lambda row: predict(reported[row_id(row)])))
    store_outcomes(right)


def gather(rows: list[Row], as_of: str) -> None:
    shutil.rmtree("feed")
    publish(rows, Path("feed"))
    assert main(["ingest", "--as-of", as_of]) == 0


def seen(database: Database, day: str) -> Evaluation:
    now = datetime.fromisoformat(day)
    settings = load_settings()
    return evaluate_signals(settings, Tracking(settings), database, now, now)


def subjects_of(found: Evaluation, kind: Kind = Kind.QUALITY) -> list[str]:
    return [each.subject for each in found.signals if each.kind is kind]


def test_where_all_is_well_nothing_is_signalled(database: Database) -> None:
    live("2011-03-11")
    found = seen(database, "2011-03-11")
    assert (len(found.signals), len(found.violations)) == (0, 0)
    assert found.champion is not None
    assert (found.days[0].day.isoformat(), found.days[-1].day.isoformat()) == ("2011-02-01", "2011-03-10")
    assert [day.day for day in found.champions] == [day.day for day in found.days]
    assert all(day.known == day.rows >= 20 for day in found.days)
    assert sum(day.error for day in found.days) == pytest.approx(0.1 * sum(day.target for day in found.days))


@pytest.mark.parametrize(
    ("change", "subjects"),
    [
        pytest.param(fahrenheit, {"heat", "core_heat"}, id="units"),
        pytest.param(no_moisture, {"moisture"}, id="nulls"),
    ],
)
def test_a_fault_of_requests_and_feed_is_signalled_after_a_day_and_ends_by_itself(
    database: Database, change: Change, subjects: set[str]
) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-12", change)
    live("2011-03-08", rows)
    gather(rows, "2011-03-08")
    found = seen(database, "2011-03-08")
    assert set(subjects_of(found)) == subjects
    for signal in found.signals:
        assert signal.evidence["since"] == "2011-03-07T00:00:00"
        assert set(signal.evidence["rows"]) == {"requests", "feed"}
        assert "in requests and in the feed" in signal.message
    # Days on which something was wrong say nothing of the model.
    assert has_bad_requests(found.days[-1])
    assert found.champions[-1].day < found.days[-1].day


@pytest.mark.slow
def test_a_long_fault_is_over_a_day_after_its_end_and_stays_over(database: Database) -> None:
    warm = [row.model_copy(update={"heat": row.heat + 5, "core_heat": row.core_heat + 5}) for row in ROWS]
    rows = corrupt(warm, "2011-03-02", "2011-03-12", fahrenheit)
    live("2011-04-01", rows)
    gather(rows, "2011-04-01")
    # At the last two the fault is as long ago as what is looked at, which must not begin amid it.
    days = [f"2011-03-{day:02}" for day in (2, 3, 7, 11, 12, 13, 14, 20, 25, 31)] + ["2011-04-01"]
    open_on = [int(day[-2:]) for day in days if subjects_of(seen(database, day))]
    assert open_on == [3, 7, 11, 12]


def test_poisoned_labels_are_signalled_and_the_error_of_the_champion_is_not_blamed(
    database: Database,
) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-12", times_four)
    live("2011-03-09")
    gather(rows, "2011-03-09")
    found = seen(database, "2011-03-09")
    assert subjects_of(found) == ["label"]
    assert found.signals[0].message.endswith("in the feed.")
    assert not any(has_bad_requests(day) for day in found.days)
    assert subjects_of(found, Kind.ERROR) == []


def test_a_feed_that_is_late_with_rows_missing_is_signalled(database: Database) -> None:
    rows = [row for row in without(ROWS, "2011-03-07", "2011-03-12", every=3) if row.begins.day < 12]
    live("2011-03-14")
    gather([row for row in rows if row.begins < datetime(2011, 3, 12)], "2011-03-14")
    found = seen(database, "2011-03-14")
    (signal,) = found.signals
    assert (signal.subject, signal.evidence["check"]) == ("feed", "stale")
    assert "Its last row" not in signal.message
    assert "ended 48 hours ago" in signal.message
    assert "gaps: rows of the feed are missing" in signal.message


def test_the_error_drifts_where_the_world_changes_and_nothing_is_wrong_with_the_data(
    database: Database,
) -> None:
    live("2011-03-09", model=lambda row: row.amount / 1.6)
    found = seen(database, "2011-03-09")
    (signal,) = found.signals
    assert (signal.kind, signal.subject) == (Kind.ERROR, "version 1")


def test_days_on_which_what_was_asked_was_wrong_are_not_taken_for_a_change_of_the_world(
    database: Database,
) -> None:
    rows = corrupt(ROWS, "2011-03-02", "2011-03-12", fahrenheit)
    bad = {row_id(row) for row, right in zip(rows, ROWS, strict=True) if row != right}
    live("2011-03-15", rows, model=lambda row: row.amount * (2.0 if row_id(row) in bad else 1.0))
    gather(rows, "2011-03-15")
    assert subjects_of(seen(database, "2011-03-08"), Kind.ERROR) == []
    assert seen(database, "2011-03-15").signals == []


def test_bad_requests_of_one_key_do_not_hide_that_the_error_drifts(database: Database) -> None:
    rows = corrupt(
        ROWS, "2011-03-02", "2011-03-12", lambda row: fahrenheit(row) if row.machine == "m08" else row
    )
    live("2011-03-09", rows, model=lambda row: row.amount / 1.6)
    found = seen(database, "2011-03-09")
    assert subjects_of(found, Kind.ERROR) == ["version 1"]
    assert subjects_of(found) == ["heat", "core_heat"]


def test_outcomes_that_come_days_late_are_counted(database: Database) -> None:
    live("2011-03-05")
    log(between("2011-03-05", "2011-03-08"), (1, fair))
    log(between("2011-03-05", "2011-03-06"), (1, lambda row: 2 * fair(row)))  # asked again
    assert [day.known for day in seen(database, "2011-03-08").days[-3:]] == [0, 0, 0]
    store_outcomes(between("2011-03-05", "2011-03-08"))
    assert all(day.known == day.rows for day in seen(database, "2011-03-15").days)


def test_days_that_nobody_looked_at_are_made_up_for(database: Database) -> None:
    seen(database, "2011-02-03")
    live("2011-03-31")
    days = seen(database, "2011-03-31").days
    assert [day.day for day in days] == sorted(
        {row.begins.date() for row in between("2011-02-01", "2011-03-31")}
    )
    assert all(day.known == day.rows for day in days)


# ---- what is expected


def test_ranges_are_those_of_the_last_good_days_and_stand_still_while_a_field_is_bad(
    database: Database,
) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-12", fahrenheit)
    live("2011-03-15", rows)
    seen(database, "2011-03-07")
    before = expected_ranges.read(database)
    week = [row.heat for row in between("2011-02-28", "2011-03-07")]
    assert before["heat"].low == pytest.approx(min(week) - 12)
    assert before["heat"].high == pytest.approx(max(week) + 12)
    own = [row.heat for row in between("2011-02-28", "2011-03-07") if row.machine == "m12"]
    assert before["heat"].by_key is not None
    assert before["heat"].by_key["m12"][0] == pytest.approx(sum(own) / len(own), abs=1e-3)
    assert before["moisture"].low >= 0
    seen(database, "2011-03-10")
    during = expected_ranges.read(database)
    assert during["heat"] == before["heat"]
    assert during["moisture"].as_of == datetime(2011, 3, 10)
    seen(database, "2011-03-15")
    assert expected_ranges.read(database)["heat"].as_of == datetime(2011, 3, 15)
    assert expected_ranges.read(database)["heat"].high < 40


def test_before_anything_is_asked_the_feed_shows_what_is_expected(stored: Path) -> None:
    assert main(["ingest", "--as-of", "2011-03-01"]) == 0
    signals_module._clean.clear()
    with closing(open_database(load_settings().environments.production.database)) as database:
        found = seen(database, "2011-03-01")
        expected = {"heat", "core_heat", "moisture", "speed", "material"}
        assert expected_ranges.read(database).keys() == expected
        assert (found.champion, found.days, found.signals) == (None, [], [])
    assert stored.is_dir()


# ---- drift


@pytest.fixture
def due(database: Database) -> Database:
    """No drift report was made yet."""
    with database.writing() as connection:
        connection.execute(delete(DriftReport))
    return database


@pytest.mark.slow
def test_a_season_is_reported_as_drift_of_inputs_and_is_no_reason_to_train(due: Database, run: Run) -> None:
    database = due
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
    live("2011-03-18", rows)
    gather(rows, "2011-03-18")
    found = seen(database, "2011-03-11")
    (signal,) = found.signals
    assert (signal.kind, signal.subject) == (Kind.DRIFT, "inputs")
    assert set(signal.evidence["moved"]) >= {"heat", "core_heat"}
    assert "moisture" not in signal.evidence["moved"]
    assert "heat moved by" in signal.message
    assert Path("state/reports/drift.html").stat().st_size > 100_000
    from evidently.ui.workspace import Workspace

    (project,) = Workspace("state/evidently").list_projects()
    assert len(Workspace("state/evidently").list_runs(project.id)) == 3  # on drift, data and model
    # Until the next report is due the last one counts; it is not made again.
    assert subjects_of(seen(database, "2011-03-14"), Kind.DRIFT) == ["inputs"]
    assert len(history.drifts(database, 9)) == 1
    assert subjects_of(seen(database, "2011-03-18"), Kind.DRIFT) == ["inputs"]
    assert len(history.drifts(database, 9)) == 2
    assert run("agent", "--once", "--as-of", "2011-03-18").status == 0
    assert event_log.actions(database) == []


@pytest.mark.slow
def test_where_the_inputs_are_as_they_were_no_drift_is_reported(due: Database, run: Run) -> None:
    database = due
    live("2011-03-08")
    assert subjects_of(seen(database, "2011-03-08"), Kind.DRIFT) == []
    ((at, content),) = history.drifts(database)
    assert (at, content["version"], content["moved"]) == (datetime(2011, 3, 8), 1, [])
    assert not Path("state/reports/drift.html").exists()
    out = run("monitor", "--as-of", "2011-03-08", "--report").out
    assert "Drift report: state/reports/drift.html" in out
    assert Path("state/reports/drift.html").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("due")
def test_answers_are_compared_with_what_the_champion_says_to_what_it_learned_from(tmp_path: Path) -> None:
    settings = load_settings()
    tracking = Tracking(settings)
    champion = put_live(echo(tmp_path / "echo", "heat"))
    now = datetime(2011, 3, 8)
    current = frame(between("2011-03-01", "2011-03-08"))
    heat = current["heat"].to_numpy()
    learned = frame(between("2011-02-01", "2011-03-01"))
    rule = settings.monitoring.drift
    made = report(tracking, champion, current, heat, learned, now, rule, False)
    assert made is not None
    assert made["distances"]["prediction"] == pytest.approx(made["distances"]["heat"], abs=0.01)
    assert report(tracking, champion, current[:99], heat[:99], learned, now, rule, False) is None


# ---- the command


def test_the_command_says_how_production_is_doing_and_acts_on_nothing(database: Database, run: Run) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-12", fahrenheit)
    live("2011-03-08", rows)
    done = run("monitor", "--as-of", "2011-03-08")
    assert done.status == 0
    assert "the alias champion is on version 1" in done.err
    assert "Live: version 1" in done.out
    assert "In the last 7 days 1" in done.out
    assert "data-quality, heat: heat changes its unit" in done.out
    assert "Trainings: 0." in done.out
    assert event_log.signals(database) == []
    assert event_log.actions(database) == []


def test_the_command_gives_a_program_all_of_it(database: Database, run: Run) -> None:
    live("2011-03-08")
    incident = event_log.open_incident(
        database,
        Kind.QUALITY,
        "heat",
        since=datetime(2011, 2, 1),
        noticed_at=datetime(2011, 2, 2),
        noticed_by="test",
    )
    event_log.end_incident(database, incident.id, datetime(2011, 2, 5), {"rows": 3})
    action = event_log.begin(database, reason="the error drifts", at=datetime(2011, 2, 3))
    event_log.write_action(
        database, action.id, state=event_log.DONE, version=2, detail={"outcome": "promoted"}
    )
    at = datetime(2011, 2, 9)
    back = Deployment(2, "r", "d", "", at, at, against=1, state=State.ROLLED_BACK, reason="far worse")
    with database.writing() as session:
        session.add(back)
    done = run("monitor", "--as-of", "2011-03-08", "--json")
    assert done.status == 0
    reported = json.loads(done.out)
    assert (reported["now"], reported["champion"], reported["alerts"]) == ("2011-03-08T00:00:00", 1, 0)
    assert reported["signals"] == []
    assert (reported["days"][0]["day"], reported["days"][-1]["day"]) == ("2011-02-01", "2011-03-07")
    day = reported["days"][-1]
    assert day["rows"] == day["known"] >= 20
    assert day["mae"] == pytest.approx(0.1 * day["target"], abs=0.01)
    assert day["mae_baseline"] > 0
    assert reported["trainings"] == [
        {"at": "2011-02-03T00:00:00", "reason": "the error drifts", "version": 2, "outcome": "promoted"}
    ]
    assert reported["rollbacks"][0]["reason"] == "far worse"
    (kept,) = reported["incidents"]
    assert (kept["since"], kept["ended_at"], kept["cost"]) == (
        "2011-02-01T00:00:00",
        "2011-02-05T00:00:00",
        {"rows": 3},
    )


def test_the_command_says_what_to_do_where_nothing_was_gathered(project: Path, run: Run) -> None:
    assert "run `python -m bike_demand ingest`" in run("monitor").refusal()
    assert project.is_dir()
