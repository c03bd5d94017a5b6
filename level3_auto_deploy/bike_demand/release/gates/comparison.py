"""The gates that compare errors on fresh rows: hours that neither version's holdout model was trained on.

The refit that goes live has learned from the latest rows, so a version is judged by its holdout model, and
its refit only by whether it keeps up with that model.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bike_demand.data.schema import Hour
from bike_demand.data.table import iso
from bike_demand.data.target import ERROR_UNIT, Floats, error, rounded, targets
from bike_demand.errors import UserError
from bike_demand.release.gates.integrity import GateContext, GateResult
from bike_demand.serving.onnx_model import load_model
from bike_demand.tracking import Tracking, Version

LEARNED_ROWS = 28 * 24  # the latest that a refit learned from


def _hours(first: int, last: int) -> Callable[[Hour], bool]:
    return lambda row: first <= row.timestamp.hour <= last


SLICES: dict[str, Callable[[Hour], bool]] = {
    "night, 0 to 5 h": _hours(0, 5),
    "morning, 6 to 9 h": _hours(6, 9),
    "midday, 10 to 15 h": _hours(10, 15),
    "evening, 16 to 19 h": _hours(16, 19),
    "late, 20 to 23 h": _hours(20, 23),
    "working days": lambda row: row.workingday == 1,
    "days off": lambda row: row.workingday == 0,
    "clear": lambda row: row.weather == 1,
    "mist": lambda row: row.weather == 2,
    "light rain or snow": lambda row: row.weather == 3,
    "heavy weather": lambda row: row.weather == 4,
}


def is_no_worse(context: GateContext) -> GateResult:
    """Compares mean errors: of the holdout model and the champion's, and of the refit and its holdout model.

    A week of hours separates a difference of a few percent from luck no better than a coin does. So a
    version is refused where it is significantly worse, or where it looks so much worse that users should not
    find out. On the latest rows that a refit learned from, its error is 0.6 to 0.85 of its holdout model's:
    one that is worse there is broken (columns in another order, another file), however good the holdout
    model is. Raises UserError where a holdout model is unknown or cannot be read.
    """
    limits = context.settings.deploy
    version, champion = context.version, context.champion
    both = [each for each in (version, champion) if each is not None]
    rows = fresh_rows(context.tracking, both, context.hours)
    errors = [errors_of(context.handoff(holdout_run(each)), rows) for each in both]
    last = _learned_until(context.tracking, version, version.run_id)
    learned = [row for row in context.hours if iso(row.timestamp) <= last][-LEARNED_ROWS:]
    if min(len(rows), len(learned)) < limits.min_rows:
        summary = (
            f"there are {len(rows)} fresh hours to compare on, too few, or {len(learned)} that it saw"
            f" (deploy.min_rows in params.yaml is {limits.min_rows}), so run ingest"
        )
        return GateResult(False, summary, {"rows": len(rows)})
    refit, holdout = (
        float(errors_of(context.handoff(run_id), learned).mean())
        for run_id in (version.run_id, holdout_run(version))
    )
    evidence: dict[str, Any] = {
        "rows": len(rows),
        "first": iso(rows[0].timestamp),
        "last": iso(rows[-1].timestamp),
        "confidence": limits.confidence,
        "error_worse": limits.error_worse,
    }
    if not (np.isfinite(errors[0]).all() and np.isfinite(refit)):
        return GateResult(False, "it has no prediction for some of the hours", evidence)
    candidate = float(errors[0].mean())
    evidence |= {"candidate": candidate, "refit": refit, "holdout": holdout}
    if refit > holdout * (1 + limits.error_worse):
        summary = (
            f"it is off by {rounded(refit)} {ERROR_UNIT} on hours that it learned from, its holdout model"
            f" by {rounded(holdout)}, so the refit is broken"
        )
        return GateResult(False, summary, evidence)
    if champion is None:
        summary = f"off by {rounded(candidate)} {ERROR_UNIT}; nothing is live to compare with"
        return GateResult(True, summary, evidence)
    live = float(errors[1].mean())
    bound = lower_bound(errors[0] - errors[1], [row.timestamp for row in rows], limits.confidence)
    evidence |= {"champion": live, "sure_to_be_worse_by": bound if np.isfinite(bound) else None}
    summary = (
        f"off by {rounded(candidate)} {ERROR_UNIT} on {len(rows)} fresh hours, the champion by"
        f" {rounded(live)}"
    )
    if bound > 0:
        return GateResult(False, f"{summary}: it is worse with {limits.confidence:.0%} confidence", evidence)
    if candidate > live * (1 + limits.error_worse):
        return GateResult(False, f"{summary}: it is more than {limits.error_worse:.0%} worse", evidence)
    return GateResult(True, summary, evidence)


def is_no_worse_in_any_slice(context: GateContext) -> GateResult:
    """Compares by hours of the day, working days and days off, and kinds of weather.

    A slice has few rows, so "no worse in each" would refuse nine good candidates of ten by chance alone. A
    slice refuses where a one-sided bound says that the error is worse by more than a stated share. Raises
    UserError where a holdout model cannot be read.
    """
    if context.champion is None:
        return GateResult(True, "nothing is live to compare with")
    limits = context.settings.deploy
    rows = fresh_rows(context.tracking, (context.version, context.champion), context.hours)
    if not rows:
        return GateResult(False, "there are no fresh hours to compare on, so run ingest")
    candidate, champion = (
        errors_of(context.handoff(holdout_run(version)), rows)
        for version in (context.version, context.champion)
    )
    table: list[dict[str, Any]] = []
    for name, belongs in SLICES.items():
        chosen = np.array([belongs(row) for row in rows])
        count = int(chosen.sum())
        if not count:
            continue
        entry: dict[str, Any] = {
            "slice": name,
            "rows": count,
            "candidate": float(candidate[chosen].mean()),
            "champion": float(champion[chosen].mean()),
        }
        if count >= limits.slice_rows:
            excess = candidate[chosen] - (1 + limits.slice_worse) * champion[chosen]
            times = [row.timestamp for row, is_in in zip(rows, chosen, strict=True) if is_in]
            entry["bound"] = lower_bound(excess, times, limits.confidence)
        table.append(entry)
    evidence = {
        "slices": table,
        "worse": limits.slice_worse,
        "confidence": limits.confidence,
        "min_rows": limits.slice_rows,
        "bound": f"of the error beyond that, in {ERROR_UNIT}; above 0 refuses",
    }
    for entry in table:
        if entry.get("bound", 0) > 0:
            summary = (
                f"{entry['slice']}: off by {rounded(entry['candidate'])} {ERROR_UNIT}, the champion by"
                f" {rounded(entry['champion'])}, on {entry['rows']} fresh hours; worse by more than"
                f" {limits.slice_worse:.0%} there with {limits.confidence:.0%} confidence"
            )
            return GateResult(False, summary, evidence)
    judged = sum("bound" in entry for entry in table)
    return GateResult(
        True, f"{judged} of {len(table)} slices have {limits.slice_rows} fresh hours or more", evidence
    )


def fresh_rows(tracking: Tracking, versions: Sequence[Version], hours: Sequence[Hour]) -> list[Hour]:
    """The hours after what any of the versions' holdout models learned from. Raises UserError."""
    last = max(_learned_until(tracking, version, holdout_run(version)) for version in versions)
    return [row for row in hours if iso(row.timestamp) > last]


def _learned_until(tracking: Tracking, version: Version, run_id: str) -> str:
    dataset = tracking.run(run_id).dataset
    if dataset is None:
        raise UserError(f"version {version.number}: the rows of run {run_id} are unknown; train anew")
    return dataset.last


def holdout_run(version: Version) -> str:
    """The run of the version's holdout model. Raises UserError where it has none."""
    if version.holdout_run_id is None:
        raise UserError(f"version {version.number}: it has no holdout model to judge it by; train anew")
    return version.holdout_run_id


def errors_of(handoff: Path, rows: Sequence[Hour]) -> Floats:
    """What a model is off by, shape [rows]; NaN or infinite where it has no prediction.

    Raises UserError where the hand-off cannot be read.
    """
    model = load_model(handoff)
    predictions = np.array(model.predict(rows) if rows else [], dtype=np.float64)
    return error(predictions, targets(rows))


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
