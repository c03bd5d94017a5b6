"""What another version would have predicted for the rows that one predicted: compared on the same inputs.

While the service asks both there are pairs in the log. Of the time before, the log has the inputs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bike_demand.core.current import LATE, PROBLEM, TIME, Inputs
from bike_demand.release.ab.evidence import Evidence, Trial, weigh
from bike_demand.serving.onnx_model import load_model
from bike_demand.store.deployments import Deployments
from bike_demand.store.queries import Pair, ShownPrediction, shown
from bike_demand.store.tracking import CHAMPION, HANDOFF_ARTIFACT, Tracking, Version


def compared(deployments: Deployments, trial: Trial, now: datetime) -> Evidence:
    """The watched version compared with the one before, for all rows that it predicted since it is live.

    Raises UserError where the one before cannot be loaded, UnreachableError where the database is away.
    """
    rows = shown(deployments.database, trial.version, trial.began, now - LATE)
    known = [row for row in rows if row.label is not None]
    before = deployments.tracking.version(trial.against)
    pairs = [
        Pair(
            row.time,
            CHAMPION,
            row.prediction,
            other,
            row.label or 0,
            row.key,
            row.inputs.get(PROBLEM.average_by or ""),
        )
        for row, other in zip(known, predictions(deployments.tracking, before, known), strict=True)
    ]
    return weigh(pairs, trial, deployments.settings.ab, now, len(rows) - len(known))


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
