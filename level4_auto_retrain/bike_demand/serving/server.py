"""Runs the application: takes the port, serves until asked to stop, and ends well."""

import contextlib
import ipaddress
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from bike_demand.errors import UserError
from bike_demand.serving.keys import read_keys
from bike_demand.serving.lines import say
from bike_demand.serving.variables import ENVIRONMENT, METRICS_FOLDER
from bike_demand.settings import load_settings
from bike_demand.tracking import Tracking

GRACE_SECONDS = 2  # for requests under way when asked to stop


def serve(host: str, port: int, workers: int, environment: str = "production") -> None:
    """Serve what is live in the environment until SIGTERM or Ctrl-C; a release is followed without a restart.

    Raises UserError where a setting is wrong, the address is taken, or others than this machine could ask and
    there are no API keys.
    """
    given = load_settings()
    given.environments.named(environment)
    Tracking(given)  # so that a wrong setting is told once, and not by each worker
    keys = read_keys(Path(given.serving.keys))
    with contextlib.closing(_bind(host, port)) as listener, _shared(environment, workers):
        if not keys and not _only_this_machine(listener):
            raise UserError(
                f"{host}: others could ask, and there are no API keys in {given.serving.keys}; make one with"
                " `python -m bike_demand key NAME`, or serve on 127.0.0.1"
            )
        config = uvicorn.Config(
            "bike_demand.serving.app:live_app",
            factory=True,
            workers=workers,
            access_log=False,
            log_level="warning",
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        where = f"[{host}]" if ":" in host else host
        print(f"http://{where}:{listener.getsockname()[1]}", flush=True)
        if not keys:
            say(
                "no_keys",
                message="everybody on this machine may ask, post and look: there are no API keys in"
                f" {given.serving.keys}",
            )
        if workers > 1:
            Multiprocess(config, sockets=[listener]).run()
        else:
            _run(uvicorn.Server(config), listener)


@contextlib.contextmanager
def _shared(environment: str, workers: int) -> Iterator[None]:
    """What the worker processes find in their environment variables."""
    os.environ[ENVIRONMENT] = environment
    with tempfile.TemporaryDirectory(prefix="bike-demand-metrics-", ignore_cleanup_errors=True) as folder:
        if workers > 1:  # one process alone counts in memory, which is faster
            os.environ[METRICS_FOLDER] = folder
        try:
            yield
        finally:
            os.environ.pop(METRICS_FOLDER, None)
            os.environ.pop(ENVIRONMENT, None)


def _only_this_machine(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Once stopped, uvicorn sends itself the signal again; to be asked to stop is no failure, so catch it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _bind(host: str, port: int) -> socket.socket:
    """A socket on that address, not listening yet."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise UserError(f"cannot listen on {host}: {error.strerror or error}; give another --host") from None
    try:
        if os.name == "posix":  # elsewhere this would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; give another --port, or stop"
            " the program that has it"
        ) from None
    listener.set_inheritable(True)
    return listener
