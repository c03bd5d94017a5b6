"""What another version would have predicted for the rows that one predicted: compared on the same inputs.

While the service asks both there are pairs in the log. Of the time before, the log has the inputs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bike_demand.core.current import TIME, Inputs
from bike_demand.core.settings import Settings
from bike_demand.release.ab.evidence import Evidence, Trial, TrialKind, weigh
from bike_demand.serving.onnx_model import load_model
from bike_demand.store.database import Database
from bike_demand.store.queries import Pair, ShownPrediction, shown
from bike_demand.store.tracking import CHAMPION, HANDOFF_ARTIFACT, Tracking, Version


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
    known = [row for row in rows if row.label is not None]
    pairs = [
        Pair(row.time, CHAMPION, row.prediction, other, row.label or 0)
        for row, other in zip(known, predictions(tracking, good, known), strict=True)
    ]
    trial = Trial(
        kind=TrialKind.WATCH,
        version=version.number,
        against=good.number,
        began=began,
        days=settings.ab.watch_days,
    )
    return weigh(pairs, trial, settings.ab, now, len(rows) - len(known))


def predictions(tracking: Tracking, version: Version, rows: Sequence[ShownPrediction]) -> list[float]:
    """What the version predicts for these rows. Raises UserError where it cannot be loaded."""
    if not rows:
        return []
    with TemporaryDirectory() as scratch:
        folder = tracking.fetch(version.run_id, HANDOFF_ARTIFACT, Path(scratch))
        return load_model(folder).predict([as_request(row.time, row.inputs) for row in rows])


def as_request(event_time: datetime, values: Mapping[str, Any]) -> Inputs:
    """A row of the log as a request."""
    row: Inputs = Inputs.model_validate({TIME: event_time, **values})
    return row
