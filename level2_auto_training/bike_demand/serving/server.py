"""Runs the application: takes the port, serves until asked to stop, and ends well."""

import contextlib
import os
import signal
import socket
import threading

import uvicorn
from uvicorn.supervisors import Multiprocess

from bike_demand.errors import UserError
from bike_demand.settings import load_settings
from bike_demand.tracking import Tracking

GRACE_SECONDS = 2  # for requests under way when asked to stop


def serve(host: str, port: int, workers: int) -> None:
    """Serve the version that is live until SIGTERM or Ctrl-C; a release is followed without a restart.

    Raises UserError where a setting is wrong or the address is taken.
    """
    Tracking(load_settings())  # so that a wrong setting is told once, and not by each worker
    with contextlib.closing(_bind(host, port)) as listener:
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
        if workers > 1:
            Multiprocess(config, sockets=[listener]).run()
        else:
            _run(uvicorn.Server(config), listener)


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
