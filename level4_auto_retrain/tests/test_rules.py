"""When the loop trains, and when it does not: the rules on days and on trainings before."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from bike_demand.core.settings import Settings, Trigger, load_settings
from bike_demand.monitoring.rules import (
    Reference,
    Tried,
    age_signal,
    cool_down,
    due,
    error_signal,
    is_adapted,
    level_shift,
)
from bike_demand.store.tables import Day, Kind
from tests.conftest import ROOT

SETTINGS: Settings = load_settings(ROOT / "params.yaml")
RULE: Trigger = SETTINGS.trigger
NOW = datetime(2012, 3, 15)
REFERENCE = Reference(mae=30.0, skill=0.4)
DAY = timedelta(days=1)


def days_of(number: int, *, bias: float = 0.0, error: float = 0.18, baseline: float = 0.3) -> list[Day]:
    """So many days before NOW, of 24 rows and about 200 pieces each; error and bias as shares."""
    rng = np.random.default_rng(7)
    days = []
    for back in range(number, 0, -1):
        target = 4800.0 * rng.uniform(0.8, 1.2)
        days.append(
            Day(
                day=(NOW - back * DAY).date(),
                version=3,
                rows=24,
                known=24,
                error=target * error * rng.uniform(0.9, 1.1),
                bias=target * (bias + rng.normal(0, 0.03)),
                target=target,
                baseline_rows=24,
                baseline_error=target * baseline * rng.uniform(0.9, 1.1),
                paired_error=target * error * rng.uniform(0.9, 1.1),
            )
        )
    return days


def at_level(days: Sequence[Day], factor: float) -> list[Day]:
    """The same days where the target is so many times as high: all errors grow with it."""
    names = ("error", "bias", "target", "baseline_error", "paired_error")
    return [replace(day, **{name: factor * getattr(day, name) for name in names}) for day in days]


def test_a_champion_that_keeps_its_reference_error_gives_no_signal() -> None:
    assert error_signal(days_of(14), REFERENCE, NOW, SETTINGS) is None


def test_a_champion_that_answers_too_low_gives_a_signal_that_says_by_how_much() -> None:
    signal = error_signal(days_of(5, bias=-0.3), REFERENCE, NOW, SETTINGS)
    assert signal is not None
    assert (signal.kind, signal.subject, signal.at) == (Kind.ERROR, "version 3", NOW)
    assert "too low" in signal.message
    assert signal.evidence["bias"] == pytest.approx(-0.3, abs=0.05)
    assert signal.evidence["urgent"] is True


def test_a_champion_that_answers_too_high_gives_a_signal() -> None:
    signal = error_signal(days_of(10, bias=0.12), REFERENCE, NOW, SETTINGS)
    assert signal is not None
    assert "too high" in signal.message
    assert signal.evidence["urgent"] is False


@pytest.mark.parametrize(("error", "urgent"), [(0.36, True), (0.27, False)])
def test_a_shape_that_changed_without_the_level_is_seen_beside_the_baseline(
    error: float, urgent: bool
) -> None:
    signal = error_signal(days_of(10, error=error), REFERENCE, NOW, SETTINGS)
    assert signal is not None
    assert signal.evidence["urgent"] is urgent
    assert "times its reference error" in signal.message
    assert "too" not in signal.message.split("times")[0]


def test_a_season_that_doubles_target_and_error_alike_gives_no_signal() -> None:
    assert error_signal(at_level(days_of(14), 2.5), REFERENCE, NOW, SETTINGS) is None


@pytest.mark.parametrize("number", [0, 1, 2])
def test_too_few_days_say_nothing(number: int) -> None:
    assert error_signal(days_of(number, bias=-0.5), REFERENCE, NOW, SETTINGS) is None


def stepped(after: int, *, before: float = 0.05, since: float = -0.38) -> list[Day]:
    """A window of days whose bias is another in the last few."""
    return [*days_of(RULE.window_days, bias=before)[: RULE.window_days - after], *days_of(after, bias=since)]


@pytest.mark.parametrize("after", [2, 3, 5, 9])
def test_a_level_shift_is_urgent_and_has_a_day(after: int) -> None:
    signal = error_signal(stepped(after), REFERENCE, NOW, SETTINGS)
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
def test_what_is_no_step_for_the_worse_is_no_level_shift(days: list[Day]) -> None:
    assert level_shift(days, RULE) is None


def test_a_version_is_adapted_with_half_of_the_bias_on_the_same_days() -> None:
    champions = stepped(3)
    assert is_adapted(days_of(3, bias=-0.1), champions)
    assert not is_adapted(days_of(3, bias=-0.3), champions)
    assert is_adapted([], champions)  # nothing is known of it yet


def test_rows_without_outcomes_say_nothing() -> None:
    days = [replace(day, known=5) for day in days_of(5, bias=-0.5)]
    assert sum(day.known for day in days) < RULE.min_rows
    assert error_signal(days, REFERENCE, NOW, SETTINGS) is None


def test_one_bad_day_among_good_ones_is_not_sure() -> None:
    good, bad = days_of(6), days_of(1, bias=-0.3)
    assert error_signal([*good[:-1], *bad], REFERENCE, NOW, SETTINGS) is None


def test_days_before_the_window_do_not_count() -> None:
    begin = (NOW - RULE.window_days * DAY).date()
    days = [day for day in days_of(40, bias=-0.5) if day.day < begin]
    assert error_signal(days, REFERENCE, NOW, SETTINGS) is None


def test_a_version_without_a_reference_is_judged_by_its_bias_alone() -> None:
    nothing = Reference(mae=None, skill=None)
    assert error_signal(days_of(10, error=0.5), nothing, NOW, SETTINGS) is None
    assert error_signal(days_of(10, bias=0.2), nothing, NOW, SETTINGS) is not None


def test_a_baseline_of_one_day_says_nothing() -> None:
    first_week = [replace(day, baseline_rows=0, baseline_error=0.0, paired_error=0.0) for day in days_of(7)]
    eighth = replace(days_of(1)[0], paired_error=3 * days_of(1)[0].baseline_error)
    assert error_signal([*first_week, eighth], REFERENCE, NOW, SETTINGS) is None


def tried(*back_and_helped: tuple[int, bool | None]) -> list[Tried]:
    return [Tried(NOW - back * DAY, helped) for back, helped in back_and_helped]


def test_the_first_training_is_due_at_once() -> None:
    decision = due("no model is live", [], NOW, SETTINGS)
    assert decision.train
    assert "no model is live" in decision.message


def test_after_a_training_it_cools_down() -> None:
    decision = due("bias", tried((2, True)), NOW, SETTINGS)
    assert not decision.train
    assert f"{NOW + 2 * DAY:%Y-%m-%d}" in decision.message
    assert due("bias", tried((RULE.cool_down_days, True)), NOW, SETTINGS).train


def test_it_gets_patient_where_trainings_do_not_help_and_eager_again_after_one_that_did() -> None:
    assert cool_down(tried((30, False)), RULE) == 2 * RULE.cool_down_days
    assert cool_down(tried((60, False), (30, False)), RULE) == 4 * RULE.cool_down_days
    assert cool_down(tried((60, False), (30, True)), RULE) == RULE.cool_down_days
    assert cool_down(tried((60, False), (3, None)), RULE) == 2 * RULE.cool_down_days
    assert cool_down(tried(*[(9, False)] * 20), RULE) == RULE.longest_cool_down_days


def test_what_is_urgent_waits_for_the_shortest_cool_down_only() -> None:
    before = tried((40, False), (20, False), (RULE.cool_down_days, False))
    assert not due("bias", before, NOW, SETTINGS).train
    assert due("bias", before, NOW, SETTINGS, urgent=True).train
    assert not due("bias", tried((1, True)), NOW, SETTINGS, urgent=True).train


def test_after_a_level_shift_only_trainings_since_it_was_known_delay_the_next() -> None:
    since = (NOW - RULE.min_days * DAY).date()
    before = tried((40, False), (1, None))
    assert due("step", before, NOW, SETTINGS, urgent=True, level_shift=since).train
    assert not due("step", before, NOW, SETTINGS, urgent=True, level_shift=since - 3 * DAY).train
    begun_on_it = [Tried(NOW - DAY, on_shift=True)]
    assert not due("step", begun_on_it, NOW, SETTINGS, urgent=True, level_shift=since).train
    early = due("step", before, NOW - DAY, SETTINGS, urgent=True, level_shift=since)
    assert (early.train, f"{NOW:%Y-%m-%d}" in early.message) == (False, True)
    spent = [Tried(NOW - 20 * DAY, True)] * RULE.budget
    assert not due("step", spent, NOW, SETTINGS, urgent=True, level_shift=since).train


def test_the_budget_holds_even_for_what_is_urgent() -> None:
    spent = tried(*[(28 - 6 * number, True) for number in range(RULE.budget)])
    decision = due("bias", spent, NOW, SETTINGS, urgent=True)
    assert not decision.train
    assert "budget" in decision.message
    assert f"{NOW + 2 * DAY:%Y-%m-%d}" in decision.message
    assert due("bias", spent, NOW + 2 * DAY, SETTINGS).train


def test_a_model_gets_too_old() -> None:
    longest = RULE.longest_age_days
    assert age_signal([], NOW, SETTINGS) is None
    assert age_signal(tried((longest - 1, True)), NOW, SETTINGS) is None
    signal = age_signal(tried((longest, True)), NOW, SETTINGS)
    assert signal is not None
    assert signal.kind is Kind.AGE
