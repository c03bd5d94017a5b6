"""The release gate: integration test, comparison of candidate and champion, and promotion."""

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from bike_demand.core.current import PROBLEM, TIME, format_loss, loss_with_unit, targets
from bike_demand.core.errors import UserError
from bike_demand.core.settings import Release
from bike_demand.data.frames import input_columns, mean_loss, time_range
from bike_demand.data.month import iso
from bike_demand.release.checks import CHECKS, failures
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.store.tracking import CHAMPION, HANDOFF_ARTIFACT, Dataset, Tracking, Version

# Tags of released versions.
ERROR_TAG = "release.error"
CHAMPION_ERROR_TAG = "release.champion_error"
ROWS_TAG = "release.rows"
INSTEAD_TAG = "release.instead_of"
OVERRIDE_TAG = "release.override"


@dataclass(frozen=True)
class Comparison:
    """Mean errors of two holdout models on rows that neither was trained on."""

    rows: int
    first: str | None  # event times in ISO 8601; None without rows
    last: str | None
    candidate: float  # NaN without rows
    champion: float | None  # None if nothing is live


@dataclass(frozen=True)
class Proposal:
    """A candidate next to the champion. `objections` to a release are one sentence each."""

    candidate: Version
    champion: Version | None
    comparison: Comparison | None  # None if a holdout model could not be read
    objections: tuple[str, ...]


def newest(tracking: Tracking) -> Version:
    """The version registered last. Raises UserError if there is none."""
    versions = tracking.versions()
    if not versions:
        raise UserError("no version is registered yet; run `python -m bike_demand train` first")
    return versions[-1]


def propose(tracking: Tracking, candidate: Version, rows: pd.DataFrame, settings: Release) -> Proposal:
    """Run a candidate's integration test, and compare its holdout model with the champion's on fresh rows."""
    champion = tracking.champion()
    objections = [
        f"its integration test fails: {message}" for message in _integration_failures(tracking, candidate)[:1]
    ]
    comparison = None
    try:
        comparison = _compare(tracking, candidate, champion, rows)
    except UserError as error:
        objections.append(f"it cannot be compared: {error}")
    else:
        objections += _comparison_objections(comparison, settings)
    return Proposal(candidate, champion, comparison, tuple(objections))


def release(tracking: Tracking, proposal: Proposal, override: str | None) -> None:
    """Make the candidate the champion, and record the comparison in tags.

    Raises UserError if there are objections and no reason to override them, or if another version went live
    after the comparison.
    """
    number = proposal.candidate.number
    if proposal.objections and override is None:
        raise UserError(
            f"version {number} is refused: {'; '.join(proposal.objections)}; train a better one, or give"
            " --override REASON"
        )
    live, compared = tracking.champion(), proposal.champion
    if (live.number if live else None) != (compared.number if compared else None):
        raise UserError(f"version {live.number if live else 'none'} went live in the meantime; compare again")
    tags = {INSTEAD_TAG: str(compared.number) if compared else "none"}
    if (comparison := proposal.comparison) is not None:
        tags |= {ROWS_TAG: str(comparison.rows), ERROR_TAG: f"{comparison.candidate:.6g}"}
        if comparison.champion is not None:
            tags[CHAMPION_ERROR_TAG] = f"{comparison.champion:.6g}"
    if proposal.objections and override is not None:
        tags[OVERRIDE_TAG] = f"{override} (against: {'; '.join(proposal.objections)})"[:5000]
    tracking.set_alias(CHAMPION, number, tags)


def roll_back(tracking: Tracking) -> Version:
    """Restore the version that the champion replaced.

    Raises UserError if there is none or it cannot be loaded, and then changes nothing.
    """
    champion = tracking.champion()
    earlier = "" if champion is None else champion.tags.get(INSTEAD_TAG, "")
    if not earlier.isdecimal():
        raise UserError("there is no earlier release to roll back to; release a version instead")
    version = tracking.version(int(earlier))
    try:
        _load(tracking, version.run_id)  # services would ignore a version that does not load
    except UserError as error:
        raise UserError(f"version {earlier} cannot be loaded, so nothing was changed: {error}") from None
    tracking.set_alias(CHAMPION, version.number)
    return version


