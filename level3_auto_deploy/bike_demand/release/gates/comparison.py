"""Gates that compare errors on fresh rows, which neither version's holdout model was trained on.

The refit that goes live was trained on the latest rows, so a version is evaluated by its holdout model. The
refit is only checked for plausibility against its holdout model.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bike_demand.core.current import PROBLEM, TIME, format_loss, loss_with_unit, targets
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Array, Floats
from bike_demand.data.frames import input_columns, mean_loss, rows_per_day, time_range
from bike_demand.data.month import iso
from bike_demand.release.gates.integrity import GateContext, GateResult
from bike_demand.serving.onnx_model import load_model
from bike_demand.store.tracking import Tracking, Version

LEARNED_DAYS, LEARNED_ROWS = 28, 28 * 24  # latest training rows of a refit used to check it: the larger span


def compare_errors(context: GateContext) -> GateResult:
    """Compares the errors of both versions' holdout models, and of the version's refit and holdout model.

    On a week of rows, differences of a few percent are indistinguishable from noise. A version is therefore
    refused only if it is significantly worse, or if its error is so much higher that users must not be
    exposed to it. On its latest training rows, a refit's error is typically 0.6 to 0.85 of its holdout
    model's; a much higher one suggests that the refit is broken (swapped columns, another file), however
    good the holdout model. Raises UserError if a holdout model is unknown or cannot be read.
    """
    limits = context.settings.deploy
    version, champion = context.version, context.champion
    both = [each for each in (version, champion) if each is not None]
    rows = fresh_rows(context.tracking, both, context.rows)
    errors = [errors_of(context.handoff(holdout_run(each)), rows) for each in both]
    last = _learned_until(context.tracking, version, version.run_id)
    learned = context.rows[context.rows[TIME] <= last]
    learned = learned[-max(LEARNED_ROWS, LEARNED_DAYS * rows_per_day(learned)) :]
    if min(len(rows), len(learned)) < limits.min_rows:
        summary = (
            f"only {len(rows)} fresh rows and {len(learned)} training rows to compare on, but deploy.min_rows"
            f" in params.yaml is {limits.min_rows}; run ingest once the feed has more"
        )
        return GateResult(False, summary, {"rows": len(rows)})
    refit, holdout = (
        mean_loss(errors_of(context.handoff(run_id), learned), learned)
        for run_id in (version.run_id, holdout_run(version))
    )
    first, latest = map(iso, time_range(rows))
    evidence: dict[str, Any] = {
        "rows": len(rows),
        "first": first,
        "last": latest,
        "confidence": limits.confidence,
        "error_worse": limits.error_worse,
    }
    if not (np.isfinite(errors[0]).all() and np.isfinite(refit)):
        return GateResult(False, "it has no prediction for some of the rows", evidence)
    candidate = mean_loss(errors[0], rows)
    evidence |= {"candidate": candidate, "refit": refit, "holdout": holdout}
    if refit > holdout * (1 + limits.error_worse):
        summary = (
            f"refit's error {loss_with_unit(refit)} on training rows, holdout model's {format_loss(holdout)}:"
            f" more than {limits.error_worse:.0%} higher; check the refit"
        )
        return GateResult(False, summary, evidence)
    if champion is None:
        summary = f"error {loss_with_unit(candidate)}; no champion to compare with"
        return GateResult(True, summary, evidence)
    live = mean_loss(errors[1], rows)
    bound = lower_bound(errors[0] - errors[1], input_columns(rows)[TIME], _weights(rows), limits.confidence)
    evidence |= {"champion": live, "difference_lower_bound": bound if np.isfinite(bound) else None}
    summary = f"error {loss_with_unit(candidate)} on {len(rows)} fresh rows, champion {format_loss(live)}"
    if bound > 0:
        return GateResult(False, f"{summary}: it is worse with {limits.confidence:.0%} confidence", evidence)
    if candidate > live * (1 + limits.error_worse):
        return GateResult(False, f"{summary}: it is more than {limits.error_worse:.0%} worse", evidence)
    return GateResult(True, summary, evidence)


def compare_slices(context: GateContext) -> GateResult:
    """Compares errors on the problem's slices.

    Slices have few rows: requiring "not worse" on each would refuse nine of ten good candidates by chance. A
    slice therefore refuses only if a one-sided bound shows the error to be worse by more than a set share.
    Raises UserError if a holdout model cannot be read.
    """
    if context.champion is None:
        return GateResult(True, "no champion to compare with")
    limits = context.settings.deploy
    rows = fresh_rows(context.tracking, (context.version, context.champion), context.rows)
    if rows.empty:
        return GateResult(False, "no fresh rows to compare on; run ingest once the feed has more")
    candidate, champion = (
        errors_of(context.handoff(holdout_run(version)), rows)
        for version in (context.version, context.champion)
    )
    columns = input_columns(rows)
    table: list[dict[str, Any]] = []
    for name, belongs in PROBLEM.slices.items():
        chosen = belongs(columns)
        count = int(chosen.sum())
        if not count:
            continue
        entry: dict[str, Any] = {
            "slice": name,
            "rows": count,
            "candidate": mean_loss(candidate[chosen], rows[chosen]),
            "champion": mean_loss(champion[chosen], rows[chosen]),
        }
        if count >= limits.slice_rows:
            excess = candidate[chosen] - (1 + limits.slice_worse) * champion[chosen]
            times, weights = columns[TIME][chosen], _weights(rows[chosen])
            bound = lower_bound(excess, times, weights, limits.confidence)
            entry["bound"] = bound if np.isfinite(bound) else None
        table.append(entry)
    evidence = {
        "slices": table,
        "worse": limits.slice_worse,
        "confidence": limits.confidence,
        "min_rows": limits.slice_rows,
        "bound": f"lower bound of the excess error, in {PROBLEM.loss.unit}; above 0 fails",
    }
    for entry in table:
        if (entry.get("bound") or 0) > 0:
            summary = (
                f"{entry['slice']}: error {loss_with_unit(entry['candidate'])} on {entry['rows']} fresh rows,"
                f" champion {format_loss(entry['champion'])}; worse by more than {limits.slice_worse:.0%}"
                f" with {limits.confidence:.0%} confidence"
            )
            return GateResult(False, summary, evidence)
    judged = sum(entry.get("bound") is not None for entry in table)
    return GateResult(
        True, f"{judged} of {len(table)} slices have {limits.slice_rows} fresh rows or more", evidence
    )


def fresh_rows(tracking: Tracking, versions: Sequence[Version], rows: pd.DataFrame) -> pd.DataFrame:
    """The rows newer than the training data of all versions' holdout models. Raises UserError."""
    last = max(_learned_until(tracking, version, holdout_run(version)) for version in versions)
    return rows[rows[TIME] > last]


