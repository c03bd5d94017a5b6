"""Reproduces a model from its record: restores code and data into a separate folder, and trains there."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path

from bike_demand.core.errors import UserError
from bike_demand.core.settings import RUN, STATE, load_settings
from bike_demand.handoff import read_handoff
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Dataset, Run, Tracking
from bike_demand.training import pipeline, revision
from bike_demand.training.inputs import write_request
from bike_demand.training.record import AS_OF, COMMIT, KIND, NO_COMMIT, PATCH, UNCOMMITTED

REPRODUCED = STATE / "reproduced"
MAX_LISTED = 5  # packages listed when versions differ
MAX_VERSION_DIGITS = 9  # digits of a version number; a run id has 32 characters


@dataclass(frozen=True)
class Result:
    """The result: the folder with code, data and new models, and the differences from the record."""

    folder: Path
    data: Dataset | None  # None if not recorded
    digest: str
    metrics: Mapping[str, float]
    differences: tuple[str, ...]


def reproduce(wanted: str) -> Result:
    """Restore a run's code and data below state/reproduced, train there, and compare.

    `wanted` is a run id, or the number of a version. Raises UserError if it is unknown, its code or data are
    gone, its training fails, or an environment variable overrides a parameter.
    """
    pipeline.require_params_from_file()
    tracking = Tracking(load_settings())
    number = wanted.isdecimal() and len(wanted) <= MAX_VERSION_DIGITS
    run_id = tracking.version(int(wanted)).run_id if number else wanted
    run = tracking.run(run_id)
    if run.tags.get(COMMIT, NO_COMMIT) == NO_COMMIT:
        raise UserError(f"run {run_id}: its code was in no commit, so it cannot be reproduced")
    STATE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STATE, prefix=".reproduce.") as name:
        scratch = Path(name) / "project"
        _restore(tracking, run, scratch, Path(name))
        try:
            pipeline.run_dvc("repro", "--force", "--no-run-cache", folder=scratch)
        except UserError as error:
            raise UserError(f"run {run_id}: training it again failed: {error}") from None
        recorded = read_handoff(tracking.fetch(run_id, HANDOFF_ARTIFACT, Path(name)))
        remade = read_handoff(scratch / RUN / run.tags[KIND])
        metrics: dict[str, float] = json.loads((scratch / RUN / "metrics.json").read_text(encoding="utf-8"))
        differences = []
        if remade.model != recorded.model:
            differences.append(f"model {remade.manifest.version} instead of {recorded.manifest.version}")
        differences += [
            f"{key} {metrics.get(key)} instead of {run.metrics.get(key)}"
            for key in sorted({*metrics, *run.metrics})
            if metrics.get(key) != run.metrics.get(key)
        ]
        if differences and (others := _packages_that_differ_from(scratch / "requirements.lock")):
            differences.append(f"installed packages differ from its requirements.lock: {', '.join(others)}")
        folder = REPRODUCED / run_id
        folder.parent.mkdir(exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    return Result(folder, run.dataset, remade.manifest.version, metrics, tuple(differences))


def _restore(tracking: Tracking, run: Run, scratch: Path, downloads: Path) -> None:
    is_patched = run.tags[UNCOMMITTED] == "true"
    patch = tracking.fetch(run.id, PATCH, downloads).read_bytes() if is_patched else b""
    revision.restore(revision.Revision(run.tags[COMMIT], patch), scratch)
    shutil.move(tracking.fetch(run.id, pipeline.LOCK.name, downloads), scratch / pipeline.LOCK)
    pipeline.restore(scratch)
    as_of = run.tags.get(AS_OF)
    write_request(datetime.fromisoformat(as_of) if as_of else None, scratch)


def _packages_that_differ_from(lock: Path) -> list[str]:
    """Packages whose installed version differs from the lock, at most MAX_LISTED."""
    locked = re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    here = {re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in distributions()}
    found = [(name, here.get(name, wanted), wanted) for name, wanted in locked]
    return [f"{name} {there}, not {wanted}" for name, there, wanted in found if there != wanted][:MAX_LISTED]