def summary_lines(proposal: Proposal) -> list[str]:
    """The comparison as lines of text."""
    candidate, champion, comparison = proposal.candidate, proposal.champion, proposal.comparison
    lines = []
    if comparison is None or not comparison.rows:
        lines.append(f"Version {candidate.number}: no data to compare it on.")
    else:
        lines.append(
            f"On {comparison.rows} rows that neither holdout model was trained on, {comparison.first} to"
            f" {comparison.last}, {PROBLEM.loss.name} in {PROBLEM.loss.unit}:"
        )
        lines.append(f"  version {candidate.number:<5} candidate  {format_loss(comparison.candidate):>7}")
        if champion is not None and comparison.champion is not None:
            change = comparison.candidate / comparison.champion - 1 if comparison.champion else 0.0
            lines.append(f"  version {champion.number:<5} live       {format_loss(comparison.champion):>7}")
            lines.append(f"The candidate's error is {abs(change):.0%} {'higher' if change > 0 else 'lower'}.")
        else:
            lines.append("Nothing is live yet.")
    failed = any(message.startswith("its integration test") for message in proposal.objections)
    lines.append(
        f"Integration test in the application, {len(CHECKS)} checks: {'failed' if failed else 'passed'}."
    )
    return lines


def _integration_failures(tracking: Tracking, candidate: Version) -> list[str]:
    with TemporaryDirectory() as scratch:
        try:
            return failures(tracking.fetch(candidate.run_id, HANDOFF_ARTIFACT, Path(scratch)))
        except UserError as error:
            return [str(error)]


def _comparison_objections(comparison: Comparison, settings: Release) -> list[str]:
    if comparison.rows < settings.min_rows:
        return [
            f"only {comparison.rows} fresh rows to compare on, but release.min_rows in params.yaml is"
            f" {settings.min_rows}; run ingest once the feed has more"
        ]
    new, live = comparison.candidate, comparison.champion
    if not math.isfinite(new):
        return ["it has no prediction for some of the fresh rows"]
    if live is not None and new > live * (1 + settings.tolerance):
        return [f"it is worse than the live version ({loss_with_unit(new)} against {loss_with_unit(live)})"]
    return []


def _compare(
    tracking: Tracking, candidate: Version, champion: Version | None, rows: pd.DataFrame
) -> Comparison:
    """Compare on those ingested rows that are newer than the training data of both holdout models.

    The registered models were refit on all rows, so that only their holdout models can be evaluated on recent
    ones. Raises UserError if one of them is unknown or cannot be read.
    """
    both = [version for version in (candidate, champion) if version is not None]
    learned_until = max(_holdout_dataset(tracking, version).last for version in both)
    fresh = rows[rows[TIME] > datetime.fromisoformat(learned_until)]
    errors = [_error(tracking, version, fresh) for version in both]
    first, last = (None, None) if fresh.empty else map(iso, time_range(fresh))
    return Comparison(len(fresh), first, last, errors[0], None if champion is None else errors[1])


def _holdout_dataset(tracking: Tracking, version: Version) -> Dataset:
    dataset = tracking.run(_holdout_run(version)).dataset
    if dataset is None:
        raise UserError(
            f"version {version.number}: the rows of its holdout model are unknown; train a new version"
        )
    return dataset


def _error(tracking: Tracking, version: Version, rows: pd.DataFrame) -> float:
    model = _load(tracking, _holdout_run(version))
    if rows.empty:
        return float("nan")
    predicted = np.array(model.predict_columns(input_columns(rows)))
    return mean_loss(PROBLEM.loss.per_row(predicted, targets(rows)), rows)


def _load(tracking: Tracking, run_id: str) -> OnnxModel:
    """The model logged by a run. Raises UserError."""
    with TemporaryDirectory() as scratch:
        return load_model(tracking.fetch(run_id, HANDOFF_ARTIFACT, Path(scratch)))


def _holdout_run(version: Version) -> str:
    if version.holdout_run_id is None:
        raise UserError(f"version {version.number}: it has no holdout model to evaluate; train a new version")
    return version.holdout_run_id
