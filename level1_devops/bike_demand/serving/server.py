"""Runs the application: binds the port, and serves until stopped."""

import contextlib
from pathlib import Path

from bike_demand.core.settings import load_settings
from bike_demand.serving.onnx_model import load_if_there, no_model
from bike_demand.serving.web import address_of, bind, run


def serve(host: str, port: int, workers: int, folder: Path) -> None:
    """Serve the model in `folder` until SIGTERM or Ctrl-C.

    Raises UserError if the model is damaged or the address is in use.
    """
    model = load_if_there(folder)  # reports a damaged model once, not once per worker
    with contextlib.closing(bind(host, port)) as listener:
        print(f"{address_of(host, listener)} answers with", end=" ")
        print(f"model {model.version}" if model else f"503: {no_model(folder)}", flush=True)
        run("bike_demand.serving.app:live_app", listener, workers, load_settings().serving)
