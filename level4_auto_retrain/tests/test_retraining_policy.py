"""When the loop trains, and when it does not: the rules on days and on trainings before."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from bike_demand.core.settings import Settings, Trigger, load_settings
from bike_demand.monitoring.retraining_policy import (
    age_signal,
    cool_down,
    error_signal,
    find_level_shift,
    has_adapted,
    retraining_refusal,
)
from bike_demand.store.event_log import DONE, LEVEL_SHIFT, NOT_WORSE
from bike_demand.store.tables import DailyStats, SignalKind, Training
from tests.conftest import ROOT

SETTINGS: Settings = load_settings(ROOT / "params.yaml")
RULE: Trigger = SETTINGS.trigger
NOW = datetime(2012, 3, 15)
SKILL = 0.4
DAY = timedelta(days=1)


def days_of(
    number: int, *, bias: float = 0.0, error: float = 0.18, baseline: float = 0.3
) -> list[DailyStats]:
    """So many days before NOW, of 24 rows and about 200 pieces each; error and bias as shares."""
    rng = np.random.default_rng(7)
    days = []
    for back in range(number, 0, -1):
        target = 4800.0 * rng.uniform(0.8, 1.2)
        days.append(
            DailyStats(
                day=(NOW - back * DAY).date(),
                version=3,
                rows=24,
                known=24,
                error_sum=target * error * rng.uniform(0.9, 1.1),
                bias_sum=target * (bias + rng.normal(0, 0.03)),
                target_sum=target,
                baseline_rows=24,
                baseline_error_sum=target * baseline * rng.uniform(0.9, 1.1),
                paired_error_sum=target * error * rng.uniform(0.9, 1.1),
            )
        )
    return days


def at_level(days: Sequence[DailyStats], factor: float) -> list[DailyStats]:
    """The same days where the target is so many times as high: all errors grow with it."""
    names = ("error_sum", "bias_sum", "target_sum", "baseline_error_sum", "paired_error_sum")
    return [replace(day, **{name: factor * getattr(day, name) for name in names}) for day in days]


def test_champion_at_its_reference_error_raises_no_signal() -> None:
    assert error_signal(days_of(14), SKILL, NOW, SETTINGS) is None


def test_low_bias_raises_signal_with_size() -> None:
    signal = error_signal(days_of(5, bias=-0.3), SKILL, NOW, SETTINGS)
    assert signal is not None
    assert (signal.kind, signal.subject, signal.first_at) == (SignalKind.ERROR, "version 3", NOW)
    assert "too low" in signal.message
    assert signal.evidence["bias"] == pytest.approx(-0.3, abs=0.05)
    assert signal.evidence["urgent"] is True


def test_high_bias_raises_signal() -> None:
    signal = error_signal(days_of(10, bias=0.12), SKILL, NOW, SETTINGS)
    assert signal is not None
    assert "too high" in signal.message
    assert signal.evidence["urgent"] is False


@pytest.mark.parametrize(("error", "urgent"), [(0.36, True), (0.27, False)])
def test_relative_error_detects_shape_change(error: float, urgent: bool) -> None:
    signal = error_signal(days_of(10, error=error), SKILL, NOW, SETTINGS)
    assert signal is not None
    assert signal.evidence["urgent"] is urgent
    assert "times the reference" in signal.message
    assert "too" not in signal.message.split("times")[0]


def test_season_that_doubles_target_and_error_raises_no_signal() -> None:
    assert error_signal(at_level(days_of(14), 2.5), SKILL, NOW, SETTINGS) is None


@pytest.mark.parametrize("number", [0, 1, 2])
def test_too_few_days_decide_nothing(number: int) -> None:
    assert error_signal(days_of(number, bias=-0.5), SKILL, NOW, SETTINGS) is None


def stepped(after: int, *, before: float = 0.05, since: float = -0.38) -> list[DailyStats]:
    """A window of days whose bias is another in the last few."""
    return [*days_of(RULE.window_days, bias=before)[: RULE.window_days - after], *days_of(after, bias=since)]


@pytest.mark.parametrize("after", [2, 3, 5, 9])
def test_a_level_shift_is_urgent_and_has_a_day(after: int) -> None:
    signal = error_signal(stepped(after), SKILL, NOW, SETTINGS)
    assert signal is not None
    assert signal.evidence["urgent"] is True
    assert signal.evidence["level_shift"] == f"{NOW - after * DAY:%Y-%m-%d}"


@pytest.mark.parametrize(
    "days",
    [
        pytest.param(stepped(1), id="one day"),
        pytest.param(days_of(14, bias=-0.38), id="long ago"),
        pytest.param(stepped(4, before=0.2, since=0.3), id="a little"),
        pytest.param(stepped(4, before=0.3, since=0.0), id="for the better"),
        pytest.param(days_of(5, bias=-0.38), id="too few before"),
    ],
)
def test_no_level_shift(days: list[DailyStats]) -> None:
    assert find_level_shift(days, RULE) is None


def test_version_with_half_of_the_bias_is_adapted() -> None:
    champion_days = stepped(3)
    assert has_adapted(days_of(3, bias=-0.1), champion_days)
    assert not has_adapted(days_of(3, bias=-0.3), champion_days)
    assert has_adapted([], champion_days)  # nothing is known of it yet


def test_rows_without_outcomes_decide_nothing() -> None:
    days = [replace(day, known=5) for day in days_of(5, bias=-0.5)]
    assert sum(day.known for day in days) < RULE.min_rows
    assert error_signal(days, SKILL, NOW, SETTINGS) is None


def test_single_bad_day_is_not_significant() -> None:
    good, bad = days_of(6), days_of(1, bias=-0.3)
    assert error_signal([*good[:-1], *bad], SKILL, NOW, SETTINGS) is None


def test_days_before_the_window_do_not_count() -> None:
    begin = (NOW - RULE.window_days * DAY).date()
    days = [day for day in days_of(40, bias=-0.5) if day.day < begin]
    assert error_signal(days, SKILL, NOW, SETTINGS) is None


def test_without_reference_only_bias_counts() -> None:
    assert error_signal(days_of(10, error=0.5), None, NOW, SETTINGS) is None
    assert error_signal(days_of(10, bias=0.2), None, NOW, SETTINGS) is not None


def test_a_baseline_of_one_day_says_nothing() -> None:
    first_week = [
        replace(day, baseline_rows=0, baseline_error_sum=0.0, paired_error_sum=0.0) for day in days_of(7)
    ]
    eighth = replace(days_of(1)[0], paired_error_sum=3 * days_of(1)[0].baseline_error_sum)
    assert error_signal([*first_week, eighth], SKILL, NOW, SETTINGS) is None


def training(back: int, **detail: object) -> Training:
    """A training so many days before NOW."""
    return Training(None, "a test", NOW - back * DAY, DONE, detail=detail)


def tried(*back_and_helped: tuple[int, bool | None]) -> list[Training]:
    return [training(back, **{NOT_WORSE: not_worse}) for back, not_worse in back_and_helped]


def test_first_training_is_due_at_once() -> None:
    assert retraining_refusal([], NOW, SETTINGS) is None


def test_cool_down_after_training() -> None:
    assert f"{NOW + 2 * DAY:%Y-%m-%d}" in str(retraining_refusal(tried((2, True)), NOW, SETTINGS))
    assert retraining_refusal(tried((RULE.cool_down_days, True)), NOW, SETTINGS) is None


def test_cool_down_doubles_and_resets() -> None:
    assert cool_down(tried((30, False)), RULE) == 2 * RULE.cool_down_days
    assert cool_down(tried((60, False), (30, False)), RULE) == 4 * RULE.cool_down_days
    assert cool_down(tried((60, False), (30, True)), RULE) == RULE.cool_down_days
    assert cool_down(tried((60, False), (3, None)), RULE) == 2 * RULE.cool_down_days
    assert cool_down(tried(*[(9, False)] * 20), RULE) == RULE.max_cool_down_days


def test_urgent_uses_shortest_cool_down() -> None:
    before = tried((40, False), (20, False), (RULE.cool_down_days, False))
    assert retraining_refusal(before, NOW, SETTINGS)
    assert retraining_refusal(before, NOW, SETTINGS, urgent=True) is None
    assert retraining_refusal(tried((1, True)), NOW, SETTINGS, urgent=True)


def test_trainings_before_a_level_shift_do_not_delay_the_next() -> None:
    since = (NOW - RULE.min_days * DAY).date()
    before = tried((40, False), (1, None))
    assert retraining_refusal(before, NOW, SETTINGS, urgent=True, level_shift=since) is None
    assert retraining_refusal(before, NOW, SETTINGS, urgent=True, level_shift=since - 3 * DAY)
    begun_on_it = [training(1, **{LEVEL_SHIFT: "2012-03-08"})]
    assert retraining_refusal(begun_on_it, NOW, SETTINGS, urgent=True, level_shift=since)
    early = retraining_refusal(before, NOW - DAY, SETTINGS, urgent=True, level_shift=since)
    assert f"{NOW:%Y-%m-%d}" in str(early)
    spent = tried((20, True)) * RULE.budget
    assert retraining_refusal(spent, NOW, SETTINGS, urgent=True, level_shift=since)


def test_budget_holds_even_if_urgent() -> None:
    spent = tried(*[(28 - 6 * number, True) for number in range(RULE.budget)])
    refusal = str(retraining_refusal(spent, NOW, SETTINGS, urgent=True))
    assert "budget" in refusal
    assert f"{NOW + 2 * DAY:%Y-%m-%d}" in refusal
    assert retraining_refusal(spent, NOW + 2 * DAY, SETTINGS) is None


def test_age_signal() -> None:
    longest = RULE.max_age_days
    assert age_signal(NOW - (longest - 1) * DAY, NOW, SETTINGS) is None
    signal = age_signal(NOW - longest * DAY, NOW, SETTINGS)
    assert signal is not None
    assert signal.kind is SignalKind.AGE
