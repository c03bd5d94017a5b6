"""The A/B test from its beginning to its end: `ab step`, `ab status` and `ab stop`."""

import errno
import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime, timedelta
from functools import partial
from html import unescape
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock
from sqlalchemy import select

from bike_demand.__main__ import main
from bike_demand.core.current import INPUT_COLUMNS, identity_fields
from bike_demand.core.settings import REPORTS, load_settings
from bike_demand.release import deploy as delivery
from bike_demand.release.ab import step as step_module
from bike_demand.release.ab.evidence import ComparisonKind, Evidence
from bike_demand.release.decision import page_of
from bike_demand.release.gates import Gate, GateContext, GateResult
from bike_demand.store.database import open_database
from bike_demand.store.deployments import DATABASE_TAG, Deployments, history, open_deployments
from bike_demand.store.tables import Deployment, State
from bike_demand.store.tracking import CHAMPION, MODEL_NAME, Tracking
from bike_demand.store.traffic_split import CHALLENGER, PREVIOUS
from tests.conftest import ROOT, Run, project_in
from tests.predictions import log, model_with_error, rows_between, store_outcomes
from tests.project_copy import change_params
from tests.registry import copy_state, current_deployment, register
from tests.service import running
from tests.tiny import constant

BEGAN = "2011-03-01"
DAYS = load_settings(ROOT / "params.yaml").ab.days  # that a test takes at most


class KilledError(BaseException):
    """In the place of a process that ends in the middle of something."""


T = TypeVar("T")
Deploy = Callable[[int, str], list[str]]


def after(days: int) -> str:
    """So many days after a test began."""
    return (date.fromisoformat(BEGAN) + timedelta(days=days)).isoformat()


