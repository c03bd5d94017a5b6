"""Which event times show the challenger's prediction."""

from datetime import datetime, timedelta

import pytest

from bike_demand.serving.prediction import assign_variant

TIMES = [datetime(2011, 1, 1) + timedelta(hours=number) for number in range(10_000)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_holds_over_many_event_times(share: float) -> None:
    shown = sum(assign_variant(each, share, "salt") == "challenger" for each in TIMES)
    assert shown / len(TIMES) == pytest.approx(share, abs=0.02)


def test_the_share_holds_at_each_hour_of_the_day_and_on_each_weekday() -> None:
    groups: dict[tuple[str, int], list[bool]] = {}
    for each in TIMES:
        for group in (("hour", each.hour), ("weekday", each.weekday())):
            groups.setdefault(group, []).append(assign_variant(each, 0.5, "salt") == "challenger")
    assert all(abs(sum(shown) / len(shown) - 0.5) < 0.1 for shown in groups.values())


def test_assignment_is_stable_across_versions() -> None:
    shown = "".join(str(int(assign_variant(each, 0.5, "salt") == "challenger")) for each in TIMES[:24])
    assert shown == "010000001100011111100001"


def test_another_salt_draws_other_event_times() -> None:
    same = sum(assign_variant(each, 0.5, "one") == assign_variant(each, 0.5, "two") for each in TIMES)
    assert same / len(TIMES) == pytest.approx(0.5, abs=0.02)


def test_larger_share_is_a_superset() -> None:
    small = {each for each in TIMES if assign_variant(each, 0.2, "salt") == "challenger"}
    assert small <= {each for each in TIMES if assign_variant(each, 0.6, "salt") == "challenger"}


def test_zero_share_serves_only_the_champion() -> None:
    assert {assign_variant(each, 0.0, "salt") for each in TIMES} == {"champion"}
