"""OpenAPI documentation for the routes that read their body themselves: schemas, and examples that work."""

from typing import Any

from pydantic import BaseModel

from bike_demand.core.current import (
    ID_COLUMNS,
    LABEL,
    MAX_PREDICTION,
    MIN_PREDICTION,
    PROBLEM,
    TIME,
    Inputs,
    Outcome,
    OutcomeOfPrediction,
)
from bike_demand.serving.keys import HEADER
from bike_demand.serving.request_body import MAX_BYTES, MAX_ROWS
from bike_demand.serving.web import ErrorDetail

Responses = dict[int | str, dict[str, Any]]

PREDICT = (
    f"Takes one row and returns one prediction, or takes a list of 1 to {MAX_ROWS} rows and returns a list in"
    f" the same order. `prediction`: {PROBLEM.unit}, from {MIN_PREDICTION:g} to {MAX_PREDICTION:g}."
    " During an A/B test,"
    " `variant` names the model that predicted; it is fixed per event time or key (`ab.randomize_by`)."
)
OUTCOMES = (
    f"Takes `{LABEL}` ({PROBLEM.label_description}) for 1 to {MAX_ROWS} rows, identified by"
    f" {', '.join(ID_COLUMNS)} or by the `id` of a prediction, in any order and at any time. Acknowledged"
    " outcomes are stored durably. Sending one again changes nothing; a different value replaces it."
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


_ROW, _OUTCOME = (each.model_json_schema(by_alias=False) for each in (Inputs, Outcome))
_BY_ID = OutcomeOfPrediction.model_json_schema(by_alias=False)
_EXAMPLES = {"One row": PROBLEM.example, **PROBLEM.more_examples}
_TIMES = sorted({each[TIME] for each in _EXAMPLES.values()})
PREDICT_BODY = _body(
    {"oneOf": [_ROW, _list_of(_ROW)]}, _EXAMPLES | {"Several rows": list(_EXAMPLES.values())}
)
OUTCOMES_BODY = _body(
    _list_of({"oneOf": [_OUTCOME, _BY_ID]}),
    {
        "One outcome": [_OUTCOME["example"]],
        "Several": [_OUTCOME["example"] | {TIME: each} for each in _TIMES],
    },
)

REFUSED: Responses = {
    401: error(f"No known API key in the header {HEADER}, where keys are in use."),
    403: error("The key has another role."),
}
NO_MODEL: Responses = {503: error("No model has been released yet.")}
METRICS: Responses = {200: {"description": "Prometheus text format.", "content": {"text/plain": {}}}}
_BODY_REFUSED: Responses = REFUSED | {
    413: error(f"The body is larger than {MAX_BYTES} bytes."),
    415: error("A web page sent it without `Content-Type: application/json`."),
    422: {"description": "A field is invalid; `loc` names it.", "model": InvalidBody},
}
PREDICT_RESPONSES = _BODY_REFUSED | NO_MODEL | {500: error("The model returned no number.")}
OUTCOMES_RESPONSES = _BODY_REFUSED | {
    503: error("The database is down or slow, or lacks a new prediction; try again.")
}
