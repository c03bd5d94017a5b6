"""What another version would have answered to the hours that one answered: compared on the same inputs.

While the service asks both there are pairs in the log. Of the time before, the log has the inputs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bike_demand.data.schema import Conditions
from bike_demand.prediction_log.database import Database
from bike_demand.prediction_log.queries import Pair, ShownPrediction, shown
from bike_demand.release.ab.evidence import Evidence, Trial, TrialKind, weigh
from bike_demand.serving.onnx_model import load_model
from bike_demand.settings import Settings
from bike_demand.tracking import CHAMPION, HANDOFF_ARTIFACT, Tracking, Version


def compared(
    settings: Settings,
    tracking: Tracking,
    database: Database,
    version: Version,
    good: Version,
    began: datetime,
    now: datetime,
) -> Evidence:
    """The champion since `began` beside the good one, weighed like the watch of a promotion.

    Raises UserError where the good one cannot be loaded, UnreachableError where the database is away.
    """
    rows = shown(database, version.number, began, now)
    known = [row for row in rows if row.count is not None]
    pairs = [
        Pair(row.hour, CHAMPION, row.prediction, other, row.count or 0)
        for row, other in zip(known, predictions(tracking, good, known), strict=True)
    ]
    trial = Trial(
        kind=TrialKind.WATCH,
        version=version.number,
        against=good.number,
        mode="shadow",
        share=0.0,
        salt="",
        began=began,
        days=settings.ab.watch_days,
    )
    return weigh(pairs, trial, settings.ab, now, len(rows) - len(known))


def predictions(tracking: Tracking, version: Version, rows: Sequence[ShownPrediction]) -> list[float]:
    """What the version answers to these rows. Raises UserError where it cannot be loaded."""
    if not rows:
        return []
    with TemporaryDirectory() as scratch:
        folder = tracking.fetch(version.run_id, HANDOFF_ARTIFACT, Path(scratch))
        return load_model(folder).predict([conditions(row.hour, row.conditions) for row in rows])


def conditions(hour: datetime, values: Mapping[str, Any]) -> Conditions:
    """A row of the log as a request."""
    return Conditions.model_validate({"timestamp": hour, **values})
