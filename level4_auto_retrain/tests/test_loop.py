"""The loop over several cycles: signals, responses, event log."""

import errno
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from sqlalchemy import delete

from bike_demand.__main__ import main
from bike_demand.core.current import Row
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import load_settings
from bike_demand.data.frames import concat
from bike_demand.data.ingest import ingest
from bike_demand.data.month import iso
from bike_demand.data.table import read_month_file
from bike_demand.loop import champion as champion_module
from bike_demand.loop import cycle, incidents, retraining
from bike_demand.loop.context import CycleRunner
from bike_demand.monitoring import retraining_policy
from bike_demand.monitoring import signals as signals_module
from bike_demand.monitoring.retraining_policy import error_signal
from bike_demand.release import deploy as delivery
from bike_demand.release.ab import step as step_module
from bike_demand.release.gates import Gate, GateContext, GateResult
from bike_demand.serving.status import StatusDocument, find_headline, read_status
from bike_demand.store import event_log
from bike_demand.store.database import BusyError, Database, lock, open_database
from bike_demand.store.deployments import all_deployments, history
from bike_demand.store.event_log import BEGUN, DONE, FAILED
from bike_demand.store.tables import (
    Deployment,
    LoggedPrediction,
    Signal,
    SignalKind,
    State,
    Training,
    Transition,
)
from bike_demand.store.tracking import CHAMPION, Tracking, Version
from bike_demand.store.traffic_split import CHALLENGER, PREVIOUS
from bike_demand.training import steps
from bike_demand.training.inputs import lock_data
from tests.conftest import Run, project_in
from tests.feedmaker import HEADER, MONTHS, month_lines, write_feed
from tests.ingested import rows_of
from tests.predictions import log, model_with_error, store_outcomes
from tests.project_copy import change_params
from tests.registry import copy_state, current_deployment, deploy_without_gates, register, remove_alias
from tests.tiny import constant

BEGAN = "2011-03-01"
HEAT, MOISTURE = (HEADER.split(",").index(name) for name in ("heat", "moisture"))
FIRST_OF_MARCH = datetime(2011, 3, 1)
ERROR_SIGNAL = Signal(
    SignalKind.ERROR, "version 1", FIRST_OF_MARCH, FIRST_OF_MARCH, "The error is 2 times its reference.", {}
)


class KilledError(BaseException):
    """Simulates kill -9."""