def _learned_until(tracking: Tracking, version: Version, run_id: str) -> datetime:
    dataset = tracking.run(run_id).dataset
    if dataset is None:
        raise UserError(f"version {version.number}: the rows of run {run_id} are unknown; train a new one")
    return datetime.fromisoformat(dataset.last)


def holdout_run(version: Version) -> str:
    """The run of the version's holdout model. Raises UserError if it has none."""
    if version.holdout_run_id is None:
        raise UserError(f"version {version.number}: it has no holdout model to evaluate; train a new version")
    return version.holdout_run_id


def errors_of(handoff: Path, rows: pd.DataFrame) -> Floats:
    """The losses of a model, shape [rows]; NaN or infinite if it has no prediction.

    Raises UserError if the hand-off cannot be read.
    """
    model = load_model(handoff)
    predictions = np.array(model.predict_columns(input_columns(rows)) if len(rows) else [], dtype=np.float64)
    found: Floats = PROBLEM.loss.per_row(predictions, targets(rows))
    return found


def _weights(rows: pd.DataFrame) -> Floats:
    """The weights of rows in `mean_loss`, shape [rows], of sum 1."""
    if PROBLEM.average_by is None:
        return np.full(len(rows), 1 / len(rows))
    groups = rows.groupby(PROBLEM.average_by)
    weights: Floats = 1 / (groups[TIME].transform("size") * groups.ngroups).to_numpy(np.float64)
    return weights


def lower_bound(values: Floats, times: Array, weights: Floats, confidence: float) -> float:
    """A one-sided lower confidence bound of the weighted mean; -inf if there is only one day.

    `weights` have the sum 1. Errors within a day are correlated (a wrong forecast, an event), so days are the
    independent units: a cluster-robust variance with Student's t on the number of days (Cameron and Miller,
    "A practitioner's guide to cluster-robust inference", Journal of Human Resources 2015).
    """
    _, day = np.unique(times.astype("datetime64[D]"), return_inverse=True)
    clusters = int(day.max()) + 1
    if clusters < 2:
        return -np.inf
    mean = float(weights @ values)
    sums = np.bincount(day, weights=weights * (values - mean))
    variance = clusters / (clusters - 1) * float((sums**2).sum())
    return mean - float(stats.t.ppf(confidence, clusters - 1) * np.sqrt(variance))
