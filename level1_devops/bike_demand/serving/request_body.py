"""Reads the body of a request within bounds, and validates its rows in one step from their bytes."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from bike_demand.core.current import Inputs

MAX_BYTES = 1024 * 1024
MAX_ROWS = 1000  # so that a request keeps others waiting for a few milliseconds at most
MAX_ERRORS = 10  # of one response

_One = TypeAdapter(Inputs)
_Many = TypeAdapter(Annotated[list[Inputs], Field(min_length=1, max_length=MAX_ROWS)])


async def read_body(request: Request) -> bytes:
    """The body's bytes. Raises HTTPException 413 as soon as it is known to exceed MAX_BYTES."""
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) > MAX_BYTES:  # the server refuses what is not a number
        raise _too_large()
    body, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
    return body


def parse_rows(body: bytes) -> tuple[list[Inputs], bool]:
    """The rows, and whether they came as a list. Raises RequestValidationError, which names the fields."""
    try:
        if body.lstrip()[:1] == b"[":
            return _Many.validate_json(body), True
        return [_One.validate_json(body)], False
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError, hidden: Sequence[str] = ()) -> RequestValidationError:
    """The 422 response to a body. It does not repeat the input, which may be large, or not be JSON.

    `hidden`: parts of locations that no body has.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown: list[dict[str, Any]] = [
        {**each, "loc": ("body", *(part for part in each["loc"] if part not in hidden))}
        for each in found[:MAX_ERRORS]
    ]
    return RequestValidationError(shown)


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is over {MAX_BYTES} bytes; send fewer rows at once")
