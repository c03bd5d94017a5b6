"""The oracle of a comparison: the same recipe, retrained every morning on the truth, without delay."""

import importlib
from datetime import date, timedelta
from pathlib import Path
from time import process_time
from typing import Any

import pandas as pd

from ladder.steps import enter
from ladder.story import Story
from ladder.workers import Progress, Report
from ladder.world.feedfile import write_feed


def run_oracle(folder: Path, story: Story, first: date, report: Report, every: int = 1) -> pd.DataFrame:
    """Predictions from `first` to the story's end, by a model trained on all clean hours before its morning,
    and retrained every `every` days.

    The recipe is that of the package in `folder`, a working copy. Returns timestamp and prediction, one row
    per hour.
    """
    enter(folder)
    table = importlib.import_module("bike_demand.data.table")
    frames = importlib.import_module("bike_demand.data.frames")
    model = importlib.import_module("bike_demand.training.train")
    training = importlib.import_module("bike_demand.core.settings").load_settings().training
    write_feed(story.clean, folder / "clean")
    months = sorted((folder / "clean").glob("*.csv"))
    rows = frames.concat(table.read_month_file(path.read_bytes(), path.stem, path.name) for path in months)
    stamps = rows["timestamp"]
    fitted: Any = None
    begin = at = int(stamps.searchsorted(pd.Timestamp(first)))
    predictions: list[float] = []
    for number in range((story.end - first).days + 1):
        day = first + timedelta(days=number)
        after = int(stamps.searchsorted(pd.Timestamp(day + timedelta(days=1))))
        if after > at:
            if number % every == 0 or fitted is None:
                fitted = model.fit(rows[:at], training.params, training.half_life_days)
            predictions += model.predict(fitted, frames.features_of(rows[at:after])).tolist()
        at = after
        report(Progress(day, number + 1, seconds=process_time()))
    return pd.DataFrame({"timestamp": stamps[begin:at], "prediction": predictions})
