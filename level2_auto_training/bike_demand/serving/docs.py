"""OpenAPI documentation for /predict, which parses its body without FastAPI: schemas and examples."""

from typing import Any

from pydantic import BaseModel

from bike_demand.core.current import MAX_PREDICTION, MIN_PREDICTION, PROBLEM, Inputs
from bike_demand.serving.request_body import MAX_BYTES, MAX_ROWS
from bike_demand.serving.web import ErrorDetail

Responses = dict[int | str, dict[str, Any]]

PREDICT = (
    f"Takes one row and returns one prediction, or takes a list of 1 to {MAX_ROWS} rows and returns a list in"
    f" the same order. `prediction`: {PROBLEM.unit}, from {MIN_PREDICTION:g} to {MAX_PREDICTION:g}."
)


class FieldError(BaseModel):
    """An invalid field of a body; `loc` is its location."""

    type: str
    loc: list[str | int]
    msg: str


class InvalidBody(BaseModel):
    """Why a body was rejected."""

    detail: list[FieldError]


def _body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    named = {summary: {"summary": summary, "value": value} for summary, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": named}}}


def error(description: str) -> dict[str, Any]:
    """The documentation of a response with an error message."""
    return {"description": description, "model": ErrorDetail}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_ROWS}


_ROW = Inputs.model_json_schema(by_alias=False)
_EXAMPLES = {"One row": PROBLEM.example, **PROBLEM.more_examples}
PREDICT_BODY = _body(
    {"oneOf": [_ROW, _list_of(_ROW)]}, _EXAMPLES | {"Several rows": list(_EXAMPLES.values())}
)

NO_MODEL: Responses = {503: error("No model has been released yet.")}
PREDICT_RESPONSES: Responses = NO_MODEL | {
    413: error(f"The body is larger than {MAX_BYTES} bytes."),
    415: error("A web page sent it without `Content-Type: application/json`."),
    422: {"description": "A field is invalid; `loc` names it.", "model": InvalidBody},
    500: error("The model returned no number."),
}
