"""The yardstick: the same recipe, retrained every so many mornings on the truth without any delay."""

import importlib
import os
import sys
from bisect import bisect_left
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from data.feedfile import write_feed
from ladder.hands import environment
from ladder.story import Story


def predict_daily(
    folder: Path, story: Story, first: date, tell: Callable[[date], None], every: int = 1
) -> pd.DataFrame:
    """Predictions from `first` to the story's end, by a model of all clean hours before its morning, and a
    new one `every` so many days.

    The recipe is that of the package in `folder`, a working copy. Returns timestamp and prediction, one row
    an hour.
    """
    os.environ.update(environment())
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    store = importlib.import_module("bike_demand.data.store")
    features = importlib.import_module("bike_demand.data.features")
    model = importlib.import_module("bike_demand.training.model")
    training = importlib.import_module("bike_demand.settings").load_settings().training
    write_feed(story.clean, folder / "clean")
    rows = store.read_hours(folder / "clean")
    stamps = [row.timestamp for row in rows]
    said: list[float] = []
    fitted: Any = None
    begin = bisect_left(stamps, datetime.combine(first, time()))
    day, at = first, begin
    while day <= story.end:
        following = day + timedelta(days=1)
        after = bisect_left(stamps, datetime.combine(following, time()))
        if after > at:
            if (day - first).days % every == 0 or fitted is None:
                fitted = model.fit(rows[:at], training.recipe, training.half_life_days)
            said += fitted.predict(features.to_matrix(rows[at:after])).tolist()
        tell(day)
        day, at = following, after
    return pd.DataFrame({"timestamp": stamps[begin:at], "prediction": said})
