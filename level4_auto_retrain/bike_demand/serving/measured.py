"""Around the application: notes each request, and takes the frequent ones past the framework's layers."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from fastapi import HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bike_demand.serving.lines import Answered
from bike_demand.serving.recorder import Recorder

KEY = "bike_demand"  # where a route leaves its note in the scope of the request


class Note(NamedTuple):
    """What a route knows of a request: who asked, the ids of what was answered, and the version that did."""

    client: str
    ids: Sequence[str] = ()
    version: str = ""


Handler = Callable[[Request], Awaitable[Response]]


class Measured:
    """Plain ASGI: what FastAPI calls a middleware would cost more time than the model does.

    A request that is `direct`, by method and path, goes to its handler straight away; what that raises is
    answered as FastAPI answers it.
    """

    def __init__(self, app: ASGIApp, recorder: Recorder, direct: Mapping[tuple[str, str], Handler]) -> None:
        self._app, self._recorder, self._direct = app, recorder, direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        at, began = time.time(), time.perf_counter()
        status = 500
        handler = self._direct.get((scope["method"], scope["path"]))
        try:
            if handler is not None:
                response = await _answer(handler, Request(scope, receive))
                status = response.status_code
                await response(scope, receive, send)
            else:

                async def noted(message: Message) -> None:
                    nonlocal status
                    if message["type"] == "http.response.start":
                        status = message["status"]
                    await send(message)

                await self._app(scope, receive, noted)
        finally:
            # Where there is no such route it is not the path itself: anybody can make up many.
            route = scope["path"] if handler else getattr(scope.get("route"), "path", "other")
            note: Note = scope.get(KEY) or Note("")
            seconds = time.perf_counter() - began
            self._recorder.request(Answered(at, route, status, seconds, *note))


async def _answer(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except HTTPException as error:
        return await http_exception_handler(request, error)
    except RequestValidationError as error:
        return await request_validation_exception_handler(request, error)
