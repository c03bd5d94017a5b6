"""Web server plumbing, independent of what is predicted: base application, sockets, graceful shutdown."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.middleware import Middleware
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.supervisors import Multiprocess

from bike_demand.core.current import PROBLEM
from bike_demand.core.errors import UserError
from bike_demand.core.settings import ServingSettings

GRACE_SECONDS = 2  # for requests in flight after the listener is closed
CLIENT_CLOSED_REQUEST = 499  # the status in nginx's log; no client receives it

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Status(BaseModel):
    """The state of the application."""

    status: str


class ErrorDetail(BaseModel):
    """Why a request failed, in one sentence."""

    detail: str


def new_app(lifespan: Lifespan | None = None, *middleware: Middleware) -> FastAPI:
    """An application with `/live` and offline `/docs`. Every GET route also answers HEAD.

    Redirects are relative: behind a proxy, the host name would be an internal one.
    """
    app = FastAPIOffline(
        title=PROBLEM.title,
        description=PROBLEM.description,
        redoc_url=None,
        lifespan=lifespan,
        middleware=[Middleware(_head_as_get), *middleware],
        redirect_slashes=False,  # Starlette would redirect to the address under which the proxy reaches it
    )
    app.state.draining = False
    app.add_exception_handler(404, _not_found)
    app.add_exception_handler(ClientDisconnect, _client_gone)

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope['root_path']}/docs")

    @app.get("/live", summary="Is the process alive?")
    async def live() -> Status:
        return Status(status="live")

    return app


async def not_draining(request: Request) -> None:
    """Dependency of the readiness check. Raises HTTPException 503 while the service shuts down."""
    if request.app.state.draining:
        raise HTTPException(503, "shutting down")


@asynccontextmanager
async def drain_on_sigterm(app: FastAPI, seconds: float) -> AsyncIterator[None]:
    """Inside the block, SIGTERM fails the readiness check for `seconds`, then stops the server.

    Proxies that poll `/ready` thus stop sending requests before the listener closes. Ctrl-C, which a terminal
    sends to all processes, stops the server at once; so does a second SIGTERM if there is only one process.
    """
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)  # uvicorn's own handler

    def drain() -> None:
        wait = 0.0 if app.state.draining else seconds
        app.state.draining = True
        if callable(stop):
            loop.call_later(wait, stop, signal.SIGTERM, None)

    with contextlib.suppress(NotImplementedError):  # Windows has no SIGTERM handling
        loop.add_signal_handler(signal.SIGTERM, drain)
    yield


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not listening yet. Raises UserError if it cannot be bound."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        if os.name == "posix":  # on Windows this would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be encoded
        cause = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {host}, port {port}: {cause}; give another --host or --port, or stop the"
            " program that uses it"
        ) from None
    listener.set_inheritable(True)
    return listener


def address_of(host: str, listener: socket.socket) -> str:
    """The URL of a listener that was bound to `host`."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def run(factory: str, listener: socket.socket, workers: int, serving: ServingSettings) -> None:
    """Serve the application that `factory` (module:function) creates in `workers` processes until stopped."""
    config = uvicorn.Config(
        factory,
        factory=True,
        workers=workers,
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # nothing depends on the client's address or scheme
        lifespan="on",
        root_path=serving.root_path,
        timeout_keep_alive=serving.keep_alive_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    if workers > 1:
        _report_dead_workers()
        Multiprocess(config, sockets=[listener]).run()
        return
    server = uvicorn.Server(config)
    if threading.current_thread() is threading.main_thread():
        # uvicorn re-raises SIGTERM after shutdown; this handler absorbs it, so that the exit status is 0.
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _report_dead_workers() -> None:
    """Let uvicorn's parent process say that a worker was killed, for which it has an INFO record."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.levelno > logging.INFO or "died" in record.getMessage())
    parent = logging.getLogger("uvicorn.error")
    parent.setLevel(logging.INFO)
    parent.addHandler(handler)


def _head_as_get(app: ASGIApp) -> ASGIApp:
    """Middleware for monitors and proxies that send HEAD: routes see GET, and the server omits the body."""

    def call(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope.get("method") == "HEAD":
            scope = {**scope, "method": "GET"}
        return app(scope, receive, send)

    return call


async def _not_found(request: Request, error: Exception) -> Response:
    """Redirect `/docs/` to `/docs`, relative to the address that the client used."""
    assert isinstance(error, StarletteHTTPException)
    path = request.url.path
    if path != "/" and path.endswith("/"):
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"../{path[:-1].rpartition('/')[2]}{query}")
    return await http_exception_handler(request, error)


async def _client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
