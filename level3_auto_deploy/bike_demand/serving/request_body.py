"""Reads request bodies of limited size, and validates their rows in one step directly from the bytes."""

import codecs
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from bike_demand.core.current import Inputs

MAX_BYTES = 1024 * 1024
MAX_ROWS = 1000  # so that one request delays others by a few milliseconds at most
MAX_ERRORS = 10  # per response

_FIELD_NAME_END = re.compile(rb'"\s*:')  # ends a field name, and hardly ever a text
_row_adapter = TypeAdapter(Inputs)
_rows_adapter = TypeAdapter(Annotated[list[Inputs], Field(min_length=1, max_length=MAX_ROWS)])


async def read_body(request: Request) -> bytes:
    """The bytes of the body.

    Raises HTTPException 413 as soon as the body is known to exceed MAX_BYTES, and 415 for a body that a
    browser would send for a page of another origin without asking first.
    """
    headers = request.headers
    if "origin" in headers and not headers.get("content-type", "").lower().startswith("application/json"):
        raise HTTPException(415, "web pages must send Content-Type: application/json")
    if int(headers.get("content-length", 0)) > MAX_BYTES:  # the server rejects anything but a number
        raise _too_large()
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise _too_large()
    return body


def parse_rows(body: bytes) -> tuple[list[Inputs], bool]:
    """The rows, and whether the body was a list. Raises RequestValidationError that names invalid fields."""
    body = body.removeprefix(codecs.BOM_UTF8).lstrip()
    try:
        is_list = body[:1] == b"["
        rows = _rows_adapter.validate_json(body) if is_list else [_row_adapter.validate_json(body)]
    except ValidationError as error:
        raise validation_error(error, body) from None
    reject_duplicate_fields(body, rows)
    return rows, is_list


def reject_duplicate_fields(body: bytes, rows: Sequence[BaseModel]) -> None:
    """Raises RequestValidationError for a duplicate field in a row: JSON would silently keep the last."""
    # A cheap test: with more names in the body than fields were parsed, one is a duplicate, or in a text.
    if len(_FIELD_NAME_END.findall(body)) == sum(len(row.model_fields_set) for row in rows):
        return  # unknown field names were rejected before
    given = json.loads(body, object_pairs_hook=lambda pairs: [name for name, _ in pairs])
    for position, names in enumerate(given if isinstance(given[0], list) else [given]):
        if repeated := sorted(name for name in set(names) if names.count(name) > 1):
            where = ("body", position, repeated[0]) if given is not names else ("body", repeated[0])
            raise RequestValidationError([{"type": "duplicate", "loc": where, "msg": "Duplicate field"}])


def validation_error(error: ValidationError, body: bytes, omit: Sequence[str] = ()) -> RequestValidationError:
    """The exception for a 422 response. Omits the input, which may be large or not JSON.

    `omit`: location parts that exist only in the models, not in bodies.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown: list[dict[str, Any]] = [
        {**each, "loc": ("body", *(part for part in each["loc"] if part not in omit))}
        for each in found[:MAX_ERRORS]
    ]
    if found[0]["type"] == "json_invalid":
        shown[0]["msg"] += _encoding_hint(body)
    return RequestValidationError(shown)


def _encoding_hint(body: bytes) -> str:
    """A hint if the body is compressed or not UTF-8."""
    if body.startswith(b"\x1f\x8b"):
        return "; it is compressed: send it without Content-Encoding"
    return "; it is not UTF-8" if {"\0", "\ufffd"} & set(body.decode(errors="replace")) else ""


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is over {MAX_BYTES} bytes; send fewer rows at once")
