"""Runs the application: binds the port, and serves until stopped."""

import contextlib

from bike_demand.core.settings import load_settings
from bike_demand.serving.web import address_of, bind, run
from bike_demand.store.tracking import Tracking


def serve(host: str, port: int, workers: int) -> None:
    """Serve the live version until SIGTERM or Ctrl-C; releases take effect without a restart.

    Raises UserError if a setting is wrong or the address is in use.
    """
    settings = load_settings()
    Tracking(settings)  # reports a wrong setting once, not once per worker
    with contextlib.closing(bind(host, port)) as listener:
        print(address_of(host, listener), flush=True)
        run("bike_demand.serving.app:create_live_app", listener, workers, settings.serving)
