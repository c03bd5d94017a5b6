"""Predicts logged rows again with another version, to compare two versions on the same inputs.

While the service runs both, the log has pairs of predictions. For earlier rows it has
only the inputs, so the other version predicts them again.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bike_demand.core.current import LABEL_LAG, PROBLEM, TIME, Inputs
from bike_demand.release.ab.evidence import Comparison, Evidence, evaluate
from bike_demand.serving.onnx_model import load_model
from bike_demand.store.deployments import Deployments
from bike_demand.store.queries import Pair, ShownPrediction, shown
from bike_demand.store.tracking import CHAMPION, HANDOFF_ARTIFACT, Tracking, Version


def compare_with_previous(deployments: Deployments, comparison: Comparison, now: datetime) -> Evidence:
    """Compare the watched version with the previous one, on all rows that it predicted since it went live.

    Raises UserError if the previous version cannot be loaded, UnreachableError if the database is down.
    """
    rows = shown(deployments.database, comparison.version, comparison.began, now - LABEL_LAG)
    known = [row for row in rows if row.label is not None]
    previous = deployments.tracking.version(comparison.against)
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
        for row, other in zip(known, predict_again(deployments.tracking, previous, known), strict=True)
    ]
    return evaluate(pairs, comparison, deployments.settings.ab, now, len(rows) - len(known))


def predict_again(tracking: Tracking, version: Version, rows: Sequence[ShownPrediction]) -> list[float]:
    """The version's predictions for these rows. Raises UserError if it cannot be loaded."""
    if not rows:
        return []
    with TemporaryDirectory() as scratch:
        folder = tracking.fetch(version.run_id, HANDOFF_ARTIFACT, Path(scratch))
        # Validated when they were requested; a replaced value need not be valid, like the mean of integers.
        inputs = [Inputs.model_construct(**{TIME: row.time}, **row.inputs) for row in rows]
        return load_model(folder).predict(inputs)
