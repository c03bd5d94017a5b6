"""What OpenAPI says about the route that reads its body itself: its schema, and examples that work."""

from typing import Any

from pydantic import BaseModel

from bike_demand.data.schema import EXAMPLE, MAX_ROWS, Conditions
from bike_demand.data.target import LOWEST, MEANING
from bike_demand.serving.request_body import MAX_BYTES

Responses = dict[int | str, dict[str, Any]]

PREDICT = (
    f"Takes one row, and returns one prediction; or a list of 1 to {MAX_ROWS} rows, and returns a list in the"
    f" same order. `prediction`: {MEANING}, never below {LOWEST}."
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


_ROW = Conditions.model_json_schema()
_NIGHT = EXAMPLE | {"timestamp": "2012-06-14T03:00:00", "temp_c": 19.2, "feels_like_c": 21.0, "humidity": 0.8}
PREDICT_BODY = _body(
    {"oneOf": [_ROW, _list_of(_ROW)]},
    one_row=("A working day at 17 h", EXAMPLE),
    humidity_unknown=("The station does not report humidity", EXAMPLE | {"humidity": None}),
    list_of_rows=("Several hours at once", [EXAMPLE, _NIGHT]),
)

NO_MODEL: Responses = {503: {"description": "No model was released yet."}}
PREDICT_RESPONSES: Responses = NO_MODEL | {
    413: {"description": f"The body is over {MAX_BYTES} bytes."},
    422: {"description": "A field is wrong; `loc` names it.", "model": InvalidBody},
}
