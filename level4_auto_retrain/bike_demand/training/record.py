"""Puts a finished run of the pipeline on record: parameters, metrics, data, code and models."""

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.data.quarantine import training_hours
from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.settings import PARAMS, RUN, STATE, Settings
from bike_demand.tracking import Dataset, Tracking
from bike_demand.training.evaluate import passes
from bike_demand.training.golden import GOLDEN_FILE, write_golden
from bike_demand.training.pipeline import LOCK, data_digest
from bike_demand.training.revision import Revision

RECORDED = STATE / "recorded.json"
PATCH = "uncommitted.patch"
KIND, TWIN, FINAL = "kind", "twin", "final"  # a tag, and its values
COMMIT = "git.commit"
UNCOMMITTED = "git.uncommitted"
NO_COMMIT = "none"
PROMISE = (
    "mae",
    "bias",
    "skill",
)  # of the metrics, what a version has as tags: what it is to keep, once live
PYTHON = "python"  # tag: the version that trained it


class Recorded(BaseModel):
    """What came of a run. `mae` is the twin's mean error on days that it did not see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lock: str  # SHA-256 of its dvc.lock
    uri: str  # of the store that it is on record in
    run_id: str
    twin_run_id: str
    version: int | None  # None where the twin did not pass
    mae: float
    rows: int = 0  # that the model learned from
    left_out: str = ""  # how many gathered hours it did not learn from, and why

    @property
    def data_summary(self) -> str:
        """What the model learned from and what was left out, as people read it."""
        return f"It learned from {self.rows:,} rows; left out {self.left_out or 'nothing'}."


def already(tracking: Tracking) -> Recorded | None:
    """The record of the run that the last one of this project would only repeat; None where it is new."""
    try:
        last = Recorded.model_validate_json(RECORDED.read_bytes())
    except (FileNotFoundError, ValidationError):
        return _cut_off(tracking)
    gone = tracking.uri.startswith("sqlite:") and not Path(tracking.where).exists()
    known = not gone and (last.lock, last.uri) == (_digest(LOCK), tracking.uri)
    return last if known else _cut_off(tracking)


def _cut_off(tracking: Tracking) -> Recorded | None:
    """The record of this very run where it was registered, but nobody came to note that down."""
    newest = tracking.newest()
    if newest is None or newest.twin_run_id is None or not LOCK.exists():
        return None
    try:
        with TemporaryDirectory() as scratch:
            lock = _digest(tracking.fetch(newest.run_id, LOCK.name, Path(scratch)))
    except UserError:  # of a version that was put on record by other means
        return None
    if lock != _digest(LOCK):
        return None
    run = tracking.run(newest.run_id)
    made = Recorded(
        lock=lock,
        uri=tracking.uri,
        run_id=newest.run_id,
        twin_run_id=newest.twin_run_id,
        version=newest.number,
        mae=run.metrics["mae"],
        rows=0 if run.dataset is None else run.dataset.rows,
        left_out=run.tags.get("left_out", "").removeprefix("nothing"),
    )
    write_atomically(RECORDED, made.model_dump_json(indent=1).encode())
    return made


def record(
    tracking: Tracking, settings: Settings, revision: Revision | None, tags: dict[str, str]
) -> Recorded:
    """Put the run in state/run on record: twin and, where it passes, the model, registered as a version.

    Raises UserError where the twin does not pass; that it was tried is on record then too.
    """
    report = json.loads((RUN / "report.json").read_text(encoding="utf-8"))
    metrics: dict[str, float] = json.loads((RUN / "metrics.json").read_text(encoding="utf-8"))
    passed = passes(metrics, settings.training.worst_ratio)
    tags = tags | {
        COMMIT: NO_COMMIT if revision is None else revision.commit,
        UNCOMMITTED: str(revision is None or bool(revision.patch)).lower(),
        PYTHON: platform.python_version(),
        "passed": str(passed).lower(),
        "left_out": report.get("left_out") or "nothing",
    }

    def log(kind: str, files: Sequence[Path], twin: dict[str, str]) -> str:
        period = report[kind]
        # The name tells the rows apart: MLflow keeps one data set for each name and digest.
        name = f"hours-until-{period['last'][:13]}"
        return tracking.log_run(
            f"{kind} {period['last'][:10]}",
            params=_params(settings),
            metrics=metrics,
            dataset=Dataset(name, data_digest(), period["rows"], period["first"], period["last"]),
            tags=tags | {KIND: kind} | twin,
            artifacts=files,
            model=RUN / kind,
        )

    with _files(revision) as files:
        twin_run_id = log(TWIN, files, {})
        # The metrics of the model are those of its twin: all rows that it could be tried on, it learned from.
        if passed:
            golden = RUN / GOLDEN_FILE
            write_golden(golden, RUN / FINAL, training_hours())
            run_id = log(FINAL, [*files, golden], {"twin_run_id": twin_run_id})
        else:
            run_id = twin_run_id
    number = None
    if passed:
        promise = {key: f"{metrics[key]:.4f}" for key in PROMISE if key in metrics}
        number = tracking.register(run_id, twin_run_id, {"data": data_digest()} | promise).number
        tracking.set_alias(settings.environments.train.alias, number)
    made = Recorded(
        lock=_digest(LOCK),
        uri=tracking.uri,
        run_id=run_id,
        twin_run_id=twin_run_id,
        version=number,
        mae=metrics["mae"],
        rows=report[FINAL]["rows"],
        left_out=report.get("left_out", ""),
    )
    write_atomically(RECORDED, made.model_dump_json(indent=1).encode())
    return made


@contextmanager
def _files(revision: Revision | None) -> Iterator[list[Path]]:
    """What each run keeps: what is needed to make it again, and to judge it."""
    kept = [LOCK, PARAMS, Path("requirements.lock"), RUN / "report.json", RUN / "metrics.json", RUN / "plots"]
    with TemporaryDirectory() as scratch:
        if revision is not None and revision.patch:
            patch = Path(scratch) / PATCH
            patch.write_bytes(revision.patch)
            kept.append(patch)
        yield kept


def _params(settings: Settings) -> dict[str, Any]:
    training: dict[str, Any] = settings.training.model_dump()
    recipe: dict[str, Any] = training.pop("recipe")
    return training | recipe


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
