"""The rule of the A/B test, simulated on errors of real models: how often it errs, though looked at daily."""

from collections.abc import Callable
from dataclasses import astuple
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from bike_demand.core.settings import AB, load_settings
from bike_demand.release.ab.statistics import (
    ABVerdict,
    Days,
    Estimates,
    by_day,
    by_group,
    estimate,
    margin,
    sample_ratio,
    verdicts,
)
from tests import real_pairs
from tests.conftest import ROOT

RUNS = 1000
SEED = 20111001
AB_SETTINGS: AB = load_settings(ROOT / "params.yaml").ab
Rule = Callable[[Days], npt.NDArray[np.int_]]


@cache
def drawn(kind: str, ratio: float) -> Days:
    """Tests of 14 days, shape [runs, 14]: whole days drawn from those of real pairs, the fresh model's errors
    scaled so that over all its days they are `ratio` times the other's.
    """
    rng = np.random.default_rng(SEED)
    found = real_pairs.load(kind)
    chosen = rng.integers(0, len(found), RUNS)
    drawn = []
    for number, pair in enumerate(found):
        k = ratio * pair.champion.sum() / pair.challenger.sum()
        scaled = np.stack(astuple(pair)) * np.array([1, k, 1, k * k, 1, k])[:, None]
        days = rng.integers(0, scaled.shape[1], ((chosen == number).sum(), AB_SETTINGS.days))
        drawn.append(scaled[:, days])
    return Days(*np.concatenate(drawn, axis=1))


def the_rule(days: Days) -> npt.NDArray[np.int_]:
    over = np.arange(1, AB_SETTINGS.days + 1) >= AB_SETTINGS.days
    return verdicts(estimate(days, AB_SETTINGS.alpha, 2.0), AB_SETTINGS, over)


def t_test_each_day(days: Days) -> npt.NDArray[np.int_]:
    """What many would do: an ordinary one-sided t-test, repeated each day."""
    t = np.arange(1, AB_SETTINGS.days + 1)
    found = []
    for k in (1 + AB_SETTINGS.worse, 1.0):
        z = days.challenger - k * days.champion
        mean = z.cumsum(1) / t
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(np.maximum((z**2).cumsum(1) / t - mean**2, 0) / (t - 1))
            found.append(stats.t.cdf(mean / error, np.maximum(t - 1, 1)))
    verdict = np.where(found[1] > 1 - AB_SETTINGS.alpha, ABVerdict.REJECT, 0)
    verdict = np.where(found[0] < AB_SETTINGS.alpha, ABVerdict.PROMOTE, verdict)
    verdict[:, 0] = 0
    return verdict


def outcome(rule: Rule, days: Days) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]:
    """The first verdict of each run, and on which day it came (15: never)."""
    found = rule(days)
    any_at_all = (found != 0).any(1)
    at = np.where(any_at_all, (found != 0).argmax(1), AB_SETTINGS.days - 1)
    return np.take_along_axis(found, at[:, None], 1)[:, 0], np.where(any_at_all, at + 1, AB_SETTINGS.days + 1)


def rates(rule: Rule, kind: str, stale: str) -> dict[str, float]:
    """Shares of the runs: what may happen in 5 % at most, and what has to in 80 % at least."""
    worse, day = outcome(rule, drawn(kind, 1.1))
    promoted = float(((worse == ABVerdict.PROMOTE) & (day < AB_SETTINGS.days)).mean())
    equal, day = outcome(rule, drawn(kind, 1.0))
    rejected = float((equal >= ABVerdict.REJECT).mean())
    early = float(((equal >= ABVerdict.REJECT) & (day < AB_SETTINGS.days)).mean())
    fresh, day = outcome(rule, drawn(stale, 1 / 1.2))
    soon = float(((fresh == ABVerdict.PROMOTE) & (day <= 5)).mean())
    wrong = float((fresh >= ABVerdict.REJECT).mean())
    return {
        "10 % worse, promoted before day 14": promoted,
        "equal, rejected": rejected,
        "equal, rejected before day 14": early,
        "champion 20 % stale, promoted within 5 days": soon,
        "champion 20 % stale, rejected": wrong,
    }


@pytest.mark.parametrize("stale", ["retrained", "stale"])
def test_the_rule_keeps_its_error_rates_on_real_pairs_of_models(stale: str) -> None:
    found = rates(the_rule, "retrained", stale)
    print(f"\n{stale}: " + "; ".join(f"{what}: {share:.1%}" for what, share in found.items()))
    assert found["10 % worse, promoted before day 14"] <= 0.05
    assert found["equal, rejected"] <= 0.05
    assert found["champion 20 % stale, promoted within 5 days"] >= 0.8
    assert found["champion 20 % stale, rejected"] <= 0.01


def test_error_rates_hold_for_dissimilar_models() -> None:
    found = rates(the_rule, "month", "month")
    print("\nmonth: " + "; ".join(f"{what}: {share:.1%}" for what, share in found.items()))
    assert found["10 % worse, promoted before day 14"] <= 0.05
    assert found["equal, rejected before day 14"] <= 0.05
    # A month apart, now the one is better and now the other: to be sure takes more days.
    value, _ = outcome(the_rule, drawn("month", 1 / 1.2))
    assert (value == ABVerdict.PROMOTE).mean() >= 0.95


def test_repeated_t_test_exceeds_error_rates() -> None:
    found = rates(t_test_each_day, "retrained", "retrained")
    print("\nt-test: " + "; ".join(f"{what}: {share:.1%}" for what, share in found.items()))
    assert found["equal, rejected before day 14"] > 0.1


