"""Measures of a replay: errors against the truth, and how long after an incident they were normal again."""

from datetime import date, timedelta
from typing import cast

import numpy as np
import pandas as pd

WITHIN = 1.2  # the error is normal within this factor of the oracle's ...
DAYS = 7  # ... over this many days, and stays so for as many
SEARCH_DAYS = 21  # days after an incident; a later first deviation has another cause


def daily_error(predictions: pd.DataFrame, clean: pd.DataFrame) -> pd.DataFrame:
    """Sum of absolute errors and number of hours for each day, as columns `error` and `hours`.

    `predictions` has timestamp and prediction, `clean` timestamp and count, the same hours in both.
    An hour without a prediction counts as a prediction of 0.
    """
    both = clean[["timestamp", "count"]].merge(predictions, on="timestamp", how="left", validate="one_to_one")
    error = (both["prediction"].fillna(0) - both["count"]).abs()
    hours = pd.DataFrame({"error": error, "hours": 1})
    return hours.groupby(both["timestamp"].dt.date).sum()


def mean_error(days: pd.DataFrame) -> float:
    """Mean absolute error, in bikes an hour, over all hours of these days."""
    return float(days["error"].sum() / days["hours"].sum())


def weekly_error(days: pd.DataFrame, start: date, end: date) -> list[float | None]:
    """Mean absolute error of each week from `start` to `end`, in bikes an hour.

    The last week may be shorter. None for a week with unknown days.
    """
    known = _each_day(days, start, end)
    week = np.arange(len(known)) // 7
    sums = known.groupby(week).sum()
    return _rounded((sums["error"] / sums["hours"]).where(known["hours"].notna().groupby(week).all()))


def error_7_days(days: pd.DataFrame, start: date, end: date) -> list[float | None]:
    """Mean absolute error over each day from `start` to `end` and the six before it, in bikes an hour.

    None until seven days are available, and for a day without hours.
    """
    known = _each_day(days, start, end).fillna(0)
    sums = known.rolling(DAYS).sum()
    return _rounded((sums["error"] / sums["hours"]).where(known["hours"] > 0))


def _each_day(days: pd.DataFrame, start: date, end: date) -> pd.DataFrame:
    return days.reindex([start + timedelta(days=number) for number in range((end - start).days + 1)])


def _rounded(errors: pd.Series) -> list[float | None]:
    return [None if error != error else round(float(error), 2) for error in errors]


def times_normal(days: pd.DataFrame, oracle: pd.DataFrame) -> pd.Series:
    """By day, the ratio of the 7-day error to the oracle's 7-day error.

    Both frames come from `daily_error`. It begins with the oracle's seventh day.
    """
    sums = [frame.rolling(DAYS).sum() for frame in (days.loc[oracle.index[0] :], oracle)]
    errors = [frame["error"] / frame["hours"] for frame in sums]
    return (errors[0] / errors[1]).dropna()


def days_to_recover(
    days: pd.DataFrame,
    oracle: pd.DataFrame,
    incident: date,
    until: date | None = None,
    over: date | None = None,
) -> int | None:
    """Days from an incident until the error was normal again; None if it was not before `until`.

    Normal means that the 7-day error is within 1.2 times that of a model retrained daily without delay (the
    oracle), for 7 days. Counted from the incident to the first day of that stretch, which is searched after
    the last abnormal day within the aftermath: right after a step in demand the oracle knows no better than
    anybody, so the first days, on which all are equally wrong, are not a recovery. The aftermath is 7 days
    after `over`, the last day, because that day stays in the error for as long; three weeks if there is no
    last day. If no day in it is abnormal, there was nothing to recover from: 0.

    Both frames come from `daily_error`; the oracle's must begin 6 days before the incident.
    """
    good = times_normal(days, oracle).loc[incident:until] <= WITHIN
    aftermath = good.loc[: over + timedelta(days=DAYS) if over else incident + timedelta(days=SEARCH_DAYS)]
    if aftermath.all():
        return 0
    good = good.loc[aftermath[~aftermath].index[-1] :]
    proven = good.rolling(DAYS).sum() == DAYS
    if not proven.any():
        return None
    confirmed = cast(date, proven.idxmax())
    return (confirmed - incident).days - (DAYS - 1)