@pytest.fixture(scope="session")
def deployed_template(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A project in which version 1 is live, with ingested data; copying it is faster."""
    folder = tmp_path_factory.mktemp("deployed_template")
    with project_in(folder, empty_store):
        assert main(["ingest"]) == 0
        register(constant(folder / "model", 50.0))
        delivery.deploy(load_settings(), "1", datetime(2011, 2, 20), print, gates=())
    return folder


@pytest.fixture
def deploy(deployed_template: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Takes a version to its test, without gates; version 1 is live. The feed has three months."""
    copy_state(deployed_template, project)
    shutil.copytree(deployed_template / "model", project / "model")
    change_params(project, watch_days="7")
    monkeypatch.setattr(step_module, "deploy", partial(delivery.deploy, gates=()))

    def call(number: int, day: str) -> list[str]:
        while len(Tracking(load_settings()).versions()) < number:
            register(project / "model")
        output: list[str] = []
        delivery.deploy(load_settings(), str(number), datetime.fromisoformat(day), output.append, gates=())
        return output

    return call


@pytest.fixture(scope="session")
def tested_template(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, deployed_template: Path
) -> Path:
    folder = tmp_path_factory.mktemp("tested")
    with project_in(folder, empty_store):
        shutil.rmtree("state")
        copy_state(deployed_template, folder)
        register(deployed_template / "model")
        output: list[str] = []
        delivery.deploy(load_settings(), "2", datetime.fromisoformat(BEGAN), output.append, gates=())
        assert "starts" in output[0]
    return folder


@pytest.fixture
def tested(deploy: Deploy, tested_template: Path, project: Path) -> Tracking:
    """Version 2 is under test against version 1 since the first of March; `deploy` takes others to theirs."""
    assert callable(deploy)
    shutil.rmtree(project / "state")
    copy_state(tested_template, project)
    return Tracking(load_settings())


def answered(until: str, champion: float, challenger: float, since: str = BEGAN) -> None:
    rows = rows_between(since, until)
    log(rows, (1, model_with_error(champion)), (2, model_with_error(challenger)))
    store_outcomes(rows)


def known(tracking: Tracking) -> tuple[object, ...]:
    """All that a step may change."""
    versions = [(each.number, dict(each.tags)) for each in tracking.versions()]
    with closing(open_database(f"sqlite:///{Path('state', 'production.db')}")) as database:
        rows = [(each.id, each.state, each.reason) for each in database.all(select(Deployment))]
        return tracking.aliases(), versions, rows, len(history(database))


def evidence(number: int, kind: ComparisonKind = ComparisonKind.TEST) -> Evidence:
    """What was stored with the version's deployment, which is on a page too."""
    row = current_deployment(number)
    stored = Evidence.model_validate(row.ab if kind is ComparisonKind.TEST else row.watch)
    assert stored.reason in unescape(page_of(number).read_text(encoding="utf-8"))
    return stored


@pytest.mark.slow
def test_better_challenger_goes_live_early_and_is_watched(tested: Tracking, run: Run) -> None:
    answered("2011-03-05", 20.0, 10.0)
    for day in ("2011-03-02", "2011-03-03", "2011-03-04"):
        output = run("ab", "step", "--as-of", day)
        assert (output.status, output.err) == (0, "")
        assert f"Testing version 2 against version 1 until {after(DAYS)}" in output.out
        assert tested.aliases()[CHAMPION] == 1
    output = run("ab", "step", "--as-of", "2011-03-05")
    assert output.out.startswith(
        "Version 2 won its A/B test and is live: an error 5% higher is ruled out: error ratio 0.49"
    )
    assert (tested.aliases()[CHAMPION], tested.aliases()[PREVIOUS]) == (2, 1)
    assert CHALLENGER not in tested.aliases()
    kept = evidence(2)
    assert (kept.verdict, kept.rows, len(kept.days)) == ("promote", len(rows_between(BEGAN, "2011-03-05")), 4)
    assert current_deployment(2).state is State.LIVE
    page = page_of(2).read_text(encoding="utf-8")
    assert "error 5% higher is ruled out" in page
    assert page.count("<circle") == len(kept.days)


@pytest.mark.parametrize(
    ("until", "champion", "challenger"),
    [
        pytest.param("2011-03-03", 20.0, 19.5, id="kept on"),
        pytest.param("2011-03-05", 20.0, 10.0, id="promoted", marks=pytest.mark.slow),
        pytest.param("2011-03-05", 10.0, 14.0, id="rejected", marks=pytest.mark.slow),
    ],
)
def test_repeated_step_changes_nothing(
    tested: Tracking, run: Run, until: str, champion: float, challenger: float
) -> None:
    answered(until, champion, challenger)
    assert run("ab", "step", "--as-of", until).status == 0
    before = known(tested)
    output = run("ab", "step", "--as-of", until)
    assert (output.status, output.err) == (0, "")
    assert known(tested) == before


def test_a_worse_challenger_is_rejected_and_the_champion_stays(tested: Tracking, run: Run) -> None:
    answered("2011-03-05", 10.0, 14.0)
    output = run("ab", "step", "--as-of", "2011-03-05")
    assert output.out.startswith("Version 2 is rejected: a lower error is ruled out: error ratio 1.39")
    assert "Version 1 stays." in output.out
    assert (tested.aliases()[CHAMPION], tested.aliases().get(CHALLENGER)) == (1, None)
    assert evidence(2).verdict == "reject"
    assert current_deployment(2).state is State.FAILED_TEST
    assert run("ab", "step", "--as-of", "2011-03-06").out.startswith("No test or watch is running")


def test_the_guard_stops_a_challenger_that_is_far_worse_after_its_first_day(
    tested: Tracking, run: Run
) -> None:
    answered("2011-03-02", 10.0, 40.0)
    output = run("ab", "step", "--as-of", "2011-03-02")
    assert output.out.startswith("Version 2 is rejected: far worse: error ratio")
    assert tested.aliases().get(CHALLENGER) is None
    assert evidence(2).verdict == "stop"


@pytest.mark.parametrize(
    "variable",
    [
        pytest.param("MLFLOW_TRACKING_URI", marks=pytest.mark.slow),
        "BIKE_ENVIRONMENTS__PRODUCTION__DATABASE",
    ],
)
def test_registry_and_database_that_do_not_belong_together_are_left_alone(
    tested: Tracking, deploy: Deploy, run: Run, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    deploy(3, "2011-03-02")
    change_params(Path(), mode="shadow")
    before = known(tested)
    with monkeypatch.context() as patch:
        patch.setenv(variable, "sqlite:///state/forgotten.db")
        shown = run("ab", "status", "--as-of", "2011-03-03")
        assert (shown.status, "does not belong to" in shown.out) == (0, True)
        assert "does not belong to" in run("ab", "step", "--as-of", "2011-03-03").refusal()
    assert known(tested) == before


def test_only_a_command_that_decides_takes_over_a_registry_without_the_tag(
    tested: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tested.client() as client:
        client.delete_registered_model_tag(MODEL_NAME, DATABASE_TAG)
    before = known(tested)
    with monkeypatch.context() as patch:
        patch.setenv("BIKE_ENVIRONMENTS__PRODUCTION__DATABASE", "sqlite:///state/forgotten.db")
        assert "ab step)" in run("ab", "status", "--as-of", "2011-03-03").out
    assert "ab step)" in run("ab", "status", "--as-of", "2011-03-03").out
    assert (known(tested), tested.registered_model()[1]) == (before, {})
    assert run("ab", "step", "--as-of", "2011-03-03").status == 0
    assert (known(tested), set(tested.registered_model()[1])) == (before, {DATABASE_TAG})


def test_incomplete_day_is_ignored(tested: Tracking, run: Run) -> None:
    answered("2011-03-02", 10.0, 40.0)
    output = run("ab", "step", "--as-of", "2011-03-01T23:00:00")
    assert "no row has an outcome yet" in output.out
    assert tested.aliases()[CHALLENGER] == 2


def test_rows_whose_outcome_is_late_wait_for_it(tested: Tracking, run: Run) -> None:
    rows = rows_between(BEGAN, "2011-03-05")
    log(rows, (1, model_with_error(20.0)), (2, model_with_error(10.0)))
    store_outcomes(rows[:40])
    output = run("ab", "status", "--as-of", "2011-03-05")
    assert f"40 with an outcome, {len(rows) - 40} without" in output.out
    assert "Testing version 2" in run("ab", "step", "--as-of", "2011-03-05").out
    store_outcomes(rows)
    assert "Version 2 won its A/B test" in run("ab", "step", "--as-of", "2011-03-05").out
    assert tested.aliases()[CHAMPION] == 2


@pytest.mark.usefixtures("tested")
def test_the_status_compares_planned_and_observed_share(run: Run) -> None:
    rows = rows_between(BEGAN, "2011-03-05")
    log(rows, (1, model_with_error(20.0)), (2, model_with_error(10.0)))
    store_outcomes(rows)
    out = run("ab", "status", "--as-of", "2011-03-05").out
    assert "planned 50% (sample-ratio test: p = " in out
    assert "warning" not in out

    lost = rows_between("2011-03-05", "2011-03-29")  # enough days if a day is the unit
    log(
        lost, (1, model_with_error(20.0)), (2, model_with_error(20.0)), "shadow"
    )  # as if the challenger's rows were not logged
    store_outcomes(lost)
    assert "warning: sample-ratio mismatch" in run("ab", "status", "--as-of", "2011-03-29").out


@pytest.mark.usefixtures("tested")
def test_a_setting_that_differs_from_the_running_test_is_named(run: Run, project: Path) -> None:
    assert "warning" not in run("ab", "status", "--as-of", BEGAN).out
    change_params(project, share="0.2")
    for command in ("status", "step"):
        out = run("ab", command, "--as-of", BEGAN).out
        assert "warning: ab.share is 0.2 in params.yaml, but the running test of version 2 keeps 0.5" in out


def test_a_test_without_outcomes_waits_for_them_but_not_forever(tested: Tracking, run: Run) -> None:
    rows = rows_between(BEGAN, "2011-03-20")
    log(rows, (1, model_with_error(20.0)), (2, model_with_error(20.6)))
    store_outcomes(rows[::3])
    for day in (after(DAYS), after(2 * DAYS - 1)):
        assert f"too few outcomes after {DAYS} days" in run("ab", "step", "--as-of", day).out
    output = run("ab", "step", "--as-of", after(2 * DAYS))
    assert f"Version 2 is rejected: too few outcomes in {2 * DAYS} days" in output.out
    assert tested.aliases()[CHAMPION] == 1


def test_reference_time_uses_feed_and_outcomes(deploy: Deploy, run: Run, project: Path) -> None:
    (project / "feed" / "2011-03.csv").rename(project / "later.csv")
    rows = rows_between(BEGAN, "2011-03-05")
    assert run("ingest").status == 0  # what was ingested ends with February
    deploy(2, "2011-03-01")
    log(rows, (1, model_with_error(20.0)), (2, model_with_error(10.0)))
    store_outcomes(rows)
    assert "Version 2 won its A/B test" in run("ab", "step").out


def test_a_test_too_short_for_the_usual_bounds_is_decided_at_the_end_of_its_extension(
    tested: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIKE_AB__DAYS", "1")
    answered("2011-03-03", 20.0, 10.0)
    assert "Version 2 won its A/B test" in run("ab", "step", "--as-of", "2011-03-03").out
    assert tested.aliases()[CHAMPION] == 2


def test_trace_shows_the_test_in_which_the_prediction_was_made(
    tested: Tracking, deploy: Deploy, run: Run, project: Path
) -> None:
    models = (1, model_with_error(20.0)), (2, model_with_error(10.0))
    before, first = log(rows_between("2011-02-28", "2011-03-03")[::48], *models)[:2]
    assert run("ab", "stop", "--reason", "another share", "--as-of", "2011-03-04").status == 0
    change_params(project, share="0.2")
    assert "starts" in deploy(2, "2011-03-05")[0]
    (second,) = log(rows_between("2011-03-06", "2011-03-07")[:1], *models)
    shares = [
        json.loads(run("trace", each, "--json").out)["traffic_split"]["share"]
        for each in (before, first, second)
    ]
    assert shares == [0.5, 0.5, 0.2]
    assert tested.aliases()[CHALLENGER] == 2


def lose_feed() -> None:
    """Only outcomes tell the time then."""
    Path("feed").rename("aside")
    shutil.rmtree("state/data")


@pytest.mark.parametrize("is_full", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_reference_time_without_data_uses_outcomes_also_after_an_outage(
    tested: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    answered("2011-03-03", 20.0, 20.0)
    answered("2011-03-31", 20.0, 60.0, since="2011-03-24")
    lose_feed()
    if is_full:

        def write(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(step_module, "ingest", write)
    output = run("ab", "step").out
    assert "warning: the reference time may be outdated" in output
    assert "Version 2 is rejected: far worse" in output
    assert CHALLENGER not in tested.aliases()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("is_lost", "how", "begins"),
    [
        (False, "ab step", "2011-04-01"),
        (True, "ab step", "2011-03-05"),
        (True, "deploy", "2011-03-05"),
        (True, "release", "2011-03-05"),
    ],
)
@pytest.mark.usefixtures("tested")
def test_next_test_or_watch_does_not_begin_in_the_past(
    deploy: Deploy, run: Run, is_lost: bool, how: str, begins: str
) -> None:
    deploy(3, "2011-03-02")
    answered("2011-03-05", 10.0, 14.0)
    far = [rows_between("2011-03-03", "2011-03-04")[0].model_copy(update={"begins": datetime(2012, 6, 13)})]
    log(far, (1, model_with_error(10.0)))
    store_outcomes(far)
    assert run("ingest", "--as-of", "2011-03-02").status == 0
    if is_lost:
        Path("feed").rename("aside")
    if how == "deploy":
        assert run("ab", "stop", "--reason", "a better one").status == 0
        delivery.deploy(load_settings(), "3", None, print, gates=())
    elif how == "release":
        delivery.release(load_settings(), "3", "a better one", None, print, gates=())
    else:
        assert "Version 3 passed all gates" in run("ab", "step").out
    row = current_deployment(3)
    began = datetime.fromisoformat(row.test["began"]) if row.test else row.changed_at
    assert began == datetime.fromisoformat(begins)


@pytest.mark.slow
def test_shadow_test_is_decided_but_never_shown(deploy: Deploy, run: Run, project: Path) -> None:
    change_params(project, mode="shadow")
    assert "shadow test" in deploy(2, BEGAN)[0]
    rows = rows_between(BEGAN, "2011-03-05")
    log(rows, (1, model_with_error(20.0)), (2, model_with_error(10.0)), role="shadow")
    store_outcomes(rows)
    output = run("ab", "status", "--as-of", "2011-03-05").out
    assert "never shown (shadow)" in output
    assert "sample-ratio" not in output  # nothing is randomized
    assert "Version 2 won its A/B test" in run("ab", "step", "--as-of", "2011-03-05").out
    kept = evidence(2)
    assert kept.days[0].shown == 0


def promoted(run: Run) -> None:
    answered("2011-03-05", 20.0, 10.0)
    assert "won its A/B test" in run("ab", "step", "--as-of", "2011-03-05").out


def watched(until: str, before: float, now: float) -> None:
    rows = rows_between("2011-03-05", until)
    log(rows, (2, model_with_error(now)), (1, model_with_error(before)), role="previous")
    store_outcomes(rows)


@pytest.mark.parametrize(("error", "until"), [(50.0, "2011-03-06"), (20.0, "2011-03-08")])
def test_a_promotion_that_turns_out_worse_is_rolled_back_by_itself(
    tested: Tracking, run: Run, error: float, until: str
) -> None:
    promoted(run)
    watched(until, 12.0, error)
    output = run("ab", "step", "--as-of", until)
    assert (output.status, output.err) == (0, "")
    assert "Version 1 is live again, instead of version 2 (found worse by its watch: " in output.out
    assert (tested.aliases()[CHAMPION], tested.aliases().get(PREVIOUS)) == (1, None)
    assert (current_deployment(2).state, current_deployment(2).reason[:26]) == (
        State.ROLLED_BACK,
        "found worse by its watch: ",
    )
    kept = evidence(2, ComparisonKind.WATCH)
    assert (kept.verdict, kept.comparison.kind) == ("roll back", ComparisonKind.WATCH)
    before = known(tested)
    assert run("ab", "step", "--as-of", until).status == 0
    assert known(tested) == before


def test_steps_that_are_repeated_promote_and_roll_back_once(tested: Tracking) -> None:
    output: list[str] = []

    def again(_name: str, run: Callable[[], T]) -> T:
        run()
        shutil.rmtree(REPORTS, ignore_errors=True)  # as if it had failed before it wrote the pages
        return run()

    def step(day: str) -> str:
        step_module.step(load_settings(), datetime.fromisoformat(day), output.append, again)
        return output[-1]

    answered("2011-03-05", 20.0, 10.0)
    assert step("2011-03-05").startswith("Version 2 won its A/B test and is live")
    assert current_deployment(2).is_watched
    assert "Version 1: retired" in page_of(1).read_text(encoding="utf-8")
    watched("2011-03-06", 12.0, 50.0)
    assert step("2011-03-06").startswith("Version 1 is live again, instead of version 2 (found worse by")
    assert tested.aliases() == {CHAMPION: 1}
    assert [current_deployment(each).state for each in (1, 2)] == [State.LIVE, State.ROLLED_BACK]


@pytest.mark.slow
def test_a_watch_of_a_few_rows_does_not_end_as_if_nothing_were_wrong(tested: Tracking, run: Run) -> None:
    promoted(run)
    rows = rows_between("2011-03-05", "2011-03-06")[:10]
    log(rows, (2, model_with_error(10.0)), (1, model_with_error(12.0)), "previous")
    store_outcomes(rows)  # then users are silent
    output = run("ab", "step", "--as-of", "2011-03-12").out
    assert "too few outcomes after 7 days" in output
    assert tested.aliases()[PREVIOUS] == 1
    output = run("ab", "step", "--as-of", "2011-03-19").out
    assert "too few outcomes in 14 days for a verdict" in output
    assert PREVIOUS not in tested.aliases()


@pytest.mark.slow
def test_a_watch_that_sees_nothing_wrong_ends(tested: Tracking, run: Run) -> None:
    promoted(run)
    watched("2011-03-12", 12.0, 10.0)
    assert "Watching version 2 until 2011-03-12" in run("ab", "step", "--as-of", "2011-03-11").out
    assert tested.aliases()[PREVIOUS] == 1
    assert "watched for 7 days" in run("ab", "step", "--as-of", "2011-03-12").out
    assert tested.aliases().get(PREVIOUS) is None
    assert tested.aliases()[CHAMPION] == 2
    assert evidence(2, ComparisonKind.WATCH).verdict == "end"


def test_far_future_outcome_does_not_move_reference_time(tested: Tracking, run: Run) -> None:
    answered("2011-03-03", 10.0, 10.1)
    far = [rows_between("2011-03-03", "2011-03-04")[0].model_copy(update={"begins": datetime(2012, 6, 13)})]
    log(far, (1, model_with_error(10.0)), (2, model_with_error(10.0)))
    store_outcomes(far)
    lose_feed()
    output = run("ab", "step").out
    assert "against version 1 until" in output
    assert "rows of 2 days" in output
    assert tested.aliases()[CHALLENGER] == 2


@pytest.mark.slow
def test_newest_queued_version_is_tested_next(tested: Tracking, deploy: Deploy, run: Run) -> None:
    assert "is queued until the test of version 2 ends" in deploy(3, "2011-03-02")[0]
    assert "is queued until the test of version 2 ends" in deploy(4, "2011-03-03")[0]
    answered("2011-03-05", 10.0, 14.0)
    output = run("ab", "step", "--as-of", "2011-03-05").out.splitlines()
    assert output[0].startswith("Version 2 is rejected")
    assert output[1] == "Version 3 is not tested: version 4 is newer."
    assert "Version 4 passed all gates; its A/B test against version 1 starts" in output[2]
    assert tested.aliases()[CHALLENGER] == 4
    assert current_deployment(3).state is State.SUPERSEDED
    before = known(tested)
    assert "Testing version 4" in run("ab", "step", "--as-of", "2011-03-05").out
    assert known(tested) == before


def test_queued_version_is_withdrawn(tested: Tracking, deploy: Deploy, run: Run, project: Path) -> None:
    register(project / "model")
    with open_deployments(load_settings(), datetime(2011, 3, 2), print) as deployments:
        deployments.create(tested.version(3), "somebody", "an emergency")  # interrupted in its gates
    deploy(3, "2011-03-02")
    stop = ("ab", "stop", "--as-of", "2011-03-03", "--reason")
    assert "reason" in run(*stop, " ", "3").refusal()
    assert "version 1 is neither tested, queued" in run(*stop, "it is wrong", "champion").refusal()
    assert "Version 3 is withdrawn" in run(*stop, "learned from the wrong month", "latest").out
    assert current_deployment(3).state is State.SUPERSEDED
    assert tested.aliases()[CHALLENGER] == 2
    assert "version 3" not in run("ab", "status", "--as-of", "2011-03-03").out.lower()
    assert "version 3 is neither tested, queued" in run(*stop, "it is wrong", "3").refusal()
    assert "The test of version 2 is stopped" in run(*stop, "it is wrong", "2").out


@pytest.mark.slow
def test_watch_without_outcomes_is_ended_for_a_queued_version(
    tested: Tracking, deploy: Deploy, run: Run
) -> None:
    promoted(run)
    deploy(3, "2011-03-06")
    stop = ("ab", "stop", "--reason", "the feed stopped", "--as-of", "2011-03-08")
    assert "name it: 3, 2" in run(*stop).refusal()
    assert "Version 2 is watched no longer" in run(*stop, "2").out
    assert tested.aliases() == {CHAMPION: 2}
    assert "against version 2 starts" in run("ab", "step", "--as-of", "2011-03-08").out


@pytest.mark.slow
def test_queued_version_starts_after_watch_against_new_champion(
    tested: Tracking, deploy: Deploy, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(3, "2011-03-02")
    promoted(run)
    watched("2011-03-12", 12.0, 10.0)
    assert "Watching version 2" in run("ab", "step", "--as-of", "2011-03-08").out
    assert tested.aliases().get(CHALLENGER) is None
    compared: list[int | None] = []

    def judge(case: GateContext) -> GateResult:
        compared.append(None if case.champion is None else case.champion.number)
        return GateResult(False, "it is worse than that", {})

    gate = Gate("error", "Error", judge, compares=True)
    monkeypatch.setattr(step_module, "deploy", partial(delivery.deploy, gates=(gate,)))
    output = run("ab", "step", "--as-of", "2011-03-12")
    assert output.status == 0
    assert compared == [2]
    assert "Version 3 was not deployed: version 3 is refused by gate error" in output.out
    assert current_deployment(3).state is State.FAILED_GATE
    assert tested.aliases().get(CHALLENGER) is None


@pytest.mark.slow
def test_queued_version_whose_gates_were_interrupted_is_resumed(
    tested: Tracking, deploy: Deploy, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(3, "2011-03-02")
    answered("2011-03-05", 10.0, 14.0)

    def killed(_: GateContext) -> GateResult:
        raise KilledError

    with monkeypatch.context() as patch:
        gates = (Gate("late", "It ends", killed),)
        patch.setattr(step_module, "deploy", partial(delivery.deploy, gates=gates))
        with pytest.raises(KilledError):
            run("ab", "step", "--as-of", "2011-03-05")
    assert (current_deployment(3).state, tested.aliases()) == (State.VALIDATING, {CHAMPION: 1})
    assert "A/B test against version 1 starts" in run("ab", "step", "--as-of", "2011-03-05").out
    assert tested.aliases() == {CHAMPION: 1, CHALLENGER: 3}


def test_a_promotion_that_was_cut_off_is_finished_by_the_next_step(
    tested: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered("2011-03-05", 20.0, 10.0)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KilledError

        patch.setattr(Deployments, "remove_alias", killed)
        with pytest.raises(KilledError):
            run("ab", "step", "--as-of", "2011-03-05")
    assert tested.aliases() == {CHALLENGER: 2, CHAMPION: 1, PREVIOUS: 1}
    output = run("ab", "step", "--as-of", "2011-03-05").out
    assert "Completed the interrupted transition to live" in output
    assert "Watching version 2" in output
    assert tested.aliases() == {CHAMPION: 2, PREVIOUS: 1}


def test_a_person_may_stop_a_test(tested: Tracking, run: Run) -> None:
    assert run("ab", "stop").status == 2
    output = run("ab", "stop", "--reason", "the machine moved", "--as-of", "2011-03-02")
    assert output.out.startswith("The test of version 2 is stopped; version 1 stays.")
    assert tested.aliases().get(CHALLENGER) is None
    assert evidence(2).reason == "stopped by a person: the machine moved"
    assert "no test is running" in run("ab", "stop", "--reason", "again").refusal()


def test_step_is_refused_during_deployment(tested: Tracking, run: Run) -> None:
    with FileLock("state/.production.db.deployment"):
        assert "another deployment is running" in run("ab", "step", "--as-of", BEGAN).refusal()
    assert tested.aliases()[CHALLENGER] == 2


def test_the_status_has_numbers_and_changes_nothing(tested: Tracking, run: Run) -> None:
    answered("2011-03-04", 20.0, 18.0)
    before = known(tested)
    output = run("ab", "status", "--as-of", "2011-03-04")
    assert (output.status, output.err) == (0, "")
    assert "Version 2 is tested against version 1, shown for 50% of the" in output.out
    assert "continue: undecided so far" in output.out
    assert known(tested) == before


def test_the_status_says_when_there_is_no_test(deploy: Deploy, run: Run) -> None:
    assert deploy(1, BEGAN)
    output = run("ab", "status")
    assert output.out.startswith("No test is running: version 1 is live, with no counterpart.")


@pytest.mark.usefixtures("stored")
def test_before_anything_is_live_there_is_nothing_to_do(run: Run) -> None:
    assert run("ab", "status").out == "No test is running: nothing is live.\n"
    assert run("ab", "step").out.startswith("No test or watch is running")


def test_a_database_that_is_away_is_reported_in_one_line(
    tested: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "BIKE_ENVIRONMENTS__PRODUCTION__DATABASE", "postgresql+psycopg://nobody@127.0.0.1:9/none"
    )
    before = known(tested)
    for argv in (("ab", "step"), ("ab", "status"), ("trace", "0" * 32)):
        assert "127.0.0.1:9" in run(*argv).refusal()
    assert known(tested) == before


def test_corrupted_tag_is_rewritten(tested: Tracking, run: Run) -> None:
    before = tested.version(2).tags["ab"]
    tested.tag(2, {"ab": json.dumps({"mode": "ab"})})
    assert run("ab", "step", "--as-of", BEGAN).status == 0
    assert tested.version(2).tags["ab"] == before


@pytest.mark.slow
def test_ab_test_end_to_end_with_real_service(deploy: Deploy, run: Run, project: Path) -> None:
    deploy(1, BEGAN)
    register(constant(project / "better", 120.0))
    deploy(2, BEGAN)
    rows = [row for row in rows_between(BEGAN, "2011-03-05") if row.amount > 100]
    requested = [row.model_dump(mode="json", include=set(INPUT_COLUMNS)) for row in rows]
    outcomes = [identity_fields(row) | {"amount": row.amount} for row in rows]
    with running(project) as service:
        answers = service.client.post("/predict", json=requested).raise_for_status().json()
        assert {each["variant"] for each in answers} == {"champion", "challenger"}
        assert {each["prediction"] for each in answers} == {50.0, 120.0}
        service.client.post("/outcomes", json=outcomes).raise_for_status()
        until = time.monotonic() + 20
        while f"{len(rows)} with an outcome" not in run("ab", "status", "--as-of", "2011-03-05").out:
            assert time.monotonic() < until, "the answers did not come to the log"
            time.sleep(0.1)
        output = run("ab", "step", "--as-of", "2011-03-05")
        assert (output.status, output.err) == (0, "")
        assert "Version 2 won its A/B test" in output.out
        assert "Live in 1 of 1 production worker." in output.out
        now = service.client.post("/predict", json=requested[0]).raise_for_status().json()
        assert (now["prediction"], now["variant"]) == (120.0, "champion")
    traced = json.loads(run("trace", answers[0]["id"], "--json").out)
    assert traced["traffic_split"]["variant"] == answers[0]["variant"]
    assert str(traced["model"]["version"]) == str(answers[0]["model_version"])
    assert traced["prediction"]["outcome"] == rows[0].amount
    number = traced["model"]["version"]
    assert traced["deployment"]["id"] == current_deployment(number).id