def test_the_sequence_is_the_one_of_the_paper() -> None:
    # By hand, for 4 days and a variance of 1.
    rho2 = (5.991464547107979 + np.log(6.991464547107979)) / 4
    expected = np.sqrt(2 * (4 * rho2 + 1) / (16 * rho2) * np.log(1 + np.sqrt(4 * rho2 + 1) / 0.1))
    assert margin(np.array([4.0]), 0.05) == pytest.approx(expected)
    # On normal observations whose variance is known, looked at 1,000 times, 5 % of runs at most leave it.
    walk = np.random.default_rng(SEED).standard_normal((RUNS, 1000)).cumsum(1)
    t = np.arange(1.0, 1001.0)
    left = (walk / t > margin(t, 0.05)).any(1).mean()
    assert 0.005 < left <= 0.05


def hours(days: int, challenger: float, champion: float, spread: float = 0.1) -> Estimates:
    rng = np.random.default_rng(SEED)
    noise = 1 + spread * rng.standard_normal((2, 24 * days))
    return estimate(
        by_day(np.repeat(np.arange(days), 24), challenger * noise[0], champion * noise[1]),
        AB_SETTINGS.alpha,
        2.0,
    )


def test_bounds_are_scale_invariant() -> None:
    small, large = hours(10, 9.0, 10.0), hours(10, 900.0, 1000.0)
    for one, other in zip(astuple(small)[3:], astuple(large)[3:], strict=True):
        np.testing.assert_allclose(one, other)
    assert small.low[-1] < small.ratio[-1] < small.high[-1]
    assert small.ratio[-1] == pytest.approx(0.9, rel=0.02)
    turned = hours(10, 10.0, 9.0)
    assert turned.low[-1] > 1 > small.high[-1]


def test_no_bounds_without_data() -> None:
    estimates = estimate(
        by_day(np.zeros(2, dtype=int), np.array([1.0, 9.0]), np.array([9.0, 1.0])), 0.05, 2.0
    )
    assert (estimates.low[0], estimates.high[0]) == (0.0, np.inf)
    nothing = estimate(by_day(np.zeros(2, dtype=int), np.zeros(2), np.zeros(2)), 0.05, 2.0)
    assert nothing.ratio[0] == 1.0
    assert verdicts(nothing, AB_SETTINGS, True)[0] == ABVerdict.CONTINUE


@pytest.mark.parametrize(
    ("ratio", "days", "ended", "verdict"),
    [
        (0.5, 3, False, ABVerdict.CONTINUE),  # too early, however sure
        (0.5, 4, False, ABVerdict.PROMOTE),
        (1.0, 4, False, ABVerdict.PROMOTE),  # significantly less than 5 % worse
        (1.3, 4, False, ABVerdict.REJECT),
        (2.5, 1, False, ABVerdict.STOP),
        (1.9, 1, False, ABVerdict.CONTINUE),
    ],
)
def test_clear_results_are_decided(ratio: float, days: int, ended: bool, verdict: ABVerdict) -> None:
    assert verdicts(hours(days, 10 * ratio, 10.0, 0.02), AB_SETTINGS, ended)[-1] == verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(1.04, ABVerdict.PROMOTE), (1.06, ABVerdict.REJECT)])
def test_after_its_days_the_estimate_decides(ratio: float, verdict: ABVerdict) -> None:
    noise = np.tile([0.0, 2.0], 7)  # every other day the one is right, every other day the other
    days = np.repeat(np.arange(14), 24)
    estimates = estimate(
        by_day(days, 10 * ratio * np.repeat(noise, 24), 10 * np.repeat(noise[::-1], 24)), 0.05, 2.0
    )
    assert verdicts(estimates, AB_SETTINGS, False)[-1] == ABVerdict.CONTINUE
    assert verdicts(estimates, AB_SETTINGS, True)[-1] == verdict


def test_no_bounds_from_a_few_hours() -> None:
    for hours, bounded in ((1, False), (11, False), (24, True)):
        errors = np.linspace(9.0, 11.0, hours)
        estimates = estimate(by_day(np.zeros(hours, dtype=int), errors, errors[::-1] + 0.1), 0.05, 2.0)
        assert bool(np.isfinite(estimates.high[-1])) == bounded
        assert bool(estimates.low[-1] > 0) == bounded


def test_sample_ratio_mismatch_has_tiny_p_value() -> None:
    assert sample_ratio(50, 100, 0.5) == 1
    assert sample_ratio(60, 100, 0.5) > 0.01
    assert sample_ratio(400, 1000, 0.5) < 1e-9
    assert sample_ratio(100, 1000, 0.1) > 0.9


def test_the_errors_of_a_group_count_as_one() -> None:
    day = np.array([1, 1, 1, 1, 2])
    errors = np.array([1.0, 2.0, 3.0, 10.0, 4.0])
    days, mine, other = by_group(day, ["A", "A", "A", "B", "A"], errors, errors + 1)
    assert (days.tolist(), mine.tolist(), other.tolist()) == ([1, 1, 2], [2, 10, 4], [3, 11, 5])
    assert by_group(day, [None] * 5, errors, errors)[1] is errors


def test_design_effect_widens_bounds() -> None:
    noise = 1 + 0.2 * np.random.default_rng(3).standard_normal((2, 24 * 5))
    days = by_day(np.repeat(np.arange(5), 24), noise[0], noise[1])
    independent, alike = estimate(days, 0.05, 1.0), estimate(days, 0.05, 4.0)
    assert alike.high[-1] > independent.high[-1]
    assert alike.low[-1] < independent.low[-1]
