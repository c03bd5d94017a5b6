"""What a request to predict may carry: one row or a list of rows, checked in one step from its bytes."""

from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError

from bike_demand.data.schema import MAX_ROWS, Conditions

MAX_ERRORS = 10  # of one answer

_One = TypeAdapter(Conditions)
_Many = TypeAdapter(Annotated[list[Conditions], Field(min_length=1, max_length=MAX_ROWS)])


def parse_rows(body: bytes) -> tuple[list[Conditions], bool]:
    """The rows, and whether they came as a list.

    Raises RequestValidationError, the application's 422, that names the fields at fault.
    """
    try:
        if body.lstrip()[:1] == b"[":
            return _Many.validate_json(body), True
        return [_One.validate_json(body)], False
    except ValidationError as error:
        raise RequestValidationError(named(error)) from None


def named(error: ValidationError) -> list[dict[str, Any]]:
    """The errors in FastAPI's format. What was sent is not sent back: it may be large, or not be JSON."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{**each, "loc": ("body", *each["loc"])} for each in found[:MAX_ERRORS]]
