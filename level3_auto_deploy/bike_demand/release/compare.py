"""Candidate and champion on the same fresh rows, by their evaluation twins.

The models that were registered saw the latest rows, so only their twins can be judged on them.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from scipy import stats

from bike_demand.data.schema import Hour
from bike_demand.data.table import iso
from bike_demand.data.target import Floats, error, targets
from bike_demand.errors import UserError
from bike_demand.serving.onnx_model import load_model
from bike_demand.tracking import Dataset, Tracking, Version


def fresh_rows(tracking: Tracking, versions: Sequence[Version], hours: Sequence[Hour]) -> list[Hour]:
    """The hours after what any of the versions' twins learned from. Raises UserError where one is unknown."""
    learned_until = max(learned_by(tracking, version, twin_of(version)).last for version in versions)
    return [row for row in hours if iso(row.timestamp) > learned_until]


def learned_by(tracking: Tracking, version: Version, run_id: str) -> Dataset:
    """What one of the version's runs learned from. Raises UserError where nobody knows."""
    dataset = tracking.run(run_id).dataset
    if dataset is None:
        raise UserError(
            f"version {version.number}: nobody knows which rows run {run_id} learned from; train anew"
        )
    return dataset


def twin_of(version: Version) -> str:
    """The run of the version's evaluation twin. Raises UserError where it has none."""
    if version.twin_run_id is None:
        raise UserError(f"version {version.number}: it has no evaluation twin to judge it by; train anew")
    return version.twin_run_id


def errors_of(handoff: Path, rows: Sequence[Hour]) -> Floats:
    """What a model is off by, shape [rows]; NaN or infinite where it has no answer.

    Raises UserError where the hand-off cannot be read.
    """
    model = load_model(handoff)
    answers = np.array(model.predict(rows) if rows else [], dtype=np.float64)
    return error(answers, targets(rows))


def lower_bound(values: Floats, times: Sequence[datetime], confidence: float) -> float:
    """A one-sided lower confidence bound of the mean; -inf where there is but one day.

    Hours of one day err together (a forecast that is off, an event in town), so the days are the independent
    units: a variance that is robust to clusters, with Student's t for as many days (Cameron and Miller, "A
    practitioner's guide to cluster-robust inference", Journal of Human Resources 2015).
    """
    _, day = np.unique([time.toordinal() for time in times], return_inverse=True)
    clusters = int(day.max()) + 1
    if clusters < 2:
        return -np.inf
    mean = values.mean()
    sums = np.bincount(day, weights=values - mean)
    variance = clusters / (clusters - 1) * float((sums**2).sum()) / len(values) ** 2
    return float(mean - stats.t.ppf(confidence, clusters - 1) * np.sqrt(variance))
