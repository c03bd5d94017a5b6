"""Going back to the last good version: what is live then, what is kept of it, and that no user notices."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from bike_demand.core.settings import load_settings
from bike_demand.release import transitions
from bike_demand.release.decision import DeploymentDecision, page_of, store
from bike_demand.release.rollback import last_good, roll_back
from bike_demand.release.transitions import wait_for_rollout
from bike_demand.store.database import open_database
from bike_demand.store.tables import Worker
from bike_demand.store.tracking import Tracking
from tests.conftest import Run, project_in
from tests.load import loaded
from tests.registry import copy_state, register
from tests.service import running
from tests.tiny import constant

NOW = datetime(2011, 4, 5)
LIVE_SECONDS = 5.0  # after the alias moved, in every worker


@pytest.fixture(scope="session")
def once_live(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    folder = tmp_path_factory.mktemp("live")
    with project_in(folder, empty_store):
        tracking = Tracking(load_settings())
        for number in (1, 2, 3):
            version = register(constant(folder / str(number), float(number)), tracking=tracking)
            tracking.tag(number, {"deployment": tracking.open_record("deployment", f"version {number}", {})})
            transitions.go_live(tracking, version, NOW - timedelta(days=10 - number))
    return folder


@pytest.fixture
def tracking(project: Path, once_live: Path) -> Tracking:
    """Three versions went live one after the other: 1, 2, 3."""
    copy_state(once_live, project)
    return Tracking(load_settings())


def back(tracking: Tracking, reason: str = "nonsense") -> str:
    return roll_back(load_settings(), tracking, reason, NOW)


def test_the_version_before_is_live_again_and_the_bad_one_is_blocked(tracking: Tracking) -> None:
    assert back(tracking) == (
        "Version 2 is live again, instead of version 3 (nonsense). No service of production is running; one"
        " that starts answers with it."
    )
    assert tracking.aliases() == {"champion": 2}
    assert tracking.version(3).tags["blocked"] == "nonsense"
    assert tracking.version(2).tags["live_since"] == "2011-04-05T00:00:00"


def test_it_is_on_record_with_what_was_live_why_and_what_put_it_there(tracking: Tracking) -> None:
    bad, good = (tracking.version(number).tags["deployment"] for number in (3, 2))
    back(tracking)
    record = tracking.version(2).tags["deployment"]
    tags = tracking.run(record).tags
    assert (tags["kind"], tags["version"], tags["rolled_back"], tags["reason"], tags["state"]) == (
        "rollback",
        "2",
        "3",
        "nonsense",
        "done",
    )
    assert (tags["rolled_back.deployment"], tags["deployment_before"]) == (bad, good)
    assert tags["at"] == "2011-04-05T00:00:00"
    assert tracking.run(bad).tags["state"] == "rolled back"
    assert tracking.run(good).tags["state"] == "live"


def test_the_page_of_the_deployment_says_that_it_was_rolled_back(tracking: Tracking, tmp_path: Path) -> None:
    record = tracking.version(3).tags["deployment"]
    decision = DeploymentDecision(
        version=3,
        run_id="r",
        digest="d",
        champion=2,
        who="somebody",
        reason=None,
        at=NOW,
        began=NOW,
        gates=(),
        state="live",
        outcome="Its A/B test begins.",
    )
    store(tracking, record, decision, page=True)
    back(tracking, "nonsense at night")
    page = tracking.fetch(record, "decision.html", tmp_path).read_text(encoding="utf-8")
    assert "rolled back" in page
    assert "nonsense at night" in page
    assert page_of(3).read_text(encoding="utf-8") == page


def test_without_an_earlier_version_a_test_under_way_can_be_stopped(project: Path, run: Run) -> None:
    assert project
    tracking = Tracking(load_settings())
    for number in (1, 2):
        register(constant(Path(str(number)), float(number)), tracking=tracking)
    tracking.promote(1, {})
    tracking.set_alias("challenger", 2)
    assert "ab stop --reason TEXT" in run("rollback", "--as-of", "2011-04-06").refusal()


@pytest.mark.slow
def test_going_back_twice_skips_what_was_rolled_back(tracking: Tracking, run: Run, project: Path) -> None:
    assert project
    back(tracking)
    register(constant(Path("4"), 4.0), tracking=tracking)
    transitions.go_live(tracking, tracking.version(4), NOW)
    back(tracking)
    assert tracking.aliases() == {"champion": 2}
    back(tracking)
    assert tracking.aliases() == {"champion": 1}
    assert last_good(tracking) is None
    assert "no earlier version to go back to" in run("rollback", "--as-of", "2011-04-06").refusal()
    assert tracking.aliases() == {"champion": 1}
    assert "blocked" not in tracking.version(1).tags


@pytest.mark.slow
def test_an_earlier_version_that_a_person_blocked_is_passed_over(tracking: Tracking) -> None:
    tracking.tag(2, {"blocked": "known to be bad at night"})
    assert back(tracking).startswith("Version 1 is live again, instead of version 3")


def test_a_test_under_way_ends(tracking: Tracking) -> None:
    challenger = register(constant(Path("4"), 4.0), tracking=tracking)
    record = tracking.open_record("deployment", "version 4", {})
    tracking.tag(4, {"deployment": record})
    transitions.begin_test(load_settings(), tracking, challenger, NOW)
    back(tracking)
    assert tracking.aliases() == {"champion": 2}
    tags = tracking.run(record).tags
    assert tags["state"] == "stopped"
    assert "version 3" in tags["reason"]


def test_one_that_was_cut_off_is_finished_by_the_next(tracking: Tracking) -> None:
    tracking.tag(3, {"blocked": "nonsense"})  # and then the power went
    assert "Version 2 is live again" in back(tracking)
    assert tracking.aliases() == {"champion": 2}


@pytest.mark.slow
@pytest.mark.usefixtures("tracking")
def test_by_the_command_with_and_without_a_reason(run: Run) -> None:
    said = run("rollback", "--reason", "too low", "--as-of", "2011-04-05")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("Version 2 is live again, instead of version 3 (too low).")
    said = run("rollback", "--as-of", "2011-04-05")
    assert said.out.startswith("Version 1 is live again, instead of version 2 (by hand).")


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
    return wait_for_rollout(load_settings(), tracking)


def test_workers_that_answer_with_it_are_counted_and_others_are_not(tracking: Tracking) -> None:
    beat("a:1:0", 3, 2)  # the champion, and the one before beside it
    beat("b:2:0", 3, 2)
    beat("c:3:0", 1, ago=3600)
    beat("d:4:0", 1, where="test")
    assert taken(tracking) == "Live in 2 of 2 workers of production."


def test_a_worker_that_does_not_follow_is_told(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bike_demand.release.transitions.ROLLOUT_SECONDS", 0.3)
    beat("a:1:0", 3, 2)
    beat("b:2:0", 2)
    assert taken(tracking) == (
        "warning: live in 1 of 2 workers of production after 0.3 seconds; look into the log of b:2:0"
    )


@pytest.mark.slow
def test_a_worker_that_died_is_not_waited_for(tracking: Tracking) -> None:
    beat("a:1:0", 3, 2)
    beat("b:2:0", 1, ago=4.5)
    assert taken(tracking) in (
        "Live in 1 of 1 worker of production.",
        "Live in 2 of 2 workers of production.",
    )


def test_where_nothing_runs_nothing_is_waited_for_or_made(tracking: Tracking) -> None:
    assert taken(tracking).startswith("No service of production is running")
    assert not Path("state/production.db").exists()


@pytest.mark.slow
def test_a_database_that_is_away_is_a_warning_as_the_alias_has_moved(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "BIKE_ENVIRONMENTS__PRODUCTION__DATABASE", "postgresql+psycopg://nobody@127.0.0.1:1/none"
    )
    said = back(tracking)
    assert "warning: the rollout" in said
    assert "\n" not in said
    assert tracking.aliases() == {"champion": 2}


# ---- with a real service, under load


@pytest.mark.slow
def test_under_load_it_is_live_in_both_workers_in_time_and_no_request_fails(
    tracking: Tracking, project: Path
) -> None:
    with running(project, "--workers", "2") as service, loaded(service.port) as load:
        until = time.monotonic() + 30
        while taken(tracking) != "Live in 2 of 2 workers of production.":
            assert time.monotonic() < until
            time.sleep(0.05)
        assert load.latest(200) == {"3"}
        said = roll_back(load_settings(), tracking, "too low", NOW)
        ended = time.monotonic()
        assert "Live in 2 of 2 workers of production." in said
        time.sleep(1)
    assert load.failures == []
    assert {version for at, version in load.answers if at > ended} == {"2"}
    moved = datetime.fromisoformat(tracking.run(tracking.version(2).tags["deployment"]).tags["moved_at"])
    last = max(at for at, version in load.answers if version == "3")
    seconds = moved.timestamp() - (time.time() - time.monotonic())
    print(f"live everywhere {last - seconds:.2f} s after the alias moved, {len(load.answers)} answers")
    assert last - seconds < LIVE_SECONDS
