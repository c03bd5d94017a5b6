"""Traces one prediction to its origin: deployment, A/B test, version, run, code, environment and data."""

import hashlib
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import DATA, STATE, Settings
from bike_demand.data.frames import time_range
from bike_demand.data.ingested import read_labeled_rows
from bike_demand.data.month import iso
from bike_demand.store.database import Database, database_exists
from bike_demand.store.deployments import Deployments, Emit, history, note, open_deployments
from bike_demand.store.queries import find_label, find_prediction
from bike_demand.store.tables import Deployment, LoggedPrediction
from bike_demand.store.tracking import Dataset, Run, Tracking
from bike_demand.training import pipeline
from bike_demand.training.record import COMMIT, PYTHON, UNCOMMITTED

TRACED = STATE / "traced"
PACKAGES = Path("requirements.lock")
CONFIG = Path(".dvc", "config")
UNKNOWN = "not recorded"

Facts = dict[str, Any]
# By section: prediction, traffic_split, deployment, model, code, data. None: not recorded.
Trace = dict[str, Facts | None]


def command(settings: Settings, prediction_id: str, *, rows: bool, as_json: bool, report: Emit) -> None:
    """The `trace` command. Raises UserError if the id is unknown, or the rows cannot be restored."""
    address = settings.environments.production.database
    if not database_exists(address):
        raise UserError(f"prediction {prediction_id}: no prediction was logged yet in {address}")
    with open_deployments(settings, None, note, locked=False, reading=True) as deployments:
        found = trace(deployments, prediction_id)
        if rows:
            model, data = found["model"], found["data"]
            if model is None:
                raise UserError("the tracking store is down, so no training rows can be restored; try again")
            if data is None:
                raise UserError(f"run {model['run']}: its training rows are {UNKNOWN}")
            data["folder"] = restore(deployments.tracking, model["run"], data).as_posix()
    if as_json:
        report(json.dumps(found, indent=1))
        return
    report(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=10_000).rstrip())


def trace(deployments: Deployments, prediction_id: str) -> Trace:
    """Trace a prediction by its id, through the production database and the tracking store.

    If the tracking store is down, the sections that depend on it are None.
    """
    database = deployments.database
    logged = find_prediction(database, prediction_id)
    if logged is None:
        raise UserError(f"prediction {prediction_id}: not found; give the `id` of a prediction of production")
    with database.reading() as session:
        row = session.get(Deployment, logged.deployment)
    try:
        recorded = _model_code_and_data(deployments.tracking, logged, row)
    except UnreachableError:
        recorded = dict.fromkeys(("model", "code", "data"))
    inputs = ("id", "made_at", "client", "event_time", "inputs", "prediction")
    split = ("variant", "other_version", "other_role", "other_prediction")
    return {
        "prediction": _facts(logged, *inputs)
        | {"outcome": find_label(database, (logged.event_time, logged.key))},
        "traffic_split": _facts(logged, *split) | _randomization(deployments, logged),
        "deployment": None if row is None else _deployment(database, row),
        **recorded,
    }


def _facts(source: LoggedPrediction | Deployment | Dataset, *names: str) -> Facts:
    """These fields, as JSON values."""
    return {name: to_jsonable_python(getattr(source, name)) for name in names}


def _model_code_and_data(tracking: Tracking, logged: LoggedPrediction, row: Deployment | None) -> Trace:
    """The model that made the prediction, and its origin.

    The deployment has its run: another registry may use the same number for another version.
    """
    model = row or tracking.version(logged.version)
    run = tracking.run(model.run_id)
    return {
        "model": {
            "version": logged.version,
            "digest": model.digest,
            "run": run.id,
            "run_name": run.name,
            "parameters": dict(run.params),
            "metrics": dict(run.metrics),
        },
        "code": {
            "commit": run.tags.get(COMMIT, UNKNOWN),
            "uncommitted": run.tags.get(UNCOMMITTED) == "true",
            "python": run.tags.get(PYTHON, UNKNOWN),
            "packages": _packages(tracking, run),
        },
        "data": None
        if run.dataset is None
        else {"version": run.dataset.digest} | _facts(run.dataset, "rows", "first", "last"),
    }


def restore(tracking: Tracking, run_id: str, data: Facts) -> Path:
    """Restore exactly the rows that a run was trained on, below state/traced. Returns the folder.

    They come from DVC's cache or remote storage, by the run's own dvc.lock, and are checked against its
    record. Raises UserError if they are gone or differ from the record.
    """
    TRACED.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=TRACED, prefix=".") as name:
        lock = tracking.fetch(run_id, pipeline.LOCK.name, Path(name))
        if pipeline.data_digest(lock) != data["version"]:
            raise UserError(f"run {run_id}: its {pipeline.LOCK} and its logged data set disagree")
        # A DVC project with only these data.
        scratch = Path(name) / "project"
        (scratch / ".dvc").mkdir(parents=True)
        shutil.copy(CONFIG, scratch / CONFIG)
        stage = {"cmd": "none", "outs": [DATA.as_posix()]}
        (scratch / "dvc.yaml").write_text(json.dumps({"stages": {"ingest": stage}}), encoding="utf-8")
        shutil.move(lock, scratch / pipeline.LOCK)
        pipeline.restore(scratch)
        found = read_labeled_rows(scratch / DATA)
        restored = (len(found), *map(iso, time_range(found)))
        if restored != (data["rows"], data["first"], data["last"]):
            raise UserError(
                f"run {run_id}: {restored[0]} rows from {restored[1]} to {restored[2]} were restored, but it"
                f" was trained on {data['rows']} from {data['first']} to {data['last']}"
            )
        folder = TRACED / run_id
        shutil.rmtree(folder, ignore_errors=True)
        (scratch / DATA).rename(folder)
    return folder


def _randomization(deployments: Deployments, logged: LoggedPrediction) -> Facts:
    """The randomization of the A/B test in which the prediction was made; no values without a test."""
    test: Facts = {}
    if logged.other_role in ("challenger", "champion") and logged.other_version is not None:
        challenger = logged.version if logged.variant == "challenger" else logged.other_version
        tests = [each.test for each in deployments.all() if each.test and each.version == challenger]
        began = [each for each in tests if each["began"] <= logged.event_time.isoformat()]
        # A row may be a little older than the test in which it is predicted.
        test = (began[-1:] or tests or [test])[0]
    return {name: test.get(name) for name in ("share", "salt", "randomize_by")}


def _deployment(database: Database, row: Deployment) -> Facts:
    """Who deployed the version, when and why, and the result."""
    changes = history(database, row.id)
    return _facts(row, "id", "version", "who", "requested_at", "skip_reason", "state") | {
        "history": [f"{iso(each.at)} {each.new.value}: {each.reason}" for each in changes],
        "gates": [
            {name: each[name] for name in ("gate", "passed", "message")}
            for each in row.gates
            if each["passed"] is not None
        ],
        "test": _verdict(row.ab),
        "watch": _verdict(row.watch),
    }


def _verdict(evidence: Facts | None) -> str | None:
    return None if evidence is None else f"{evidence['verdict']}, {evidence['reason']}"


def _packages(tracking: Tracking, run: Run) -> str:
    with TemporaryDirectory() as scratch:
        try:
            lock = tracking.fetch(run.id, PACKAGES.name, Path(scratch)).read_bytes()
        except UserError:
            return UNKNOWN
        return f"{PACKAGES.name} sha256 {hashlib.sha256(lock).hexdigest()}"
