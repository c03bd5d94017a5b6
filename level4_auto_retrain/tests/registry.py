"""Registers models and makes them live without running the training pipeline."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from bike_demand.core.settings import load_settings
from bike_demand.data.frames import concat
from bike_demand.data.table import read_month_file
from bike_demand.handoff import write_handoff
from bike_demand.store.database import open_database
from bike_demand.store.deployments import open_deployments
from bike_demand.store.tables import Deployment, State
from bike_demand.store.tracking import CHAMPION, EXPERIMENT, MODEL_NAME, Dataset, Logged, Tracking, Version
from bike_demand.training.export import golden_rows
from tests.feedmaker import MONTHS

T = TypeVar("T")


def make_store(params: Path) -> Path:
    """Make the databases of the current folder; the path of that of runs and models."""
    tracking = Tracking(load_settings(params))
    with tracking.client(create=True) as client:
        tracking.experiment(client, EXPERIMENT)
    open_database(load_settings(params).environments.production.database).close()
    return Path(tracking.where)


def copy_store(database: Path, project: Path) -> None:
    """Put a copy of the databases into a project."""
    copy = project / "state" / "mlflow.db"
    copy.parent.mkdir(parents=True)
    shutil.copy(database, copy)
    shutil.copy(database.with_name("production.db"), copy.parent)


def copy_state(made: Path, project: Path) -> None:
    """Put the state of a project into another one, which has none."""
    shutil.copytree(made / "state", project / "state")


def train_handoffs(feed: Path, folder: Path) -> tuple[Path, Path]:
    """The model that training makes of a feed, and its holdout model: hand-off folders in `folder`."""
    from bike_demand.training.export import to_onnx
    from bike_demand.training.train import train

    rows = concat(read_month_file((feed / f"{month}.csv").read_bytes(), month, month) for month in MONTHS)
    trained = train(rows, load_settings().training)
    for name, pipeline in (("refit", trained.pipeline), ("holdout", trained.holdout_model)):
        model = to_onnx(pipeline)
        write_handoff(folder / name, model, golden_rows(model, rows))
    return folder / "refit", folder / "holdout"


def register(
    model: Path,
    holdout: Path | None = None,
    *,
    last: str = "2011-03-01T00:00:00",
    holdout_last: str = "2011-02-22T00:00:00",
    tracking: Tracking | None = None,
) -> Version:
    """Register a hand-off in the current project's store; its holdout model learned until `holdout_last`."""
    tracking = tracking or Tracking(load_settings())

    def log(kind: str, folder: Path, until: str, holdout_run_id: str | None = None) -> Logged:
        return tracking.log_run(
            f"{kind} {until[:10]}",
            params={"max_iter": 100},
            metrics={"holdout_error": 25.5},
            dataset=Dataset("rows", "0" * 32, 1416, "2011-01-01T00:00:00", until),
            tags={"kind": kind},
            model=folder,
            holdout_run_id=holdout_run_id,
        )

    holdout_run_id = log("holdout", holdout or model, holdout_last).run_id
    return tracking.version(log("refit", model, last, holdout_run_id).version or 0)


def remove_alias(tracking: Tracking, alias: str) -> None:
    """Take an alias away by hand, out of band."""
    with tracking.client() as client:
        client.delete_registered_model_alias(MODEL_NAME, alias)


def put_live(model: Path) -> Version:
    """Register a hand-off in the store of the current project and make it the champion."""
    tracking = Tracking(load_settings())
    version = register(model, tracking=tracking)
    tracking.set_alias(CHAMPION, version.number)
    return version


def deploy_without_gates(number: int, *states: State, at: datetime = datetime(2011, 3, 1)) -> Deployment:
    """Deploy a version without gates up to the last of these states, by default until it is live."""
    with open_deployments(load_settings(), at, print, locked=False) as deployments:
        version = deployments.tracking.version(number)
        row = deployments.create(version, "somebody")
        deployments.transition(row, State.VALIDATING, "a test")
        for state in states or (State.LIVE,):
            deployments.transition(row, state, "a test")
    return row


def twice(_name: str, step: Callable[[], T]) -> T:
    """A step runner that runs each step again, as after a failure at its very end."""
    step()
    return step()


def current_deployment(number: int) -> Deployment:
    """The version's deployment that counts."""
    with open_deployments(load_settings(), datetime(2011, 3, 1), print, locked=False) as deployments:
        row = deployments.find(deployments.tracking.version(number))
    assert row is not None
    return row
