"""Runs the application: binds the port, serves until stopped, and shuts down gracefully."""

import contextlib
import ipaddress
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from bike_demand.core.environment import environment_with
from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.serving.keys import read_keys
from bike_demand.serving.metrics import METRICS_FOLDER
from bike_demand.serving.web import address_of, bind, run
from bike_demand.serving.worker import ENVIRONMENT, OPEN_ACCESS
from bike_demand.store.database import database_at
from bike_demand.store.tracking import Tracking


def serve(host: str, port: int, workers: int, environment: str = "production") -> None:
    """Serve an environment's live models until SIGTERM or Ctrl-C; releases take effect without a restart.

    Raises UserError if a setting is wrong, the address is in use, or other machines could send requests and
    there are no API keys.
    """
    settings = load_settings()
    Tracking(settings)  # reports a wrong setting once, not once per worker
    database_at(getattr(settings.environments, environment).database)  # likewise
    file = Path(settings.serving.keys)
    keys = read_keys(file)
    variables = {ENVIRONMENT: environment, OPEN_ACCESS: "" if file.exists() else "allowed"}
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(bind(host, port)))
        if not keys and not _only_this_machine(listener):
            raise UserError(
                f"{host}: other machines could send requests, and there are no API keys in {file}; make one"
                " with `python -m bike_demand key NAME`, or serve on 127.0.0.1"
            )
        print(address_of(host, listener), flush=True)
        if workers > 1:  # a single process counts in memory, which is faster
            scratch = TemporaryDirectory(prefix="bike-demand-metrics-", ignore_cleanup_errors=True)
            variables[METRICS_FOLDER] = stack.enter_context(scratch)
        stack.enter_context(environment_with(variables))
        run("bike_demand.serving.app:create_live_app", listener, workers, settings.serving)


def _only_this_machine(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
