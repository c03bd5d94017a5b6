"""Runs the application: takes the port, and serves until stopped."""

import contextlib

from bike_demand.core.settings import load_settings
from bike_demand.serving.web import address_of, bind, run
from bike_demand.store.tracking import Tracking


def serve(host: str, port: int, workers: int) -> None:
    """Serve the live version until SIGTERM or Ctrl-C; releases take effect without a restart.

    Raises UserError where a setting is wrong or the address is taken.
    """
    settings = load_settings()
    Tracking(settings)  # so that a wrong setting is reported once, and not by each worker
    with contextlib.closing(bind(host, port)) as listener:
        print(address_of(host, listener), flush=True)
        run("bike_demand.serving.app:live_app", listener, workers, settings.serving)
