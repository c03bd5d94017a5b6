"""Runs the application: binds the port, and serves until stopped."""

import contextlib
from pathlib import Path

from bike_demand.core.settings import load_settings
from bike_demand.serving.onnx_model import load_model_if_present, no_model_message
from bike_demand.serving.web import address_of, bind, run


def serve(host: str, port: int, workers: int, folder: Path) -> None:
    """Serve the model in `folder` until SIGTERM or Ctrl-C.

    Raises UserError if the model is damaged or the address is in use.
    """
    model = load_model_if_present(folder)  # reports a damaged model once, not once per worker
    with contextlib.closing(bind(host, port)) as listener:
        state = f"model {model.version}" if model else f"not ready, {no_model_message(folder)}"
        print(f"Serving {address_of(host, listener)}: {state}", flush=True)
        run("bike_demand.serving.app:create_live_app", listener, workers, load_settings().serving)
