"""Batch scoring of a file of rows, with the features and model of the service, so with the same results."""

import sys
from pathlib import Path

import pandas as pd

from bike_demand.core.current import EVENT_TIME, KEYS, LABEL_COLUMNS, TIME, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import Settings
from bike_demand.data.frames import columns_of, moments
from bike_demand.data.table import read_table
from bike_demand.serving.live_models import NO_MODEL, RegistryModels
from bike_demand.serving.onnx_model import OnnxModel
from bike_demand.store.tracking import Tracking


def live_model(settings: Settings) -> OnnxModel:
    """The model that a service started now would use. Raises UserError if there is none."""
    live, problem = RegistryModels(Tracking(settings)).current()
    if live is None:
        raise UserError(problem or NO_MODEL)
    model = live.model
    if problem is not None:
        print(f"warning: {problem} (using version {model.version}, the last one live)", file=sys.stderr)
    return model


def score(model: OnnxModel, source: Path, target: Path) -> int:
    """Predict each row of `source`; write event time, key, prediction and model_version to `target`.

    `source` has the columns of a request. The label columns of the feed are allowed and ignored, so that a
    month of the feed can be scored. Returns the number of rows. Raises UserError, and then writes nothing.
    """
    try:
        content = source.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{source}: no such file") from None
    if not target.absolute().parent.is_dir():
        raise UserError(f"{target.parent}: no such folder; create it first")
    if target.exists() and (target.is_dir() or target.samefile(source)):
        raise UserError(f"{target}: would be overwritten; give another file for the predictions")
    rows = read_table(content, str(source), Inputs, ignored=LABEL_COLUMNS)
    scored = pd.DataFrame(
        {
            TIME: list(map(EVENT_TIME.text, moments(rows))),
            **{name: rows[name] for name in KEYS},
            "prediction": model.predict_columns(columns_of(rows)),
            "model_version": model.version,
        }
    )
    write_atomically(target, scored.to_csv(index=False, lineterminator="\n").encode())
    return len(rows)
