"""What OpenAPI says about the two routes that read their body themselves: schemas, and examples that work."""

from typing import Any

from pydantic import BaseModel

from bike_demand.data.schema import EXAMPLE, MAX_ROWS, Conditions
from bike_demand.data.target import LOWEST, MEANING
from bike_demand.serving.keys import HEADER
from bike_demand.serving.outcome_intake import Outcome
from bike_demand.serving.request_body import MAX_BYTES

Responses = dict[int | str, dict[str, Any]]

PREDICT = (
    f"Takes one row, and returns one prediction; or a list of 1 to {MAX_ROWS} rows, and returns a list in the"
    f" same order. `prediction`: {MEANING}, never below {LOWEST}. `variant` says which model predicted"
    " while a challenger is tested against the champion; for one hour it is always the same."
)
OUTCOMES = (
    f"Takes the true counts of 1 to {MAX_ROWS} hours, in any order and as late as you like. What is"
    " acknowledged is stored durably. To send an hour again changes nothing; another count corrects it."
)


class FieldError(BaseModel):
    """What is wrong with one field of a body; `loc` says where it is."""

    type: str
    loc: list[str | int]
    msg: str


class InvalidBody(BaseModel):
    """Why a body was refused."""

    detail: list[FieldError]


def _body(schema: dict[str, Any], **examples: tuple[str, Any]) -> dict[str, Any]:
    shown = {name: {"summary": summary, "value": value} for name, (summary, value) in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_ROWS}


_ROW, _OUTCOME = Conditions.model_json_schema(), Outcome.model_json_schema()
_NIGHT = EXAMPLE | {"timestamp": "2012-06-14T03:00:00", "temp_c": 19.2, "feels_like_c": 21.0, "humidity": 0.8}
_LATER = {"timestamp": _NIGHT["timestamp"], "count": 8}
PREDICT_BODY = _body(
    {"oneOf": [_ROW, _list_of(_ROW)]},
    one_row=("A working day at 17 h", EXAMPLE),
    humidity_unknown=("The station does not report humidity", EXAMPLE | {"humidity": None}),
    list_of_rows=("Several hours at once", [EXAMPLE, _NIGHT]),
)
OUTCOMES_BODY = _body(
    _list_of(_OUTCOME),
    one_hour=("The count of one hour", [_OUTCOME["example"]]),
    two_hours=("The counts of two hours", [_OUTCOME["example"], _LATER]),
)

REFUSED: Responses = {
    401: {"description": f"No known API key in the header {HEADER}, where keys are in use."},
    403: {"description": "The key has another role."},
}
NO_MODEL: Responses = {503: {"description": "No model was released yet."}}
METRICS: Responses = {200: {"description": "The numbers.", "content": {"text/plain": {}}}}
_BODY_REFUSED: Responses = REFUSED | {
    413: {"description": f"The body is over {MAX_BYTES} bytes."},
    422: {"description": "A field is wrong; `loc` names it.", "model": InvalidBody},
}
PREDICT_RESPONSES = _BODY_REFUSED | NO_MODEL
OUTCOMES_RESPONSES = _BODY_REFUSED | {503: {"description": "The database is away; nothing was stored."}}
