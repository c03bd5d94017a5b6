"""The yardstick: the same recipe, retrained every so many mornings on the truth without any delay."""

import importlib
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from time import process_time
from typing import Any

import pandas as pd

from data.feedfile import write_feed
from ladder.compare.checkpoint import Checkpoint
from ladder.hands import move_in
from ladder.story import Story
from ladder.workers import Progress, Tell


def predict_daily(
    folder: Path, story: Story, first: date, tell: Tell, every: int = 1, checkpoint: Checkpoint | None = None
) -> pd.DataFrame:
    """Predictions from `first` to the story's end, by a model of all clean hours before its morning, and a
    new one `every` so many days.

    The recipe is that of the package in `folder`, a working copy. Returns timestamp and prediction, one row
    an hour. Goes on where `checkpoint` says that it was cut off.
    """
    state = _State(first)
    if checkpoint is not None and checkpoint.reached() is not None:
        state = checkpoint.restore(folder)
    move_in(folder)
    store = importlib.import_module("bike_demand.data.store")
    features = importlib.import_module("bike_demand.data.features")
    model = importlib.import_module("bike_demand.training.model")
    training = importlib.import_module("bike_demand.settings").load_settings().training
    write_feed(story.clean, folder / "clean")
    rows = store.read_hours(folder / "clean")
    stamps = [row.timestamp for row in rows]
    fitted: Any = None
    begin = bisect_left(stamps, datetime.combine(first, time()))
    at = begin + len(state.said)
    while state.day <= story.end:
        day, state.day = state.day, state.day + timedelta(days=1)
        after = bisect_left(stamps, datetime.combine(state.day, time()))
        if after > at:
            if (day - first).days % every == 0 or fitted is None:
                fitted = model.fit(rows[:at], training.recipe, training.half_life_days)
            state.said += fitted.predict(features.to_matrix(rows[at:after])).tolist()
        at = after
        if checkpoint is not None and every == 1 and checkpoint.is_time():
            checkpoint.keep(day, state, folder)
        tell(Progress(day, (day - first).days + 1, seconds=process_time()))
    found = pd.DataFrame({"timestamp": stamps[begin:at], "prediction": state.said})
    if checkpoint is not None:
        checkpoint.done(found)
    return found


@dataclass
class _State:
    """The next day, and what was said for the hours before it."""

    day: date
    said: list[float] = field(default_factory=list)
