"""Registers models and makes them live without running the training pipeline."""

import shutil
from pathlib import Path

from bike_demand.core.settings import load_settings
from bike_demand.data.frames import concat
from bike_demand.data.table import read_month_file
from bike_demand.handoff import write_handoff
from bike_demand.store.tracking import CHAMPION, EXPERIMENT, Dataset, Logged, Tracking, Version
from bike_demand.training.export import golden_rows
from tests.feedmaker import MONTHS


def make_store(params: Path) -> Path:
    """Make the database of the current folder; its path."""
    tracking = Tracking(load_settings(params))
    with tracking.client(create=True) as client:
        tracking.experiment(client, EXPERIMENT)
    return Path(tracking.where)


def copy_store(database: Path, project: Path) -> None:
    """Put a copy of a database into a project."""
    copy = project / "state" / "mlflow.db"
    copy.parent.mkdir(parents=True)
    shutil.copy(database, copy)


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


def put_live(model: Path) -> Version:
    """Register a hand-off in the store of the current project and make it the champion."""
    tracking = Tracking(load_settings())
    version = register(model, tracking=tracking)
    tracking.set_alias(CHAMPION, version.number)
    return version
