"""The states of deployments and the aliases that follow: cut off anywhere, and moved by hand."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import load_settings
from bike_demand.release.rollback import roll_back
from bike_demand.store.database import Database, lock
from bike_demand.store.deployments import Deployments, history, open_deployments
from bike_demand.store.tables import State
from bike_demand.store.tracking import Tracking
from bike_demand.store.traffic_split import traffic_split
from tests.project_copy import change_params
from tests.registry import current_deployment, deploy_without_gates, register, remove_alias
from tests.test_rollback import NOW, live_template, tracking
from tests.tiny import constant

__all__ = ["live_template", "tracking"]  # fixtures: versions 1, 2 and 3 went live one after the other


class KilledError(BaseException):
    """In the place of a process that ends in the middle of something."""


@contextmanager
def deployments(output: list[str] | None = None) -> Iterator[Deployments]:
    with open_deployments(load_settings(), NOW, print if output is None else output.append) as found:
        yield found


def promote(found: Deployments) -> None:
    row = found.testing()
    assert row is not None
    found.transition(row, State.LIVE, "it is better")


def begin_test(found: Deployments) -> None:
    row = found.create(found.tracking.version(4), "somebody")
    found.transition(row, State.VALIDATING, "a test")
    found.transition(row, State.TESTING, "a test")


def back(found: Deployments) -> None:
    bad = found.live()
    assert bad is not None
    roll_back(found, bad, "nonsense")


FAST = "a promotion"
# What is done, and the aliases and states of versions 1 to 4 afterwards.
TRANSITIONS: dict[str, tuple[Callable[[Deployments], None], bool, dict[str, int], list[State]]] = {
    "a test begins": (
        begin_test,
        False,
        {"champion": 3, "challenger": 4, "previous": 2},
        [State.RETIRED, State.RETIRED, State.LIVE, State.TESTING],
    ),
    FAST: (
        promote,
        True,
        {"champion": 4, "previous": 3},
        [State.RETIRED, State.RETIRED, State.RETIRED, State.LIVE],
    ),
    "a rollback": (
        back,
        True,
        {"champion": 2},
        [State.RETIRED, State.LIVE, State.ROLLED_BACK, State.SUPERSEDED],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", [pytest.param(each, marks=[] if each == FAST else pytest.mark.slow) for each in TRANSITIONS]
)
def test_a_transition_that_is_killed_before_any_statement_is_not_made_or_completed(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    make, tested, aliases, states = TRANSITIONS[what]
    register(constant(Path("4"), 4.0), tracking=tracking)
    if tested:
        deploy_without_gates(4, State.TESTING, at=NOW)
    before = tracking.aliases()
    shutil.copytree("state", "begin")
    completed = at = 0
    while killed_at(at, make, monkeypatch):
        with deployments() as found:
            if tracking.aliases() == before:  # it was not begun, so the next attempt makes it
                make(found)
            else:
                completed += 1
        assert tracking.aliases() == aliases
        assert [current_deployment(number).state for number in (1, 2, 3, 4)] == states
        at += 1
        shutil.rmtree("state")
        shutil.copytree("begin", "state")
    assert completed >= len(aliases.items() ^ before.items())  # before each alias, and before it is applied


def killed_at(at: int, make: Callable[[Deployments], None], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it was killed before this one of its writes into a store."""
    left = [at]

    def dies(original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return original(*args, **more)

        return counted

    with monkeypatch.context() as patch:
        for owner, name in (
            (Database, "writing"),
            (Tracking, "set_alias"),
            (Deployments, "remove_alias"),
            (Tracking, "tag"),
        ):
            patch.setattr(owner, name, dies(getattr(owner, name)))
        try:
            with deployments() as found:
                make(found)
        except KilledError:
            return True
    return False


# ---- moved by hand


def test_a_promotion_by_hand_is_adopted_and_watched_against_the_last_good_version(tracking: Tracking) -> None:
    register(constant(Path("4"), 4.0), tracking=tracking)
    tracking.set_alias("champion", 4)
    output: list[str] = []
    with deployments(output) as found:
        row = found.live()
        assert row is not None
        assert (row.version, row.who, row.against, row.is_watched) == (4, "out of band", 3, True)
        assert tracking.version(4).tags["deployment"] == row.id
    assert len(output) == 1
    assert "out of band" in output[0]
    assert current_deployment(3).state is State.RETIRED
    assert tracking.aliases() == {"champion": 4, "previous": 3}
    with deployments() as found:
        back(found)
    assert tracking.aliases() == {"champion": 3}


def test_a_removed_alias_leaves_nothing_live_and_its_version_can_be_again(tracking: Tracking) -> None:
    remove_alias(tracking, "champion")
    with deployments([]) as found:
        assert found.live() is None
        good = found.last_good()
        assert good is not None
        assert good.version == 3
        found.restore(good, None, "it was removed")
        found.restore(current_deployment(2), None, "it was removed")  # repeated: a version is live now
        assert current_deployment(3).is_watched  # as before
    assert tracking.aliases() == {"champion": 3, "previous": 2}


def test_a_watch_ends_and_begins_by_its_alias(tracking: Tracking) -> None:
    remove_alias(tracking, "previous")
    with deployments():
        assert not current_deployment(3).is_watched
    tracking.set_alias("previous", 1)
    with deployments():
        assert (current_deployment(3).is_watched, current_deployment(3).against) == (True, 1)
    assert tracking.aliases() == {"champion": 3, "previous": 1}
    change_params(Path(), watch_days="0")
    tracking.set_alias("previous", 2)
    with deployments():
        assert not current_deployment(3).is_watched
    assert tracking.aliases() == {"champion": 3}
    tracking.set_alias("previous", 2)
    with deployments() as found:
        before = len(history(found.database))
        found.reconcile()
        assert (tracking.aliases(), len(history(found.database))) == ({"champion": 3}, before)


def test_a_champion_set_by_hand_ends_the_test_against_the_earlier_one(tracking: Tracking) -> None:
    register(constant(Path("4"), 4.0), tracking=tracking)
    deploy_without_gates(4, State.TESTING, at=NOW)
    tracking.set_alias("champion", 1)
    output: list[str] = []
    with deployments(output) as found:
        assert found.queue_reason() == "the watch of version 1 ends"
    assert tracking.aliases() == {"champion": 1, "previous": 3}
    assert current_deployment(4).state is State.SUPERSEDED
    assert output[-1].startswith("warning: the A/B test was ended out of band")


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_queued_version_that_goes_live_otherwise_is_queued_no_longer(
    tracking: Tracking, by_hand: bool
) -> None:
    register(constant(Path("4"), 4.0), tracking=tracking)
    deploy_without_gates(4, State.QUEUED, at=NOW)
    if by_hand:
        tracking.set_alias("champion", 4)
    else:
        deploy_without_gates(4, at=NOW)
    with deployments([]) as found:
        assert [row.state for row in found.all() if row.version == 4] == [State.SUPERSEDED, State.LIVE]


def test_a_lock_on_a_database_that_is_down_can_be_tried_again() -> None:
    database = Database(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), "the database")
    with pytest.raises(UnreachableError, match="the database: "), lock(database, "deployment"):
        pass


def test_a_test_ends_and_begins_by_its_alias(tracking: Tracking) -> None:
    for number in (4, 5):
        register(constant(Path(str(number)), float(number)), tracking=tracking)
    deploy_without_gates(4, State.TESTING, at=NOW)
    tracking.set_alias("challenger", 5)
    with deployments([]) as found:
        row = found.testing()
        assert row is not None
        assert (row.version, row.against) == (5, 3)
    assert current_deployment(4).state is State.SUPERSEDED
    split = traffic_split(tracking, "champion")
    assert split is not None
    assert split.other is not None
    assert (split.other.number, split.role) == (5, "challenger")
    remove_alias(tracking, "challenger")
    with deployments([]) as found:
        assert found.testing() is None


def test_a_transition_that_the_states_do_not_allow_is_refused(tracking: Tracking) -> None:
    before = tracking.aliases()
    with deployments() as found, pytest.raises(UserError, match="no transition from retired to failed_test"):
        found.transition(current_deployment(1), State.FAILED_TEST, "a test")
    assert tracking.aliases() == before
