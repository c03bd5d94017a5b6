"""Going back to the last good version: what is live then, what is kept of it, and that no user notices."""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from bike_demand.core.errors import UnreachableError
from bike_demand.core.settings import load_settings
from bike_demand.release.decision import page_of
from bike_demand.release.rollback import roll_back_champion
from bike_demand.store.database import open_database
from bike_demand.store.deployments import Deployments, history, open_deployments
from bike_demand.store.tables import State, Worker
from bike_demand.store.tracking import Tracking
from tests.conftest import Run, project_in
from tests.load import loaded
from tests.registry import copy_state, current_deployment, deploy_without_gates, register
from tests.service import running
from tests.tiny import constant

NOW = datetime(2011, 4, 5)
LIVE_SECONDS = 5.0  # after the alias moved, in every worker


@pytest.fixture(scope="session")
def live_template(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    folder = tmp_path_factory.mktemp("live")
    with project_in(folder, empty_store):
        for number in (1, 2, 3):
            register(constant(folder / str(number), float(number)))
            deploy_without_gates(number, at=NOW - timedelta(days=10 - number))
    return folder


@pytest.fixture
def tracking(project: Path, live_template: Path) -> Tracking:
    """Three versions went live one after the other: 1, 2, 3."""
    copy_state(live_template, project)
    return Tracking(load_settings())


def back(reason: str = "nonsense") -> str:
    with open_deployments(load_settings(), NOW, print, locked=False) as deployments:
        return roll_back_champion(deployments, reason)


def test_the_version_before_is_live_again_and_the_bad_one_is_blocked(tracking: Tracking) -> None:
    assert back() == (
        "Version 2 is live again, instead of version 3 (nonsense). No production service is running; the"
        " change takes effect when one starts."
    )
    assert tracking.aliases() == {"champion": 2}


def test_it_is_stored_with_what_was_live_why_and_what_became_of_it(tracking: Tracking) -> None:
    back()
    bad, good = current_deployment(3), current_deployment(2)
    assert (bad.state, bad.changed_at, bad.reason, bad.against) == (State.ROLLED_BACK, NOW, "nonsense", 2)
    assert (good.state, good.changed_at) == (State.LIVE, NOW)
    assert tracking.version(2).tags["deployment"] == good.id
    with closing(open_database(load_settings().environments.production.database)) as database:
        changes = [(each.new, each.reason) for each in history(database, good.id)]
    assert changes[-2:] == [
        (State.RETIRED, "version 3 went live"),
        (State.LIVE, "instead of version 3: nonsense"),
    ]


@pytest.mark.usefixtures("tracking")
def test_the_page_of_the_deployment_says_that_it_was_rolled_back() -> None:
    back("nonsense at night")
    page = page_of(3).read_text(encoding="utf-8")
    assert "rolled back" in page
    assert "nonsense at night" in page


@pytest.mark.slow
def test_without_an_earlier_version_a_test_under_way_can_be_stopped(project: Path, run: Run) -> None:
    assert project
    tracking = Tracking(load_settings())
    for number in (1, 2):
        register(constant(Path(str(number)), float(number)), tracking=tracking)
    deploy_without_gates(1)
    tracking.set_alias("challenger", 2)
    assert "challenger was set to version 2 out of band" in run("ab", "step", "--as-of", "2011-04-06").out
    assert "ab stop --reason TEXT" in run("rollback", "--as-of", "2011-04-06").refusal()


def test_a_version_that_cannot_be_loaded_is_refused_before_any_alias_moves(
    tracking: Tracking, run: Run
) -> None:
    (model,) = Path("state").glob(f"artifacts/*/{tracking.version(2).run_id}/artifacts/handoff/model.onnx")
    model.write_bytes(model.read_bytes()[:-1])
    before = tracking.aliases()
    refusal = run("rollback", "--as-of", "2011-04-05").refusal()
    assert "version 2, the last good one, cannot be loaded" in refusal
    assert "checksum mismatch" in refusal
    assert tracking.aliases() == before
    assert (current_deployment(3).state, current_deployment(2).state) == (State.LIVE, State.RETIRED)


@pytest.mark.slow
def test_going_back_twice_skips_what_was_rolled_back(tracking: Tracking, run: Run, project: Path) -> None:
    assert project
    back()
    register(constant(Path("4"), 4.0), tracking=tracking)
    deploy_without_gates(4, at=NOW)
    back()
    assert tracking.aliases() == {"champion": 2}
    back()
    assert tracking.aliases() == {"champion": 1}
    assert "no earlier champion can be restored" in run("rollback", "--as-of", "2011-04-06").refusal()
    assert tracking.aliases() == {"champion": 1}
    assert current_deployment(1).state is State.LIVE


def test_a_test_under_way_ends(tracking: Tracking) -> None:
    register(constant(Path("4"), 4.0), tracking=tracking)
    deploy_without_gates(4, State.TESTING, at=NOW)
    back()
    assert tracking.aliases() == {"champion": 2}
    assert current_deployment(4).state is State.SUPERSEDED
    assert "version 3" in current_deployment(4).reason


@pytest.mark.slow
@pytest.mark.usefixtures("tracking")
def test_by_the_command_with_and_without_a_reason(run: Run) -> None:
    output = run("rollback", "--reason", "too low", "--as-of", "2011-04-05")
    assert (output.status, output.err) == (0, "")
    assert output.out.startswith("Version 2 is live again, instead of version 3 (too low).")
    output = run("rollback", "--as-of", "2011-04-05")
    assert output.out.startswith("Version 1 is live again, instead of version 2 (no reason given).")


@pytest.mark.parametrize(
    "at",
    [(Tracking, "set_alias"), pytest.param((Deployments, "remove_alias"), marks=pytest.mark.slow)],
    ids=["before", "after"],
)
def test_a_repeated_command_completes_the_interrupted_one_and_does_no_more(
    tracking: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch, at: tuple[type, str]
) -> None:
    def away(*_: object) -> None:
        raise UnreachableError("the registry does not respond")

    with monkeypatch.context() as patch:
        patch.setattr(*at, away)
        refusal = run("rollback", "--as-of", "2011-04-05").refusal()
        assert "version 3 is rolled back in the database" in refusal
        assert "do not repeat this one (the registry does not respond)" in refusal
    assert "Version 2 is live now." in run("rollback", "--as-of", "2011-04-05").out
    assert tracking.aliases() == {"champion": 2}
    assert [current_deployment(each).state for each in (2, 3)] == [State.LIVE, State.ROLLED_BACK]
    assert "Version 1 is live again" in run("rollback", "--as-of", "2011-04-05").out


def test_an_interrupted_promotion_is_not_taken_for_the_rollback(
    tracking: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise UnreachableError("the registry does not respond")

    register(constant(Path("4"), 4.0), tracking=tracking)
    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "set_alias", away)
        with pytest.raises(UnreachableError):
            deploy_without_gates(4, at=NOW)
    assert "Version 3 is live again, instead of version 4" in run("rollback", "--as-of", "2011-04-05").out
    assert tracking.aliases() == {"champion": 3}


@pytest.mark.slow
def test_older_versions_that_waited_when_a_later_one_went_live_stay_ended_after_its_rollback(
    tracking: Tracking, run: Run
) -> None:
    for number in (4, 5, 6, 7):
        register(constant(Path(str(number)), float(number)), tracking=tracking)
    deploy_without_gates(4, State.VALIDATING, at=NOW)
    assert "the next step resumes them" in run("ab", "status", "--as-of", "2011-04-05").out
    deploy_without_gates(5, State.QUEUED, at=NOW)
    deploy_without_gates(7, State.VALIDATING, at=NOW)
    deploy_without_gates(6, at=NOW)
    back()
    status = run("ab", "status", "--as-of", "2011-04-05").out
    assert [status.count(each) for each in ("the next step ends", "the next step resumes")] == [2, 1]
    out = run("ab", "step", "--as-of", "2011-04-05").out
    assert ["Version 4 is not deployed" in out, "Version 5 is not deployed" in out] == [True, True]
    assert {current_deployment(each).state for each in (4, 5)} == {State.SUPERSEDED}
    assert "superseded" in page_of(4).read_text(encoding="utf-8")
    assert "Version 7 is not deployed" not in out  # it is newer than what went live
    assert tracking.aliases() == {"champion": 3}


# ---- until the services have taken it


def beat(
    name: str, version: int, other: int | None = None, *, ago: float = 0, where: str = "production"
) -> None:
    """A sign of life of a worker."""
    database = open_database(load_settings().environments.production.database)
    with database.writing() as connection:
        row = {"id": name, "environment": where, "version": version, "other_version": other}
        seen = datetime.now(UTC) - timedelta(seconds=ago)
        connection.execute(insert(Worker).values(row | {"seen_at": seen}))
    database.close()


def taken(tracking: Tracking) -> str:
    with open_deployments(load_settings(), NOW, print, locked=False) as deployments:
        assert deployments.tracking.where == tracking.where
        return deployments.rollout()


def test_rollout_counts_workers_on_target_version(tracking: Tracking) -> None:
    beat("a:1:0", 3, 2)  # the champion, and the previous one as second model
    beat("b:2:0", 3, 2)
    beat("c:3:0", 1, ago=3600)
    beat("d:4:0", 1, where="test")
    assert taken(tracking) == "Live in 2 of 2 production workers."


def test_a_worker_that_seldom_flushes_its_log_is_not_overlooked(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIKE_SERVING__LOG__FLUSH_SECONDS", "60")
    beat("a:1:0", 3, 2, ago=60)
    assert taken(tracking) == "Live in 1 of 1 production worker."


def test_rollout_reports_lagging_worker(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bike_demand.store.deployments.ROLLOUT_SECONDS", 0.3)
    beat("a:1:0", 3, 2)
    beat("b:2:0", 2)
    assert taken(tracking) == (
        "warning: live in 1 of 2 production workers after 0.3 seconds; check the log of b:2:0"
    )


@pytest.mark.slow
def test_a_worker_that_died_is_not_waited_for(tracking: Tracking) -> None:
    beat("a:1:0", 3, 2)
    beat("b:2:0", 1, ago=4.5)
    assert taken(tracking) in (
        "Live in 1 of 1 production worker.",
        "Live in 2 of 2 production workers.",
    )


def test_rollout_without_workers_returns(tracking: Tracking) -> None:
    assert taken(tracking).startswith("No production service is running")


def test_alias_works_as_emergency_rollback_without_database(
    tracking: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(
            "BIKE_ENVIRONMENTS__PRODUCTION__DATABASE", "postgresql+psycopg://nobody@127.0.0.1:1/none"
        )
        assert "127.0.0.1:1" in run("rollback", "--reason", "nonsense").refusal()
    assert tracking.aliases() == {"champion": 3, "previous": 2}
    tracking.set_alias("champion", 2)  # services follow it; the next command adopts it
    assert "champion was set to version 2 out of band" in run("ab", "step", "--as-of", "2011-04-06").out
    assert (current_deployment(2).who, current_deployment(3).state) == ("out of band", State.RETIRED)


# ---- with a real service, under load


@pytest.mark.slow
def test_rollback_under_load_loses_no_request(tracking: Tracking, project: Path) -> None:
    with running(project, "--workers", "2") as service, loaded(service.port) as load:
        until = time.monotonic() + 30
        while taken(tracking) != "Live in 2 of 2 production workers.":
            assert time.monotonic() < until
            time.sleep(0.05)
        assert load.latest(200) == {"3"}
        output = back("too low")
        ended = time.monotonic()
        assert "Live in 2 of 2 production workers." in output
        time.sleep(1)
    assert load.failures == []
    assert {version for at, version in load.answers if at > ended} == {"2"}
    with closing(open_database(load_settings().environments.production.database)) as database:
        moved = history(database)[-1].made_at
    last = max(at for at, version in load.answers if version == "3")
    seconds = moved.timestamp() - (time.time() - time.monotonic())
    print(f"live everywhere {last - seconds:.2f} s after the alias moved, {len(load.answers)} answers")
    assert last - seconds < LIVE_SECONDS
