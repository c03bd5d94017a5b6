"""Logs and registers a finished pipeline run: parameters, metrics, data, code and models."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bike_demand.core.current import PROBLEM, loss_with_unit
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import PARAMS, RUN, Settings
from bike_demand.store.tracking import Dataset, Logged, Tracking
from bike_demand.training.evaluate import beats_mean
from bike_demand.training.pipeline import LOCK, data_digest, run_digest
from bike_demand.training.revision import Revision

PATCH = "uncommitted.patch"
OUTPUTS = ("report.json", "metrics.json", "plots")
KIND, HOLDOUT, REFIT = "kind", "holdout", "refit"  # a tag, and its values
COMMIT = "git.commit"
UNCOMMITTED = "git.uncommitted"
NO_COMMIT = "none"
PASSED = "passed"  # tag: whether the holdout model was good enough to register the model
EXCLUDED = "excluded"  # tag: how many ingested rows were excluded from training, and why
RUN_DIGEST_TAG = "run.digest"  # tag: digest of the run, see pipeline.run_digest
AS_OF = "as_of"  # tag: when the data had to be up to date, if checked
PYTHON = "python"  # tag: the version that trained it
# Metrics copied to tags of the version, read by `monitoring.retraining_policy`.
REFERENCE = ("holdout_error", "skill")


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run. `holdout_error` is the holdout model's mean error on the held-out days."""

    run_id: str
    holdout_run_id: str
    version: int | None  # None if the holdout model did not pass
    holdout_error: float
    rows: int = 0  # number of training rows
    excluded: str = "none"  # how many ingested rows were excluded, and why

    @property
    def data_summary(self) -> str:
        """A sentence about the training rows and the excluded rows."""
        return f"It was trained on {self.rows:,} rows; excluded: {self.excluded}."


def find_logged_run(tracking: Tracking, *, committed: bool = False) -> TrainingResult | None:
    """The record of the run in state/run; None if the store does not have it.

    A run or version deleted in the store counts as new. Because the store is queried, a kill before the
    registration only means that the next call registers the version. With `committed`, runs of uncommitted
    code do not count, so that the version can be traced to a commit.
    """
    versions = {version.run_id: version.number for version in tracking.versions()}
    for run in tracking.runs_with_tag(RUN_DIGEST_TAG, run_digest()):
        if committed and run.tags[UNCOMMITTED] == "true":
            continue
        if run.id in versions:
            rows, excluded = (0 if run.dataset is None else run.dataset.rows), run.tags[EXCLUDED]
            holdout, holdout_error = run.tags["holdout_run_id"], run.metrics["holdout_error"]
            return TrainingResult(run.id, holdout, versions[run.id], holdout_error, rows, excluded)
        if run.tags[PASSED] == "false" and run.finished:
            return TrainingResult(run.id, run.id, None, run.metrics["holdout_error"])
    return None


def record(
    tracking: Tracking, settings: Settings, revision: Revision | None, as_of: datetime | None
) -> TrainingResult:
    """Log the run in state/run: the holdout model and, if it passes, the refit, registered as a version.

    If it does not pass, only the holdout run is logged, and `version` is None.
    """
    report = json.loads((RUN / "report.json").read_text(encoding="utf-8"))
    metrics: dict[str, float] = json.loads((RUN / "metrics.json").read_text(encoding="utf-8"))
    passed = beats_mean(metrics, settings.training.worst_ratio)
    tags = {
        COMMIT: NO_COMMIT if revision is None else revision.commit,
        UNCOMMITTED: str(revision is None or bool(revision.patch)).lower(),
        PYTHON: platform.python_version(),
        PASSED: str(passed).lower(),
        RUN_DIGEST_TAG: run_digest(),
        EXCLUDED: report.get("excluded") or "none",
    }
    if as_of is not None:
        tags[AS_OF] = as_of.isoformat()

    def log(kind: str, files: Sequence[Path], **registered: Any) -> Logged:
        period = report[kind]
        # A unique name: MLflow keeps one data set per name and digest.
        name = f"rows-until-{period['last'][:13]}"
        return tracking.log_run(
            f"{kind} {period['last'][:10]}",
            params=settings.training.model_dump(exclude={"params"}) | settings.training.params.model_dump(),
            metrics=metrics,
            dataset=Dataset(name, data_digest(), period["rows"], period["first"], period["last"]),
            tags=tags | {KIND: kind},
            artifacts=files,
            model=RUN / kind,
            description=_description(period, metrics["holdout_error"], tags),
            **registered,
        )

    files = _files(revision)
    logged = holdout = log(HOLDOUT, files)
    if passed:
        # No rows are left to evaluate a refit on, so its metrics are those of its holdout model.
        reference = {key: f"{metrics[key]:.6g}" for key in REFERENCE if key in metrics}
        of_version = {"data": data_digest()} | reference
        logged = log(REFIT, files, holdout_run_id=holdout.run_id, version_tags=of_version)
        tracking.set_alias(settings.environments.train.alias, logged.version or 0)
    error, rows = metrics["holdout_error"], report[REFIT]["rows"]
    return TrainingResult(logged.run_id, holdout.run_id, logged.version, error, rows, tags[EXCLUDED])


def _description(period: dict[str, Any], holdout_error: float, tags: dict[str, str]) -> str:
    """The description of a version: training data, and the error of its holdout model."""
    changed = " with uncommitted changes" if tags[UNCOMMITTED] == "true" else ""
    return (
        f"Trained on {period['rows']:,} rows, {period['first'][:10]} to {period['last'][:10]}; excluded:"
        f" {tags[EXCLUDED]}.\n\n"
        f"- {PROBLEM.loss.name} of the holdout model, on days that it was not trained on:"
        f" {loss_with_unit(holdout_error)}\n"
        f"- data: `{data_digest()}`\n"
        f"- code: commit `{tags[COMMIT]}`{changed}\n"
    )


def _files(revision: Revision | None) -> list[Path]:
    """The files that each run keeps: what is needed to reproduce and evaluate it."""
    kept = [LOCK, PARAMS, Path("requirements.lock"), *(RUN / name for name in OUTPUTS)]
    if revision is not None and revision.patch:
        write_atomically(RUN / PATCH, revision.patch)
        kept.append(RUN / PATCH)
    return kept
