"""Which versions respond in an environment: aliases and tags of the registry, moved in any way."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.store.tracking import Tracking
from bike_demand.store.traffic_split import traffic_split
from tests.conftest import Make
from tests.registry import register, remove_alias
from tests.tiny import constant


def three_versions() -> None:
    for number in (1, 2, 3):
        register(constant(Path("made") / str(number), number))


@pytest.fixture
def tracking(prepare: Callable[[Make], None]) -> Tracking:
    """A store with three versions."""
    prepare(three_versions)
    return Tracking(load_settings())


def test_before_the_first_run_nothing_responds_and_nothing_is_made(project: Path) -> None:
    assert project
    assert traffic_split(Tracking(load_settings()), "champion") is None
    assert not Path("state").exists()


def test_an_alias_is_given_with_its_tags_and_taken_away(tracking: Tracking) -> None:
    tracking.set_alias("challenger", 2, {"deployment": "d", "ab": "{}"})
    assert tracking.aliases() == {"challenger": 2}
    assert tracking.version(2).tags == {"deployment": "d", "ab": "{}"}
    tracking.set_alias("challenger", 1)
    assert tracking.aliases() == {"challenger": 1}
    remove_alias(tracking, "challenger")
    remove_alias(tracking, "challenger")
    assert tracking.aliases() == {}
    with pytest.raises(UserError, match="version 9: "):
        tracking.set_alias("x", 9)
    with pytest.raises(UserError, match="version 9: "):
        tracking.tag(9, {"a": "b"})


def test_counterpart_is_challenger_or_else_previous_champion(tracking: Tracking) -> None:
    tracking.set_alias("champion", 1)

    def second_model() -> tuple[int, str | None, float, str] | None:
        split = traffic_split(tracking, "champion")
        assert split is not None
        assert split.shown.number == 1
        return None if split.other is None else (split.other.number, split.role, split.share, split.salt)

    assert second_model() is None
    tracking.set_alias("previous", 3)
    assert second_model() == (3, "previous", 0.0, "")
    test = {"mode": "ab", "share": 0.4, "salt": "s", "began": "2011-04-01T00:00:00"}
    tracking.set_alias("challenger", 2, {"ab": json.dumps(test)})
    assert second_model() == (2, "challenger", 0.4, "s")
    tracking.tag(2, {"ab": json.dumps(test | {"mode": "shadow"})})
    assert second_model() == (2, "shadow", 0.0, "s")
    tracking.set_alias("challenger", 1)  # a promotion under way
    assert second_model() == (3, "previous", 0.0, "")
    tracking.set_alias("previous", 1)
    assert second_model() is None
    tracking.set_alias("candidate", 2)
    split = traffic_split(tracking, "candidate")
    assert split is not None
    assert (split.shown.number, split.other) == (2, None)


@pytest.mark.parametrize(
    "tag", [None, "", "{}", "no json", "[]", '{"mode": "ab", "share": "x", "salt": "s"}']
)
def test_a_challenger_whose_test_cannot_be_read_does_not_harm_the_champion(
    tracking: Tracking, tag: str | None
) -> None:
    tracking.set_alias("champion", 1)
    tracking.set_alias("challenger", 2, {} if tag is None else {"ab": tag})
    split = traffic_split(tracking, "champion")
    assert split is not None
    assert (split.shown.number, split.other) == (1, None)
