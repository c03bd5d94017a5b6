"""The reference of a comparison: the same recipe, retrained every morning on the truth, without any delay."""

import importlib
from bisect import bisect_left
from datetime import date, datetime, time, timedelta
from pathlib import Path
from time import process_time
from typing import Any

import pandas as pd

from ladder.steps import enter
from ladder.story import Story
from ladder.workers import Progress, Report
from ladder.world.feedfile import write_feed


def predict_daily(folder: Path, story: Story, first: date, report: Report, every: int = 1) -> pd.DataFrame:
    """Predictions from `first` to the story's end, by a model of all clean hours before its morning, and a
    new one `every` so many days.

    The recipe is that of the package in `folder`, a working copy. Returns timestamp and prediction, one row
    an hour.
    """
    enter(folder)
    current = importlib.import_module("bike_demand.core.current")
    store = importlib.import_module("bike_demand.data.store")
    features = importlib.import_module("bike_demand.data.features")
    model = importlib.import_module("bike_demand.training.model")
    training = importlib.import_module("bike_demand.core.settings").load_settings().training
    write_feed(story.clean, folder / "clean")
    rows = store.read_rows(folder / "clean")
    stamps = [current.time_of(row) for row in rows]
    fitted: Any = None
    begin = at = bisect_left(stamps, datetime.combine(first, time()))
    predictions: list[float] = []
    for number in range((story.end - first).days + 1):
        day = first + timedelta(days=number)
        after = bisect_left(stamps, datetime.combine(day + timedelta(days=1), time()))
        if after > at:
            if number % every == 0 or fitted is None:
                fitted = model.fit(rows[:at], training.params, training.half_life_days)
            predictions += fitted.predict(features.to_matrix(rows[at:after])).tolist()
        at = after
        report(Progress(day, number + 1, seconds=process_time()))
    return pd.DataFrame({"timestamp": stamps[begin:at], "prediction": predictions})
