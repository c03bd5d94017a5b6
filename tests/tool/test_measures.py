"""What the numbers of a report mean, on errors that can be checked by eye."""

from datetime import date, timedelta

import pandas as pd
import pytest

from ladder.compare import measures

START = date(2012, 1, 1)


def days(*errors: float) -> pd.DataFrame:
    index = [START + timedelta(days=number) for number in range(len(errors))]
    return pd.DataFrame({"error": [24 * error for error in errors], "hours": 24}, index=index)


def test_an_hour_without_an_answer_counts_as_a_prediction_of_zero() -> None:
    hours = pd.date_range("2012-01-01", periods=3, freq="h")
    clean = pd.DataFrame({"timestamp": hours, "count": [100, 100, 100]})
    answers = pd.DataFrame({"timestamp": hours, "prediction": [90.0, float("nan"), 105.0]})
    assert measures.mean_error(measures.daily_error(answers, clean)) == pytest.approx((10 + 100 + 5) / 3)


def test_weeks_are_counted_from_the_first_day_and_weighted_by_hours() -> None:
    found = days(*[10.0] * 7, *[20.0] * 3)
    assert measures.weekly_error(found, START, START + timedelta(days=9)) == [10.0, 20.0]


def test_a_week_that_is_not_known_from_its_first_day_has_no_error() -> None:
    found = days(*[10.0] * 7, *[20.0] * 7).iloc[2:]
    assert measures.weekly_error(found, START, START + timedelta(days=13)) == [None, 20.0]


def test_who_is_never_worse_than_the_reference_has_recovered_at_once() -> None:
    oracle = days(*[10.0] * 40)
    assert measures.days_to_recover(days(*[11.0] * 40), oracle, START + timedelta(days=10)) == 0


def test_days_count_to_the_first_week_that_is_normal_again() -> None:
    # Bad from day 10 on, good again from day 20 on: the first seven days that are all good end on day 26.
    mine = days(*[10.0] * 10, *[40.0] * 10, *[10.0] * 30)
    assert measures.days_to_recover(mine, days(*[10.0] * 50), START + timedelta(days=10)) == 16


def test_days_on_which_the_reference_is_as_wrong_are_no_recovery() -> None:
    # A step on day 10: for ten days nobody knows better, then the reference learns, the stale model not.
    oracle = days(*[10.0] * 10, *[50.0] * 10, *[12.0] * 40)
    assert (
        measures.days_to_recover(days(*[10.0] * 10, *[50.0] * 50), oracle, START + timedelta(days=10)) is None
    )
    learned_late = days(*[10.0] * 10, *[50.0] * 30, *[12.0] * 20)
    assert measures.days_to_recover(learned_late, oracle, START + timedelta(days=10)) == 36


def test_a_good_stretch_shorter_than_a_week_is_no_recovery() -> None:
    mine = days(*[10.0] * 10, *[40.0] * 10, *[10.0] * 12)
    assert measures.days_to_recover(mine, days(*[10.0] * 32), START + timedelta(days=10)) is None


def test_what_goes_wrong_for_the_first_time_weeks_later_is_another_matter() -> None:
    oracle = days(*[10.0] * 80)
    late = days(*[10.0] * 50, *[40.0] * 5, *[10.0] * 25)
    assert measures.days_to_recover(late, oracle, START + timedelta(days=10)) == 0
    assert measures.days_to_recover(late, oracle, START + timedelta(days=45)) == 16


def test_a_bad_week_after_the_aftermath_of_a_fault_that_ended_is_not_due_to_it() -> None:
    oracle, later = days(*[10.0] * 60), days(*[10.0] * 26, *[20.0] * 34)
    since, last = START + timedelta(days=10), START + timedelta(days=16)
    assert measures.days_to_recover(later, oracle, since, over=last) == 0
    assert measures.days_to_recover(later, oracle, since) is None
    during = days(*[10.0] * 12, *[20.0] * 5, *[10.0] * 43)
    assert measures.days_to_recover(during, oracle, since, over=last) == 12


def test_a_second_blow_after_the_recovery_does_not_undo_it() -> None:
    mine = days(*[10.0] * 10, *[40.0] * 10, *[10.0] * 30, *[60.0] * 5, *[10.0] * 25)
    assert measures.days_to_recover(mine, days(*[10.0] * 80), START + timedelta(days=10)) == 16


def test_before_there_is_a_whole_week_nothing_is_abnormal() -> None:
    # The incident is on the story's second day: neither error over 7 days is known before the seventh.
    assert measures.days_to_recover(days(*[10.0] * 30), days(*[10.0] * 30), START + timedelta(days=1)) == 0


def test_the_error_over_seven_days_is_weighted_by_hours_and_unknown_for_a_day_without() -> None:
    found = days(*[10.0] * 7, 80.0, *[10.0] * 7)
    assert measures.error_7_days(found, START, START + timedelta(days=8)) == [*[None] * 6, 10.0, 20.0, 20.0]
    without = measures.error_7_days(
        found.drop(index=START + timedelta(days=7)), START, START + timedelta(days=8)
    )
    assert without == [*[None] * 6, 10.0, None, 10.0]


def test_how_many_times_normal_an_error_is_begins_with_the_seventh_day_of_the_retrained_daily() -> None:
    found = measures.times_normal(days(*[20.0] * 20), days(*[10.0] * 20).iloc[5:])
    assert (found.index[0], found.index[-1]) == (START + timedelta(days=11), START + timedelta(days=19))
    assert set(found) == {2.0}
