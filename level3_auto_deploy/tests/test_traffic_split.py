"""Which hours show the challenger's answer."""

from datetime import datetime, timedelta

import pytest

from bike_demand.serving.prediction import variant

HOURS = [datetime(2011, 1, 1) + timedelta(hours=number) for number in range(10_000)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_holds_over_many_hours(share: float) -> None:
    shown = sum(variant(hour, share, "salt") == "challenger" for hour in HOURS)
    assert shown / len(HOURS) == pytest.approx(share, abs=0.02)


def test_the_share_holds_at_each_hour_of_the_day_and_on_each_weekday() -> None:
    groups: dict[tuple[str, int], list[bool]] = {}
    for hour in HOURS:
        for group in (("hour", hour.hour), ("weekday", hour.weekday())):
            groups.setdefault(group, []).append(variant(hour, 0.5, "salt") == "challenger")
    assert all(abs(sum(shown) / len(shown) - 0.5) < 0.1 for shown in groups.values())


def test_the_choice_is_the_same_for_ever() -> None:
    shown = "".join(str(int(variant(hour, 0.5, "bike-demand") == "challenger")) for hour in HOURS[:24])
    assert shown == "100101000010000001110110"


def test_another_salt_draws_other_hours() -> None:
    same = sum(variant(hour, 0.5, "one") == variant(hour, 0.5, "two") for hour in HOURS)
    assert same / len(HOURS) == pytest.approx(0.5, abs=0.02)


def test_a_larger_share_keeps_the_hours_of_a_smaller_one() -> None:
    small = {hour for hour in HOURS if variant(hour, 0.2, "salt") == "challenger"}
    assert small <= {hour for hour in HOURS if variant(hour, 0.6, "salt") == "challenger"}


def test_no_hour_is_shown_with_a_share_of_none() -> None:
    assert {variant(hour, 0.0, "salt") for hour in HOURS} == {"champion"}
