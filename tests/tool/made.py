"""Stories and replays that are made up, so that what comes of them can be checked by eye."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd

from ladder.compare.results import ReplayResult
from ladder.story import Incident, Story
from ladder.world.scenario import load_scenario

START = date(2012, 1, 1)
COUNT = 100  # bikes in each hour


def day(number: int) -> date:
    """The day of that number, the story's first being 0."""
    return START + timedelta(days=number)


def story(days: int, *incidents: Incident) -> Story:
    """So many days on which the same number of bikes is rented in each hour."""
    hours = pd.date_range(START, periods=24 * days, freq="h")
    clean = pd.DataFrame({"timestamp": hours, "count": COUNT})
    return Story("made", START, day(days - 1), clean, load_scenario("calm"), incidents)


def answers(*errors: float) -> pd.DataFrame:
    """Answers that are wrong by so many bikes on each day; NaN: no answer was given."""
    hours = pd.date_range(START, periods=24 * len(errors), freq="h")
    return pd.DataFrame(
        {"timestamp": hours, "prediction": [COUNT - error for error in errors for _ in range(24)]}
    )


def replayed(level: int, errors: Sequence[float], **more: Any) -> ReplayResult:
    """What a replay leaves whose answers were so wrong on each day."""
    return ReplayResult(level, answers(*errors), **more)
