"""Batch scoring of a file of rows with the service's features and model, so predictions are identical."""

import sys
from pathlib import Path

import pandas as pd

from bike_demand.core.current import EVENT_TIME, KEYS, LABEL_COLUMNS, TIME, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import Settings
from bike_demand.data.frames import event_times, input_columns
from bike_demand.data.table import read_table
from bike_demand.serving.live_models import NO_MODEL, RegistryModels
from bike_demand.serving.onnx_model import OnnxModel
from bike_demand.store.tracking import Tracking


def live_model(settings: Settings) -> OnnxModel:
    """The model that a service started now would use. Raises UserError if there is none."""
    live, reason = RegistryModels(Tracking(settings)).current()
    if live is None:
        raise UserError(reason or NO_MODEL)
    model = live.model
    if reason is not None:
        print(f"warning: {reason} (using version {model.version}, the last live version)", file=sys.stderr)
    return model


def predict_file(model: OnnxModel, input_file: Path, output_file: Path) -> int:
    """Predict each row of `input_file`; write event time, key, prediction and model_version to `output_file`.

    `input_file` has the columns of a request. The label columns of the feed are allowed and ignored, so that
    a month of the feed can be scored. Returns the number of rows. Raises UserError, and then writes nothing.
    """
    try:
        content = input_file.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{input_file}: no such file, or it is a folder") from None
    if not output_file.absolute().parent.is_dir():
        raise UserError(f"{output_file.parent}: no such folder; create it first")
    if output_file.exists() and (output_file.is_dir() or output_file.samefile(input_file)):
        raise UserError(f"{output_file}: would be overwritten; give another file for the predictions")
    rows = read_table(content, str(input_file), Inputs, ignored=LABEL_COLUMNS)
    predictions = pd.DataFrame(
        {
            TIME: list(map(EVENT_TIME.format, event_times(rows))),
            **{name: rows[name] for name in KEYS},
            "prediction": model.predict_columns(input_columns(rows)),
            "model_version": model.version,
        }
    )
    write_atomically(output_file, predictions.to_csv(index=False, lineterminator="\n").encode())
    return len(rows)
