"""Which event times show the challenger's prediction."""

from datetime import datetime, timedelta

import pytest

from bike_demand.serving.prediction import variant

TIMES = [datetime(2011, 1, 1) + timedelta(hours=number) for number in range(10_000)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_holds_over_many_event_times(share: float) -> None:
    shown = sum(variant(each, share, "salt") == "challenger" for each in TIMES)
    assert shown / len(TIMES) == pytest.approx(share, abs=0.02)


def test_the_share_holds_at_each_hour_of_the_day_and_on_each_weekday() -> None:
    groups: dict[tuple[str, int], list[bool]] = {}
    for each in TIMES:
        for group in (("hour", each.hour), ("weekday", each.weekday())):
            groups.setdefault(group, []).append(variant(each, 0.5, "salt") == "challenger")
    assert all(abs(sum(shown) / len(shown) - 0.5) < 0.1 for shown in groups.values())


def test_the_choice_is_the_same_for_ever() -> None:
    shown = "".join(str(int(variant(each, 0.5, "salt") == "challenger")) for each in TIMES[:24])
    assert shown == "010000001100011111100001"


def test_another_salt_draws_other_event_times() -> None:
    same = sum(variant(each, 0.5, "one") == variant(each, 0.5, "two") for each in TIMES)
    assert same / len(TIMES) == pytest.approx(0.5, abs=0.02)


def test_a_larger_share_keeps_those_of_a_smaller_one() -> None:
    small = {each for each in TIMES if variant(each, 0.2, "salt") == "challenger"}
    assert small <= {each for each in TIMES if variant(each, 0.6, "salt") == "challenger"}


def test_nothing_is_shown_with_a_share_of_none() -> None:
    assert {variant(each, 0.0, "salt") for each in TIMES} == {"champion"}