@pytest.fixture(scope="session")
def live_template(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A project in which version 1 has been live since February and has predicted; copying it is faster."""
    folder = tmp_path_factory.mktemp("live_template")
    with project_in(folder, empty_store):
        assert main(["ingest"]) == 0
        register(constant(folder / "model", 50.0))
        delivery.deploy(load_settings(), "1", datetime(2011, 2, 1), print, gates=())
        rows = happened("2011-02-01", BEGAN)
        log(rows, (1, model_with_error(20.0)))
        store_outcomes(rows)
    return folder


@pytest.fixture
def live_project(live_template: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which version 1 is live, which keeps its reference error. A training registers a model
    at once, and no gate runs.
    """
    copy_state(live_template, project)
    shutil.copytree(live_template / "model", project / "model")
    deploy = partial(delivery.deploy, gates=())
    monkeypatch.setattr(delivery, "deploy", deploy)
    monkeypatch.setattr(step_module, "deploy", deploy)
    monkeypatch.setattr(steps, "run", register_stub)
    monkeypatch.setattr(retraining_policy, "error_signal", lambda *_: None)
    monkeypatch.setattr(
        signals_module, "drift_signal", lambda *_: None
    )  # its library takes seconds to import
    return project


class TrainingStub:
    """The result of a training."""

    def __init__(self, version: Version) -> None:
        self.version, self.run_id, self.holdout_error = version.number, version.run_id, 20.0
        self.data_summary = "It was trained on 900 rows; excluded: none."


def register_stub(_as_of: datetime | None, _allow: bool) -> tuple[TrainingStub, bool]:
    return TrainingStub(register(Path("model"))), True


def unreachable(*_: object) -> None:
    raise UnreachableError("the registry does not answer")


def failing_training(_as_of: datetime | None, _allow: bool) -> tuple[TrainingStub, bool]:
    raise UserError("the data are not fit for training")


@pytest.fixture
def database(live_project: Path) -> Iterator[Database]:
    with closing(open_database(f"sqlite:///{live_project / 'state' / 'production.db'}")) as connected:
        yield connected


@pytest.fixture
def set_error_signal(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Switches the error signal on or off."""

    def switch(on: bool) -> None:
        monkeypatch.setattr(
            retraining_policy, "error_signal", lambda *_: replace(ERROR_SIGNAL) if on else None
        )

    return switch


@pytest.fixture
def interrupted_training(database: Database, run: Run, set_error_signal: Callable[[bool], None]) -> None:
    """A training for the error signal that waits for the registry to respond."""
    set_error_signal(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "run", unreachable)
        run_cycle(run, BEGAN)
    assert states(database) == [(BEGUN, None)]


def run_cycle(run: Run, day: str) -> str:
    """The output of the monitoring cycle of that day."""
    output = run("agent", "--once", "--as-of", day)
    assert (output.status, output.err) == (0, ""), output
    return output.out


def happened(first: str, end: str) -> list[Row]:
    """The rows of the story from one day to before another, also those that were not published yet."""
    return [row for row in story() if first <= iso(row.begins) < end]


@cache
def story() -> list[Row]:
    """The rows of all months."""
    return rows_of(concat(read_month_file(written(month).encode(), month, month) for month in MONTHS))


def written(month: str) -> str:
    """A month of the feed, as the operator writes it."""
    return "".join(f"{line}\n" for line in (HEADER, *month_lines(month)))


def log_predictions(day: str, until: str, *answers: tuple[int, float]) -> None:
    """Log predictions of these versions (the shown one, and the other), and report the outcomes."""
    rows = happened(day, until)
    first, *others = [(number, model_with_error(pieces)) for number, pieces in answers]
    log(rows, first, others[0] if others else None, role="previous")
    store_outcomes(rows)


def states(database: Database) -> list[tuple[str, int | None]]:
    return [(each.state, each.version) for each in event_log.trainings(database)]


def live_history(database: Database) -> list[int]:
    """The versions that went live, one after the other."""
    versions = {each.id: each.version for each in all_deployments(database)}
    changes = (each for each in history(database) if each.new is State.LIVE is not each.old)
    return [versions[each.deployment] for each in changes]


def rollbacks(database: Database) -> list[tuple[int, int | None]]:
    """The versions that were rolled back, each with the one that went live again."""
    return [(each.version, each.against) for each in all_deployments(database, State.ROLLED_BACK)]


@pytest.mark.usefixtures("live_project")
def test_ingestion_of_a_cycle_waits_for_a_training(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    order, began = [], threading.Event()

    def train() -> None:
        with FileLock("state/train.lock"):
            began.set()
            time.sleep(0.5)
            order.append("trained")

    monkeypatch.setattr(cycle, "ingest", lambda *_, **__: order.append("ingested"))
    threading.Thread(target=train).start()
    assert began.wait(10)
    run_cycle(run, BEGAN)
    assert order == ["trained", "ingested"]
    monkeypatch.setattr(cycle, "DATA_SECONDS", 0.1)
    with FileLock("state/train.lock"):
        assert "warning: nothing was ingested: another training" in run_cycle(run, BEGAN)
        assert "another training" in run("retrain", "--reason", "prices", "--as-of", BEGAN).refusal()
        with pytest.raises(UnreachableError):  # so that a training of the loop stays open
            lock_data()
    assert order == ["trained", "ingested"]


@pytest.mark.slow
def test_signal_about_replaced_champion_is_ignored(database: Database) -> None:
    at = datetime(2011, 3, 1)
    delivery.release(load_settings(), str(register(Path("model")).number), "better", at, print, gates=())
    for subject, responses in (("version 1", 0), ("version 2", 1)):
        (raised,) = event_log.update_signals(database, [replace(ERROR_SIGNAL, subject=subject)], at).new
        assert ("has ended" in cycle.respond_to_signal(load_settings(), raised.id, at, print)) is (
            not responses
        )
        assert len(event_log.alerts(database)) == responses


def alert_titles(database: Database) -> list[str]:
    return sorted(each.title for each in event_log.alerts(database))


def test_quiet_day_trains_releases_and_alerts_nothing(database: Database, run: Run) -> None:
    out = run_cycle(run, BEGAN)
    before = Tracking(load_settings()).aliases()
    assert before == {"champion": 1}
    assert out == "Version 1 is live; nothing to do.\n"
    assert event_log.open_signals(database) == []
    assert event_log.alerts(database) == []
    assert live_history(database) == [1]
    run_cycle(run, "2011-03-02")
    assert live_history(database) == [1]


def test_error_signal_trains_one_version_and_starts_its_test(
    database: Database, run: Run, set_error_signal: Callable[[bool], None]
) -> None:
    set_error_signal(True)
    out = run_cycle(run, BEGAN)
    assert "error-drift: The error is 2 times its reference.\n" in out
    assert Tracking(load_settings()).aliases() == {"champion": 1, "challenger": 2}
    (action,) = event_log.trainings(database)
    assert (action.state, action.version, action.reason) == (DONE, 2, "The error is 2 times its reference.")
    assert action.detail["result"] == "in its A/B test"
    assert action.reason in Tracking(load_settings()).version(2).description
    (incident,) = event_log.incidents(database)
    assert incident.responses == [
        {"at": "2011-03-01T00:00:00", "response": result_text(2, "in its A/B test")}
    ]
    (alert,) = event_log.alerts(database)
    assert (alert.title, alert.body["response"]) == (
        "Error drift: version 1",
        incident.responses[0]["response"],
    )
    log_predictions("2011-03-01", "2011-03-06", (1, 20.0), (2, 10.0))
    set_error_signal(False)
    with lock(database, "deployment"):  # the gates of a person's deployment take minutes
        assert "Another deployment is running" in run_cycle(run, "2011-03-06")
    assert "Version 2 won its A/B test" in run_cycle(run, "2011-03-06")
    assert event_log.trainings(database)[0].detail["result"] == "went live"
    assert live_history(database) == [1, 2]
    (incident,) = event_log.incidents(database)
    assert incident.ended_at == datetime(2011, 3, 6)
    assert incident.cost is not None
    assert alert_titles(database) == [
        "Error drift: version 1",
        "Resolved: error-drift, version 1",
    ]


def result_text(version: int, what: str) -> str:
    return f"Version {version} was trained; status: {what} (state/reports/version-{version}.html)."


def test_ongoing_signal_is_alerted_once_and_trained_by_the_policy(
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_error_signal(True)
    given: list[list[datetime]] = []

    def due(
        trainings: list[Training],
        *_: object,
        urgent: bool,
        level_shift: date | None,
    ) -> str | None:
        assert (urgent, level_shift) == (False, None)
        given.append([each.at for each in trainings])
        return "The cool-down is not over." if trainings else None

    monkeypatch.setattr(retraining_policy, "retraining_refusal", due)
    run_cycle(run, "2011-03-01")
    run_cycle(run, "2011-03-02")
    assert run("ab", "stop", "--reason", "enough", "--as-of", "2011-03-03").status == 0
    run_cycle(run, "2011-03-03")
    assert given == [[], [datetime(2011, 3, 1)]]
    assert states(database) == [(DONE, 2)]
    assert alert_titles(database) == ["Error drift: version 1"]
    done = [each["response"] for each in event_log.incidents(database)[0].responses]
    assert done == [
        result_text(2, "in its A/B test"),
        "No training until the test of version 2 ends: a new version would wait for it and be outdated by"
        " then.",
        "The cool-down is not over.",
    ]
    assert event_log.trainings(database)[0].detail["result"] == "superseded: stopped by a person: enough"


STEP = "2011-03-09"  # the first day at a higher level


@pytest.fixture
def shifted_project(live_project: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """A project whose champion is right until a step, with a challenger since the day before."""
    monkeypatch.setattr(retraining_policy, "error_signal", error_signal)
    log_both(BEGAN, "2011-03-08", 1)
    assert run("retrain", "--force", "--reason", "by hand", "--as-of", "2011-03-08").status == 0
    return live_project


def log_both(first: str, end: str, *versions: int, second: float = 0.6, role: str = "challenger") -> None:
    """From the step on, version 1 predicts three fifths of the label, the second model the share `second`."""
    rows = happened(first, end)

    def share(of: float) -> Callable[[Row], float]:
        return lambda row: row.amount * (of if iso(row.begins) >= STEP else 1.0)

    others = [(number, share(second)) for number in versions[1:]]
    log(rows, (versions[0], share(0.6)), others[0] if others else None, role=role)
    store_outcomes(rows)


@pytest.mark.slow
@pytest.mark.usefixtures("shifted_project")
def test_level_shift_ends_test_of_versions_that_have_not_adapted(database: Database, run: Run) -> None:
    log_both("2011-03-08", "2011-03-12", 1, 2)
    with lock(database, "deployment"):
        run_cycle(run, "2011-03-12")
    assert states(database) == [(DONE, 2)]
    out = run_cycle(run, "2011-03-12")  # within four days
    (ended,) = all_deployments(database, State.SUPERSEDED)
    assert (ended.version, STEP in ended.reason) == (2, True)
    assert ended.ab is not None
    assert Tracking(load_settings()).aliases() == {"champion": 1, "challenger": 3}
    assert event_log.level_shifts(database) == (date.fromisoformat(STEP),)
    assert f"since {STEP}" in out
    log_both("2011-03-12", "2011-03-15", 1, 3)
    run_cycle(run, "2011-03-15")  # the next training has to wait
    assert states(database) == [(DONE, 2), (DONE, 3)]


@pytest.mark.slow
@pytest.mark.usefixtures("shifted_project")
def test_cycle_killed_after_ending_a_test_is_resumed(
    database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KilledError

    log_both("2011-03-08", "2011-03-12", 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(retraining, "train", dies)
        with pytest.raises(KilledError):
            run("agent", "--once", "--as-of", "2011-03-12")
    assert [each.version for each in all_deployments(database, State.SUPERSEDED)] == [2]
    run_cycle(run, "2011-03-12")
    assert Tracking(load_settings()).aliases() == {"champion": 1, "challenger": 3}
    assert event_log.level_shifts(database) == (date.fromisoformat(STEP),)


@pytest.mark.slow
@pytest.mark.usefixtures("shifted_project")
def test_test_of_adapted_challenger_continues(database: Database, run: Run) -> None:
    log_both("2011-03-08", "2011-03-12", 1, 2, second=0.9)
    out = run_cycle(run, "2011-03-12")
    assert "Version 2 won its A/B test" in out
    assert all_deployments(database, State.SUPERSEDED) == []
    assert states(database) == [(DONE, 2)]


@pytest.mark.slow
def test_test_continues_if_no_training_is_due(shifted_project: Path, database: Database, run: Run) -> None:
    change_params(shifted_project, budget="1")
    log_both("2011-03-08", "2011-03-12", 1, 2)
    run_cycle(run, "2011-03-12")
    assert all_deployments(database, State.SUPERSEDED) == []
    assert states(database) == [(DONE, 2)]
    output = run("retrain", "--force", "--reason", "prices", "--as-of", "2011-03-12")  # as the alert suggests
    assert (output.status, event_log.level_shifts(database)) == (0, (date.fromisoformat(STEP),))
    assert Tracking(load_settings()).aliases() == {"champion": 2, "challenger": 3}  # its watch ended, too


@pytest.mark.slow
def test_level_shift_is_kept_until_a_training_may_start(
    shifted_project: Path, database: Database, run: Run
) -> None:
    assert run("ab", "stop", "--reason", "enough", "--as-of", "2011-03-08").status == 0
    change_params(shifted_project, budget="1")
    log_both("2011-03-08", "2011-03-31", 1)
    for day in (13, 20, 23, 26, 31):
        run_cycle(run, f"2011-03-{day}")
    assert states(database) == [(DONE, 2)]
    change_params(shifted_project, budget="2")
    run_cycle(run, "2011-03-31")
    assert event_log.level_shifts(database) == (date.fromisoformat(STEP),)


@pytest.mark.slow
def test_incident_stays_open_without_outcomes(shifted_project: Path, database: Database, run: Run) -> None:
    change_params(shifted_project, budget="1")
    log_both("2011-03-08", "2011-03-14", 1)
    run_cycle(run, "2011-03-14")
    log(happened("2011-03-14", "2011-03-31"), (1, lambda row: row.amount * 0.6))
    for day in (17, 21, 24, 31):
        run_cycle(run, f"2011-03-{day}")
    found = {each.subject: each for each in event_log.open_signals(database)}
    assert found.keys() == {"version 1", "outcomes"}
    assert found["version 1"].evidence["not_evaluated_since"][:10] == "2011-03-31"
    about = [each for each in event_log.alerts(database) if each.title == "Data quality: outcomes"]
    assert "POST /outcomes" in about[0].body["suggestion"]
    assert not any(each.startswith("Resolved") for each in alert_titles(database))
    response = event_log.incidents(database)[0].responses[-1]["response"]
    assert response == "No training: too few outcomes are known to evaluate the error since 2011-03-31."
    store_outcomes(happened("2011-03-14", "2011-03-31"))
    change_params(shifted_project, budget="2")
    run_cycle(run, "2011-03-31")
    assert [each.subject for each in event_log.open_signals(database)] == ["version 1"]
    assert states(database)[1:] == [(DONE, 3)]


@pytest.mark.slow
def test_level_shift_ends_watch_of_versions_that_have_not_adapted(
    shifted_project: Path, database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.STEP", "2011-03-13")
    change_params(shifted_project, watch_days="10")
    assert run("ab", "stop", "--reason", "enough", "--as-of", "2011-03-08").status == 0
    delivery.release(load_settings(), "2", "a person's", datetime(2011, 3, 8), print, gates=())
    log_both("2011-03-08", "2011-03-16", 2, 1, role="previous")
    run_cycle(run, "2011-03-16")
    assert Tracking(load_settings()).aliases() == {"champion": 2, "challenger": 3}
    assert states(database) == [(DONE, 2), (DONE, 3)]
    assert live_history(database) == [1, 2]


def test_bad_data_suspend_training(
    live_project: Path,
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_error_signal(True)
    feed = live_project / "feed" / "2011-03.csv"
    clean = feed.read_text(encoding="utf-8")
    feed.write_text(fahrenheit(clean, "2011-03-02", "2011-03-04"), encoding="utf-8", newline="\n")
    earlier = live_project / "feed" / "2011-01.csv"
    earlier.write_text(
        fahrenheit(earlier.read_text(encoding="utf-8"), "2011-01-10", "2011-01-12"),
        encoding="utf-8",
        newline="\n",
    )
    log_predictions("2011-03-01", "2011-03-09", (1, 20.0))
    monkeypatch.setattr(
        retraining_policy,
        "retraining_refusal",
        lambda *_, **__: None,
    )
    out = run_cycle(run, "2011-03-03")
    assert "data-quality: heat changes its unit" in out
    assert states(database) == []
    (incident,) = [each for each in event_log.incidents(database) if each.subject == "heat"]
    assert incident.since == datetime(2011, 3, 2)
    assert incident.responses[0]["response"].startswith("Training is suspended until it is resolved")
    (drifting,) = [each for each in event_log.incidents(database) if each.kind is SignalKind.ERROR]
    assert drifting.responses[0]["response"].startswith("No training: bad data. heat changes its unit")
    feed.write_text(clean, encoding="utf-8", newline="\n")  # corrected
    out = run_cycle(run, "2011-03-06")
    assert "Resolved: data-quality, heat." in out
    assert states(database) == [(DONE, 2)]
    regression_cases = [each.content for each in event_log.regression_cases(database)]
    assert [each["subject"] for each in regression_cases] == ["heat", "core_heat"]
    assert [(each["rule"], each["must_detect"][0]) for each in regression_cases] == [
        ("units", ["2011-03-02T00:00:00", "m00"])
    ] * 2
    again = fahrenheit(clean, "2011-03-07", "2011-03-09")
    feed.write_text(again, encoding="utf-8", newline="\n")
    run_cycle(run, "2011-03-08")
    titles = alert_titles(database)
    assert titles.count("Data quality: heat") == 2  # within the quiet period, but resolved in between
    assert titles.count("Error drift: version 1") == 2  # no training, then one


@pytest.mark.slow
def test_wider_rule_ends_incident_and_withdraws_its_case(
    live_project: Path, database: Database, run: Run
) -> None:
    feed = live_project / "feed" / "2011-03.csv"
    bad = fahrenheit(feed.read_text(encoding="utf-8"), "2011-03-02", "2011-03-04")
    feed.write_text(bad, encoding="utf-8", newline="\n")
    run_cycle(run, "2011-03-03")
    assert len(event_log.regression_cases(database)) == 2
    assert "still open" in run("incidents", "--withdraw", "1").refusal()
    change_params(live_project, level="off\n  units: off\n  ranges: off")
    run_cycle(run, "2011-03-03")
    assert [each.ended_at for each in event_log.incidents(database)] == [datetime(2011, 3, 3)] * 2
    assert event_log.regression_cases(database) == []


def fahrenheit(text: str, first: str, end: str) -> str:
    """A month of the feed with its temperatures in Fahrenheit from a day to before another."""
    lines = []
    for line in text.splitlines():
        cells = line.split(",")
        if first <= cells[0] < end:
            cells[HEAT:MOISTURE] = [f"{float(each) * 1.8 + 32:.2f}" for each in cells[HEAT:MOISTURE]]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


# ---- the champion


def promote_out_of_band(number: int, *, answer: float = 400.0) -> Tracking:
    """Make a version of that number the champion out of band."""
    tracking = Tracking(load_settings())
    while max((each.number for each in tracking.versions()), default=0) < number:
        register(constant(Path(f"constant-{answer:g}"), answer))
    tracking.set_alias(CHAMPION, number)
    return tracking


def log_constant(
    number: int, answer: float, first: str, until: str, previous: tuple[int, float] | None = None
) -> None:
    """Log a constant prediction of a version for each row, and report the outcomes.

    `previous`: the version that predicts in shadow mode, and its prediction.
    """
    rows = happened(first, until)
    shadow = None if previous is None else (previous[0], lambda _: previous[1])
    log(rows, (number, lambda _: answer), shadow, role="previous")
    store_outcomes(rows)


@pytest.mark.slow
def test_bad_out_of_band_model_is_rolled_back_after_its_first_day(database: Database, run: Run) -> None:
    run_cycle(run, BEGAN)
    tracking = promote_out_of_band(2)
    run_cycle(run, BEGAN)
    log_constant(2, 400.0, "2011-03-01", "2011-03-02", previous=(1, 50.0))
    out = run_cycle(run, "2011-03-02")
    assert (
        "Version 2 has been live since 2011-03-01 00:00, but no deployment promoted it; it is far worse"
        in out
    )
    assert tracking.aliases() == {"champion": 1}
    assert "far worse than version 1" in current_deployment(2).reason
    assert [good for _, good in rollbacks(database)] == [1]
    assert live_history(database) == [1, 2, 1]
    assert "Resolved: bad-release, version 2." in out
    run_cycle(run, "2011-03-03")
    (incident,) = event_log.incidents(database)
    assert (incident.kind, incident.since) == (SignalKind.BAD_RELEASE, datetime(2011, 3, 1))
    assert incident.responses[-1]["response"].startswith("Version 1 is live again, instead of version 2")
    assert incident.cost is not None
    assert incident.cost["predictions_by_rolled_back"] == 24
    assert incident.cost["error_rolled_back"] > 3 * incident.cost["error_previous"]
    assert alert_titles(database) == ["Bad release: version 2"] * 2 + ["Resolved: bad-release, version 2"]
    late = [each for each in event_log.alerts(database) if each.at > FIRST_OF_MARCH]
    suggestions = [each.body["suggestion"] for each in late]
    assert not any("rollback" in each for each in suggestions)  # it would hit the version that was restored


@pytest.mark.slow
def test_good_out_of_band_model_is_reported_watched_and_stays(database: Database, run: Run) -> None:
    run_cycle(run, BEGAN)
    tracking = promote_out_of_band(2, answer=51.0)
    out = run_cycle(run, BEGAN)
    assert "but no deployment promoted it; it is not significantly worse so far" in out
    assert tracking.aliases() == {"champion": 2, "previous": 1}
    assert live_history(database) == [1, 2]
    log_constant(2, 51.0, "2011-03-01", "2011-03-02", previous=(1, 50.0))
    assert "Watching version 2 until" in run_cycle(run, "2011-03-02")
    over = datetime(2011, 3, 1) + timedelta(days=load_settings().ab.watch_days)
    for day in range(2 + load_settings().ab.watch_days):  # too few rows can be compared to end it earlier
        run_cycle(run, f"{over + timedelta(days=day + 1):%Y-%m-%d}")
    assert tracking.aliases() == {"champion": 2}
    assert event_log.open_signals(database) == []
    assert rollbacks(database) == []
    (incident,) = event_log.incidents(database)
    assert incident.ended_at is not None
    assert incident.regression_case is None


@pytest.mark.slow
def test_out_of_band_older_version_is_rolled_back(live_project: Path, database: Database, run: Run) -> None:
    tracking = promote_out_of_band(2, answer=60.0)
    run_cycle(run, BEGAN)
    remove_alias(tracking, PREVIOUS)
    register(constant(live_project / "third", 55.0))
    deploy_without_gates(3)
    remove_alias(tracking, PREVIOUS)
    run_cycle(run, BEGAN)
    tracking.set_alias(CHAMPION, 1)
    run_cycle(run, BEGAN)
    log_constant(1, 600.0, "2011-03-01", "2011-03-02", previous=(3, 55.0))
    assert "Version 3 is live again, instead of version 1" in run_cycle(run, "2011-03-02")
    assert live_history(database) == [1, 2, 3, 1, 3]


def test_worse_promotion_is_rolled_back_with_evidence(
    live_project: Path, database: Database, run: Run
) -> None:
    run_cycle(run, BEGAN)
    register(constant(live_project / "second", 300.0))
    tracking = Tracking(load_settings())
    deploy_without_gates(2)
    rows = happened("2011-03-01", "2011-03-02")
    log(rows, (2, model_with_error(300.0)), (1, model_with_error(20.0)), role="previous")
    store_outcomes(rows)
    with lock(database, "deployment"):  # the gates of another version run
        out = run_cycle(run, "2011-03-02")
    assert "Version 2 has been live since 2011-03-01 00:00; it is far worse than version 1" in out
    assert tracking.aliases() == {"champion": 1}
    assert (current_deployment(2).watch or {})["verdict"] == "roll back"
    assert [good for _, good in rollbacks(database)] == [1]


@pytest.mark.slow
def test_promotion_that_is_no_longer_worse_stays_live(database: Database, run: Run) -> None:
    run_cycle(run, BEGAN)
    register(Path("model"))
    deploy_without_gates(2)
    log_predictions("2011-03-01", "2011-03-02", (2, 300.0), (1, 20.0))
    at, emitted = datetime(2011, 3, 2), list[Signal]()
    with lock(database, "deployment"):  # the gates of another version run
        cycle.run_cycle(load_settings(), at, print, CycleRunner(emit_signal=emitted.append))
    with database.writing() as session:  # before a worker responds
        session.execute(delete(LoggedPrediction))
    (raised,) = emitted
    assert cycle.respond_to_signal(load_settings(), raised.id, at, print).startswith("It stays live: ")
    assert live_history(database) == [1, 2]


@pytest.mark.slow
def test_rollback_by_a_person_is_recorded_as_an_incident(database: Database, run: Run) -> None:
    run_cycle(run, BEGAN)
    register(Path("model"))
    ahead = datetime(2011, 3, 2, 15)  # outcomes arrive, and decide a test, before the feed has their rows
    deploy_without_gates(2, at=ahead)
    assert run("rollback", "--reason", "nonsense", "--as-of", "2011-03-02").status == 0
    for _cycle in range(2):
        run_cycle(run, "2011-03-02")
    (incident,) = event_log.incidents(database)
    assert (incident.subject, incident.description) == ("version 2", "Rolled back by a person: nonsense")
    assert incident.ended_at == ahead
    assert [good for _, good in rollbacks(database)] == [1]


def test_last_good_version_is_restored_after_the_alias_was_deleted(database: Database, run: Run) -> None:
    run_cycle(run, BEGAN)
    tracking = Tracking(load_settings())
    remove_alias(tracking, CHAMPION)
    out = run_cycle(run, "2011-03-02")
    assert "no-model: No model is live: version 1" in out
    assert tracking.aliases() == {"champion": 1}
    assert states(database) == []


def test_repeated_response_to_a_missing_model_changes_nothing(database: Database, run: Run) -> None:
    run_cycle(run, BEGAN)
    tracking = promote_out_of_band(2)
    run_cycle(run, BEGAN)
    remove_alias(tracking, CHAMPION)
    at = datetime(2011, 3, 2)
    emitted: list[Signal] = []
    for _cycle in range(2):  # while no worker runs the responses
        cycle.run_cycle(load_settings(), at, print, CycleRunner(emit_signal=emitted.append))
    assert [each.kind for each in emitted] == [SignalKind.NO_MODEL] * 2
    responses = [cycle.respond_to_signal(load_settings(), each.id, at, print) for each in emitted]
    assert ["has ended" in each for each in responses] == [False, True]
    assert tracking.aliases() == {CHAMPION: 2, PREVIOUS: 1}  # it is watched, as before
    assert rollbacks(database) == []


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_a_version_that_went_live_during_a_restore_is_reported(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cycle(run, BEGAN)
    tracking = promote_out_of_band(2)
    run_cycle(run, BEGAN)
    remove_alias(tracking, CHAMPION)
    meanwhile = "bike_demand.loop.champion.require_loadable"
    monkeypatch.setattr(meanwhile, lambda *_: tracking.set_alias(CHAMPION, 1))
    out = run_cycle(run, "2011-03-02")
    assert "Version 1 is live." in out
    assert "Restored" not in out


@pytest.mark.slow
@pytest.mark.usefixtures("live_project")
def test_rolled_back_version_made_live_again_is_rolled_back(run: Run) -> None:
    tracking = promote_out_of_band(2)
    assert run("rollback", "--reason", "nonsense", "--as-of", BEGAN).status == 0
    tracking.set_alias(CHAMPION, 2)
    assert "Version 2 is live again although it had been rolled back (nonsense)." in run_cycle(run, BEGAN)
    assert tracking.aliases() == {"champion": 1}


# ---- trainings


def test_first_model_is_trained_and_released(stored: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    constant(stored / "model", 50.0)
    monkeypatch.setattr(steps, "run", register_stub)
    monkeypatch.setattr(delivery, "deploy", partial(delivery.deploy, gates=()))
    out = run_cycle(run, BEGAN)
    assert "no-model: No model is live.\n" in out
    assert "Training. Reason: No model is live." in out
    assert Tracking(load_settings()).aliases() == {"champion": 1}
    with closing(open_database(f"sqlite:///{stored / 'state' / 'production.db'}")) as database:
        assert states(database) == [(DONE, 1)]
        assert event_log.trainings(database)[0].detail["result"] == "went live"
        assert live_history(database) == [1]


@pytest.mark.slow
def test_outdated_queued_version_is_closed_by_the_next_cycle(
    live_project: Path, database: Database, run: Run
) -> None:
    change_params(live_project, watch_days="0")
    for number, state in ((2, State.QUEUED), (3, State.LIVE)):
        register(Path("model"))
        deploy_without_gates(number, state)
    assert "Version 2 is queued; the next step ends" in run("ab", "status", "--as-of", "2011-03-03").out
    assert "Version 2 is not deployed: a later deployment went live." in run_cycle(run, "2011-03-03")
    assert [each.state for each in all_deployments(database)][1:] == [State.SUPERSEDED, State.LIVE]
    assert run_cycle(run, "2011-03-04") == "Version 3 is live; nothing to do.\n"


@pytest.mark.slow
def test_failed_training_of_the_first_model_is_tried_again_the_next_day(
    stored: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "run", failing_training)
    with closing(open_database(f"sqlite:///{stored / 'state' / 'production.db'}")) as database:
        for day, trainings in ((1, 1), (1, 1), (2, 2)):
            run_cycle(run, f"2011-03-0{day}")
            assert states(database) == [(FAILED, None)] * trainings


@pytest.mark.slow
def test_without_automatic_deployment_a_waiting_version_is_not_retrained(
    stored: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_params(stored, automatic="false")
    constant(stored / "model", 50.0)
    monkeypatch.setattr(steps, "run", register_stub)
    for day in (1, 2, 3):
        run_cycle(run, f"2011-03-0{day}")
    with closing(open_database(f"sqlite:///{stored / 'state' / 'production.db'}")) as database:
        assert states(database) == [(DONE, 1)]
        (alert,) = event_log.alerts(database)
        assert "deploy 1" in alert.body["suggestion"]
        status = StatusDocument(environment="production", **read_status(database, "production", 0))
        assert "deploy 1" in find_headline(status, None, timedelta(days=1)).reason
        delivery.deploy(load_settings(), "1", datetime(2011, 3, 3), print, gates=())
        run_cycle(run, "2011-03-03")
        assert event_log.trainings(database)[0].detail["result"] == "went live"


@pytest.mark.slow
def test_training_pauses_after_repeated_failures(
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_error_signal(True)
    monkeypatch.setattr(steps, "run", failing_training)
    for day in (1, 1, 2, 3, 4, 5):
        run_cycle(run, f"2011-03-0{day}")
    assert [each[0] for each in states(database)] == [FAILED] * 3
    (rests,) = [each for each in event_log.open_signals(database) if each.kind is SignalKind.LOOP]
    assert rests.message == (
        "3 trainings in a row failed, the last one on 2011-03-03 (failed: the data are not fit for"
        " training); automatic training is paused until 2011-03-10."
    )
    titles = alert_titles(database)
    assert titles == [*["Error drift: version 1"] * 3, "Loop: training"]
    run_cycle(run, "2011-03-10")
    assert len(states(database)) == 4  # the pause is over
    assert "Resolved: loop, training" in alert_titles(database)
    assert run("retrain", "--reason", "mended", "--as-of", "2011-03-10").status == 1
    assert len(states(database)) == 5
    run_cycle(run, "2011-03-11")
    assert len(states(database)) == 6  # after a manual training it is not paused
    monkeypatch.setattr(steps, "run", register_stub)
    run_cycle(run, "2011-03-12")
    assert states(database)[-1] == (DONE, 2)
    assert event_log.published_fields(database)["budget"].content["spent"] == 1


def test_retrain_force_overrides_limits(
    database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        retraining_policy,
        "retraining_refusal",
        lambda *_, **__: "The budget is spent.",
    )
    refused = run("retrain", "--reason", "a new machine", "--as-of", BEGAN)
    assert refused.refusal() == "error: The budget is spent. To train anyway: --force\n"
    output = run("retrain", "--reason", "a new machine", "--force", "--as-of", BEGAN)
    assert (output.status, output.err) == (0, "")
    assert output.out.startswith(
        "The budget is spent. Training anyway (--force).\nTraining. Reason: a new machine\n"
    )
    (action,) = event_log.trainings(database)
    assert (action.state, action.version, action.detail["manual"]) == (DONE, 2, True)
    assert Tracking(load_settings()).aliases()[CHALLENGER] == 2
    assert "give the reason" in run("retrain", "--reason", " ", "--as-of", BEGAN).refusal()


@pytest.mark.slow
def test_result_of_a_version_that_was_trained_before_or_is_deployed_again_is_right(
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(Path("model"))  # by a person, who did not deploy it
    repeatable(monkeypatch)
    set_error_signal(True)
    run_cycle(run, BEGAN)
    set_error_signal(False)
    log_predictions("2011-03-01", "2011-03-06", (1, 20.0), (2, 10.0))
    run_cycle(run, "2011-03-06")
    (training,) = event_log.trainings(database)
    assert (training.detail["no_training"], training.detail["result"]) == (True, "went live")
    register(Path("model"))
    deploy_without_gates(3, at=datetime(2011, 3, 7))
    deploy_without_gates(2, State.FAILED_GATE, at=datetime(2011, 3, 8))
    with database.writing() as session:  # of an earlier registry, which counted from 1, too
        rolled_back = Deployment(2, "another run", "", "somebody", FIRST_OF_MARCH, FIRST_OF_MARCH)
        rolled_back.state = State.ROLLED_BACK
        session.add(rolled_back)
        session.flush()
        session.add(Transition(rolled_back.id, State.TESTING, State.LIVE, FIRST_OF_MARCH, "", applied=True))
    run_cycle(run, "2011-03-08")
    assert event_log.trainings(database)[0].detail == training.detail


def test_version_refused_by_a_gate_counts_as_failure(
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuses = (Gate("no", "Never", lambda _: GateResult(False, "it is refused")),)
    monkeypatch.setattr(delivery, "deploy", partial(delivery.deploy.func, gates=refuses))  # type: ignore[attr-defined]
    set_error_signal(True)
    run_cycle(run, BEGAN)
    (action,) = event_log.trainings(database)
    assert (action.state, action.version) == (FAILED, 2)
    assert "refused by gate no: it is refused" in str(action.detail["result"])
    assert "was trained but refused" in event_log.alerts(database)[0].body["response"]


@pytest.mark.slow
def test_old_deployment_is_trained_again_until_that_works(
    live_project: Path, database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_params(live_project, max_age_days="20")
    with monkeypatch.context() as patch:
        patch.setattr(steps, "run", failing_training)
        assert "28 days ago" in run_cycle(run, BEGAN)
    run_cycle(run, "2011-03-05")
    assert states(database) == [(FAILED, None), (DONE, 2)]


def test_trainings_that_count_as_failures_in_a_row(project: Path) -> None:
    assert project
    at = datetime(2011, 3, 1)
    refused = Training(None, "No model is live.", at, FAILED, 1)
    again = replace(refused, detail={retraining.NO_TRAINING: True})
    by_person = replace(again, state=DONE, detail=again.detail | {retraining.MANUAL: True})
    reason = partial(retraining.pause_reason, load_settings(), now=at)
    assert reason([refused, *[again] * 3]) is None
    assert reason([refused] * 3) is not None
    assert reason([*[refused] * 3, by_person]) is None
    assert reason([*[refused] * 3, again], deployed_at=at - timedelta(days=1)) is not None
    assert reason([*[refused] * 3, again], deployed_at=at) is None


@pytest.mark.slow
@pytest.mark.parametrize("by_person", [False, True])
def test_failed_trainings_no_longer_matter_once_none_is_needed(
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
    by_person: bool,
) -> None:
    set_error_signal(True)
    monkeypatch.setattr(steps, "run", failing_training)
    for day in (1, 2, 3, 4):
        run_cycle(run, f"2011-03-0{day}")
    if by_person:
        register(Path("model"))
        deploy_without_gates(2, at=datetime(2011, 3, 5))
    else:
        set_error_signal(False)
    run_cycle(run, "2011-03-05")
    kinds = [each.kind for each in event_log.open_signals(database)]
    assert kinds == ([SignalKind.ERROR] if by_person else [SignalKind.LOOP])  # the pause goes on
    for _cycle in range(2):
        run_cycle(run, "2011-03-11")
    assert SignalKind.LOOP not in [each.kind for each in event_log.open_signals(database)]
    assert "Resolved: loop, training" in alert_titles(database)
    assert alert_titles(database).count("Loop: training") == 1


# ---- kills


KILL_POINTS = {
    "before the training": (steps, "run"),
    "after it was registered": (event_log, "update_training"),
    "before the deployment": (delivery, "deploy"),
    "before the alert": (cycle, "raise_alert"),
    "before the test advances": (cycle, "step"),
    "before the result is recorded": (retraining, "update_results"),
}
FAST_KILL_POINT = "before the deployment"


@pytest.mark.parametrize(
    "point",
    [pytest.param(each, marks=[] if each == FAST_KILL_POINT else pytest.mark.slow) for each in KILL_POINTS],
)
def test_killed_cycle_is_resumed_without_duplicates(
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    set_error_signal(True)
    monkeypatch.setattr(
        retraining_policy,
        "retraining_refusal",
        lambda trainings, *_, **__: "The cool-down." if trainings else None,
    )
    repeatable(monkeypatch)

    module, name = KILL_POINTS[point]
    original = getattr(module, name)

    def dies(*args: Any, **more: Any) -> None:
        if name == "update_training" and "run" not in more.get("detail", {}):
            original(*args, **more)  # what is recorded before that
            return
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(module, name, dies)
        with pytest.raises(KilledError):
            run("agent", "--once", "--as-of", BEGAN)
    run_cycle(run, "2011-03-02")
    assert states(database) == [(DONE, 2)]
    assert len(retraining.counted_trainings(event_log.trainings(database))) == 1  # it counts for the budget
    tracking = Tracking(load_settings())
    assert tracking.aliases() == {"champion": 1, "challenger": 2}
    assert [each.number for each in tracking.versions()] == [1, 2]
    assert alert_titles(database) == ["Error drift: version 1"]
    assert None not in event_log.alerts(database)[0].delivered.values()


@pytest.mark.slow
def test_gates_are_not_run_again_after_a_refusal_and_a_kill(
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[int] = []

    def refuse(case: GateContext) -> GateResult:
        checked.append(case.version.number)
        return GateResult(False, "it is refused")

    gates = (Gate("no", "Never", refuse),)
    monkeypatch.setattr(delivery, "deploy", partial(delivery.deploy.func, gates=gates))  # type: ignore[attr-defined]
    set_error_signal(True)
    repeatable(monkeypatch)

    def dies(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(retraining, "_end", dies)
        with pytest.raises(KilledError):
            run("agent", "--once", "--as-of", BEGAN)
    run_cycle(run, BEGAN)
    assert checked == [2]
    assert states(database) == [(FAILED, 2)]


def repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that finds, as the real one does, what it registered before the kill."""

    def again(*_: object) -> tuple[TrainingStub, bool]:
        newest = Tracking(load_settings()).versions()[-1]
        return (TrainingStub(newest), False) if newest.number > 1 else register_stub(None, False)

    monkeypatch.setattr(steps, "run", again)


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        pytest.param((champion_module, "roll_back"), marks=pytest.mark.slow),
        (Tracking, "set_alias"),
        pytest.param((incidents, "record_response"), marks=pytest.mark.slow),
    ],
)
def test_killed_rollback_is_completed_by_the_next_cycle(
    database: Database, run: Run, monkeypatch: pytest.MonkeyPatch, point: tuple[Any, str]
) -> None:
    run_cycle(run, BEGAN)
    tracking = promote_out_of_band(2)
    run_cycle(run, BEGAN)  # adopts it
    log_constant(2, 400.0, "2011-03-01", "2011-03-02", previous=(1, 50.0))

    def dies(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(*point, dies)
        with pytest.raises(KilledError):
            run("agent", "--once", "--as-of", "2011-03-02")
    run_cycle(run, "2011-03-02")
    assert tracking.aliases() == {"champion": 1}
    assert rollbacks(database) == [(2, 1)]
    run_cycle(run, "2011-03-03")
    (incident,) = event_log.incidents(database)
    assert incident.ended_at is not None
    (resolved,) = [each for each in event_log.alerts(database) if each.title.startswith("Resolved")]
    assert re.search("instead of version 2|Rolled back: ", resolved.body["response"])


def test_unreachable_store_is_retried_in_the_next_cycle(
    database: Database,
    run: Run,
    set_error_signal: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_error_signal(True)

    monkeypatch.setattr(steps, "run", unreachable)
    assert "will be retried in the next cycle: the registry does not answer" in run_cycle(run, BEGAN)
    assert states(database) == [(BEGUN, None)]
    monkeypatch.setattr(steps, "run", register_stub)
    (raised,) = event_log.open_signals(database)
    done = cycle.respond_to_signal(load_settings(), raised.id, datetime(2011, 3, 1), print)
    assert done == result_text(2, "in its A/B test")
    assert states(database) == [(DONE, 2)]


@pytest.mark.usefixtures("interrupted_training")
def test_interrupted_training_is_completed_although_its_signal_has_ended(
    database: Database, run: Run, set_error_signal: Callable[[bool], None]
) -> None:
    set_error_signal(False)
    assert "Completing the training of 2011-03-01" in run_cycle(run, "2011-03-02")
    assert states(database) == [(DONE, 2)]


def test_failing_response_to_an_emitted_signal_is_alerted_and_not_repeated(
    database: Database, set_error_signal: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise ValueError("a bug in the model's code")

    (raised,) = event_log.update_signals(database, [replace(ERROR_SIGNAL)], FIRST_OF_MARCH).new
    monkeypatch.setattr(steps, "run", crash)
    with pytest.raises(ValueError, match="a bug"):
        cycle.respond_to_signal(load_settings(), raised.id, FIRST_OF_MARCH, print)
    assert states(database) == [(FAILED, None)]
    titles = ["Error drift: version 1", "Loop failure: monitoring cycle"]
    assert alert_titles(database) == titles
    alerts = event_log.alerts(database)
    assert all("a bug" in each.body["response"] + each.body["summary"] for each in alerts)
    assert not any(map(event_log.outstanding_alerts(database).count, alerts))
    set_error_signal(True)
    cycle.run_cycle(load_settings(), FIRST_OF_MARCH, print, CycleRunner(emit_signal=lambda _: None))


@pytest.mark.slow
@pytest.mark.usefixtures("interrupted_training")
def test_signal_whose_response_a_cycle_completed_is_not_emitted_again(database: Database) -> None:
    emitted: list[Signal] = []
    cycle.run_cycle(load_settings(), datetime(2011, 3, 1), print, CycleRunner(emit_signal=emitted.append))
    assert emitted == []
    (incident,) = event_log.incidents(database)
    assert incident.responses[-1]["response"] == result_text(2, "in its A/B test")


@pytest.mark.slow
def test_training_requested_by_a_person_is_resumed_in_spite_of_bad_data(
    live_project: Path, database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(steps, "run", unreachable)
        assert "will be retried" in run("retrain", "--reason", "a new machine", "--as-of", BEGAN).out
    (live_project / "feed" / "2011-02.csv").unlink()
    run_cycle(run, BEGAN)
    assert states(database) == [(DONE, 2)]


@pytest.mark.usefixtures("interrupted_training")
def test_training_of_a_person_comes_after_an_interrupted_one(database: Database, run: Run) -> None:
    output = run("retrain", "--reason", "prices", "--as-of", BEGAN)
    assert (output.status, "Cool-down until 2011-03-05" in output.err) == (1, True)
    assert states(database) == [(DONE, 2)]
    assert run("retrain", "--reason", "prices", "--force", "--as-of", BEGAN).status == 0
    assert states(database) == [(DONE, 2), (DONE, 3)]
    training = event_log.trainings(database)[-1]
    assert (training.reason, training.detail["manual"]) == ("prices", True)


@pytest.mark.slow
def test_training_of_a_person_comes_after_one_whose_version_waits(
    database: Database, run: Run, set_error_signal: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise BusyError("another deployment is running")

    set_error_signal(True)
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "deploy", busy)
        run_cycle(run, BEGAN)
        output = run("retrain", "--reason", "prices", "--as-of", BEGAN)
        assert (output.status, "an earlier training is not complete" in output.err) == (1, True)
    assert states(database) == [(BEGUN, 2)]
    output = run("retrain", "--reason", "prices", "--as-of", "2011-03-02")
    assert output.out.startswith(f"Completing the training of {BEGAN}: {ERROR_SIGNAL.message}\n")
    assert (output.status, "Cool-down until 2011-03-05" in output.err) == (1, True)
    assert run("retrain", "--reason", "prices", "--force", "--as-of", "2011-03-02").status == 0
    assert [(each.reason, each.version) for each in event_log.trainings(database)] == [
        (ERROR_SIGNAL.message, 2),
        ("prices", 3),
    ]


def test_alert_survives_a_kill_at_the_end_of_its_incident(
    database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_incident = event_log.end_incident

    def dies(*args: Any) -> None:
        end_incident(*args)
        raise KilledError

    event_log.update_signals(database, [replace(ERROR_SIGNAL)], FIRST_OF_MARCH)
    since = {"since": FIRST_OF_MARCH, "detected_at": FIRST_OF_MARCH}
    event_log.open_incident(database, SignalKind.ERROR, "version 1", **since, description="test")
    with monkeypatch.context() as patch:
        patch.setattr(event_log, "end_incident", dies)
        with pytest.raises(KilledError):
            run("agent", "--once", "--as-of", "2011-03-02")
    run_cycle(run, "2011-03-02")
    assert alert_titles(database) == ["Resolved: error-drift, version 1"]


def test_unreachable_feed_is_retried_by_the_step_runner(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [UnreachableError("the feed does not answer")]

    def unreachable_once(*args: Any, **more: Any) -> object:
        if refusals:
            raise refusals.pop()
        return ingest(*args, **more)

    def retry(_name: str, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except UnreachableError:
            return step()

    monkeypatch.setattr(cycle, "ingest", unreachable_once)
    cycle.run_cycle(load_settings(), FIRST_OF_MARCH, print, CycleRunner(retry))
    assert event_log.open_signals(database) == []


def test_feed_that_cannot_be_ingested_is_a_signal_and_the_cycle_continues(
    live_project: Path, database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cycle, "ingest", write)
        assert "data-quality: The feed cannot be ingested: [Errno 28] No space" in run_cycle(run, BEGAN)
    (live_project / "feed" / "2011-02.csv").unlink()
    out = run_cycle(run, BEGAN)
    assert "The feed still cannot be ingested: " in out
    assert "2011-02 is missing" in out
    assert "data-quality, ingestion: " in run("monitor", "--as-of", BEGAN).out
    write_feed(live_project / "feed")
    assert "Resolved: data-quality, ingestion." in run_cycle(run, "2011-03-02")
    assert live_history(database) == [1]


def test_failed_cycle_raises_alert_and_next_one_works(
    database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(reason: str, *_: object) -> None:
        raise UserError(reason)

    with monkeypatch.context() as patch:
        patch.setattr(cycle, "evaluate_signals", partial(fail, "the registry does not answer"))
        output = run("agent", "--once", "--as-of", BEGAN)
    assert (output.status, output.err) == (1, "error: the registry does not answer\n")
    (alert,) = event_log.alerts(database)
    assert alert.body["summary"].endswith("the registry does not answer")
    assert json.loads(output.out)["alert"]["id"] == alert.id
    for day, reason in ((2, "write 1 failed"), (3, "write 2 failed"), (4, "no space left")):
        with monkeypatch.context() as patch:
            patch.setattr(cycle, "evaluate_signals", partial(fail, reason))
            assert run("agent", "--once", "--as-of", f"2011-03-0{day}").status == 1
    summaries = [each.body["summary"].rpartition(": ")[2] for each in event_log.alerts(database)[::-1]]
    assert summaries == ["the registry does not answer", "write 1 failed", "no space left"]
    run_cycle(run, "2011-03-04")


@pytest.mark.slow
def test_flow_of_a_cycle_alerts_about_a_store_that_stays_down(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bike_demand import flows  # imports Prefect, which takes seconds

    monkeypatch.setattr(flows, "run_as_task", lambda _, step: step())
    monkeypatch.setattr(flows, "_check_stores", unreachable)
    monkeypatch.setattr(cycle, "evaluate_signals", unreachable)
    with pytest.raises(UnreachableError):
        flows.monitoring_cycle.fn(FIRST_OF_MARCH)
    assert alert_titles(database) == ["Loop failure: monitoring cycle"]


def test_concurrent_cycles_are_refused(database: Database, run: Run) -> None:
    with lock(database, "loop"):
        assert "another loop is running" in run("agent", "--once", "--as-of", BEGAN).refusal()


# ---- what is shown


@pytest.mark.usefixtures("live_project")
def test_incidents_as_text_and_json(run: Run) -> None:
    assert run("incidents").out == "No incidents so far.\n"
    run_cycle(run, BEGAN)
    promote_out_of_band(2)
    log_constant(2, 400.0, "2011-03-01", "2011-03-02", previous=(1, 50.0))
    run_cycle(run, "2011-03-02")
    assert "1. bad-release, version 2: since 2011-03-01, ongoing" in run("incidents").out
    run_cycle(run, "2011-03-03")
    out = run("incidents").out
    assert "1. bad-release, version 2: since 2011-03-01, until 2011-03-03" in out
    assert re.search(r"predictions by rolled back 24, error rolled back [\d.]+", out)
    assert re.search(r"predictions by previous 24, error previous [\d.]+", out)
    (reported,) = json.loads(run("incidents", "--json").out)
    assert (reported["subject"], reported["regression_case"], reported["ended_at"]) == (
        "version 2",
        None,
        "2011-03-03T00:00:00",
    )
