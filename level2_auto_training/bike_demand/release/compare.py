"""Candidate and champion on the same fresh rows, by their evaluation twins."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bike_demand.data.schema import Hour
from bike_demand.data.table import iso
from bike_demand.data.target import error, targets
from bike_demand.errors import UserError
from bike_demand.serving.onnx_model import load_model
from bike_demand.tracking import HANDOFF_ARTIFACT, Dataset, Tracking, Version


@dataclass(frozen=True)
class Comparison:
    """Mean errors of two twins on rows that neither was trained on."""

    rows: int
    first: str | None  # hours in ISO 8601; None where there are no rows
    last: str | None
    candidate: float  # NaN where there are no rows
    champion: float | None  # None where nothing is live


def compare(
    tracking: Tracking, candidate: Version, champion: Version | None, hours: Sequence[Hour]
) -> Comparison:
    """Compare on those of the gathered hours that lie after what both twins learned from.

    The models that were registered saw the latest rows, so only their twins can be judged on them. Raises
    UserError where a twin is unknown or cannot be read.
    """
    both = [version for version in (candidate, champion) if version is not None]
    learned_until = max(_data_of(tracking, version).last for version in both)
    fresh = [row for row in hours if iso(row.timestamp) > learned_until]
    errors = [_error(tracking, version, fresh) for version in both]
    return Comparison(
        len(fresh),
        iso(fresh[0].timestamp) if fresh else None,
        iso(fresh[-1].timestamp) if fresh else None,
        errors[0],
        errors[1] if champion is not None else None,
    )


def _data_of(tracking: Tracking, version: Version) -> Dataset:
    dataset = tracking.run(_twin(version)).dataset
    if dataset is None:
        raise UserError(
            f"version {version.number}: nobody knows which rows its twin learned from; train anew"
        )
    return dataset


def _error(tracking: Tracking, version: Version, rows: Sequence[Hour]) -> float:
    with TemporaryDirectory() as scratch:
        twin = load_model(tracking.fetch(_twin(version), HANDOFF_ARTIFACT, Path(scratch)))
    if not rows:
        return float("nan")
    return float(error(np.array(twin.predict(rows)), targets(rows)).mean())


def _twin(version: Version) -> str:
    if version.twin_run_id is None:
        raise UserError(f"version {version.number}: it has no evaluation twin to judge it by; train anew")
    return version.twin_run_id
