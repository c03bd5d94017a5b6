"""The steps of an automated training, as plain functions, in order."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from bike_demand.core.current import loss_with_unit
from bike_demand.core.errors import UserError
from bike_demand.core.settings import STATE, load_settings
from bike_demand.store.connection import normalize_store_uri, require_reachable
from bike_demand.store.tracking import Tracking
from bike_demand.training import inputs, pipeline
from bike_demand.training.record import TrainingResult, find_logged_run, record
from bike_demand.training.revision import CODE, Revision, current_revision

MIN_FREE_BYTES = 100 * 2**20  # about ten times what a training writes
UNSUPPORTED_CHARACTERS = "{}?"  # DVC and fsspec expand braces; SQLAlchemy addresses end at a question mark
Made = tuple[TrainingResult, bool]  # the record, and whether it is new


def require_committed(allow_dirty: bool) -> Revision | None:
    """The code that trains; None if no commit contains it. Raises UserError if it has to be committed."""
    revision = current_revision()
    if not allow_dirty and (revision is None or revision.patch):
        reason = "this folder is not committed" if revision is None else "there are uncommitted changes"
        raise UserError(
            f"{reason}, so the model could not be reproduced; commit {', '.join(CODE)}, or give --allow-dirty"
        )
    return revision


def ingest(as_of: datetime | None) -> None:
    """Update the data. Raises UserError, or UnreachableError if a retry may help."""
    inputs.update(load_settings(), as_of)


def validate() -> None:
    """Validate the data, as `build` does too. Raises UserError if they are not fit for training."""
    pipeline.run_dvc("repro", pipeline.VALIDATE)


def build() -> None:
    """Validate, train, evaluate; skips what is up to date. Raises UserError if one of these fails."""
    pipeline.run_dvc("repro")


def log_and_register(revision: Revision | None) -> Made:
    """Log and register the run. Returns its record, and whether it is new.

    Raises UserError if the holdout model was too bad to be registered.
    """
    settings = load_settings()
    tracking = Tracking(settings)
    made = known = find_logged_run(tracking, committed=revision is not None and not revision.patch)
    if made is None:
        pipeline.push_data()
        made = record(tracking, settings, revision, inputs.read_request())
        if revision is not None:
            name = f"run-{made.run_id[:8]}" if made.version is None else f"version-{made.version}"
            pipeline.save_experiment(name)
    if made.version is None:
        raise UserError(
            f"the holdout model's error of {loss_with_unit(made.holdout_error)} exceeds training.worst_ratio"
            f" in params.yaml; run {made.run_id} is logged, but no version was registered"
        )
    return made, known is None


def run(
    as_of: datetime | None,
    allow_dirty: bool,
    ingest: Callable[[datetime | None], None] = ingest,
    validate: Callable[[], None] = lambda: None,  # for a separate task; `build` validates anyway
    build: Callable[[], None] = build,
    log_and_register: Callable[[Revision | None], Made] = log_and_register,
) -> Made:
    """Run the steps in order, one training per folder at a time. Raises UserError."""
    _check_project_path()
    STATE.mkdir(exist_ok=True)
    _check_free_disk()
    with inputs.lock_data():
        revision = require_committed(allow_dirty)
        pipeline.require_params_from_file()
        # Fail before the training, not after it.
        require_reachable(normalize_store_uri(load_settings().tracking.uri))
        pipeline.set_dvc_scm(revision is not None)
        ingest(as_of)
        validate()
        build()
        return log_and_register(revision)


def _check_project_path() -> None:
    """Raises UserError if the project's path has characters that DVC or MLflow misinterpret."""
    here = str(Path.cwd())
    if found := [each for each in UNSUPPORTED_CHARACTERS if each in here]:
        raise UserError(f"{here!r}: DVC and MLflow fail on {' and '.join(map(repr, found))}; move it")


def _check_free_disk() -> None:
    """Raises UserError if the disk is nearly full: some of the tools would wait forever."""
    free = shutil.disk_usage(STATE).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"only {free / 2**20:.1f} MiB are free on the disk of {STATE.absolute()}, a training needs"
            f" {MIN_FREE_BYTES / 2**20:.0f}; free some space, then run it again"
        )
