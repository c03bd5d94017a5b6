"""Receives outcomes: parses request bodies and stores the labels in the database."""

import codecs
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from bike_demand.core.current import LABEL, Outcome, OutcomeOfPrediction, RowId, label_of, row_id
from bike_demand.core.errors import UserError
from bike_demand.data.month import iso
from bike_demand.serving.request_body import MAX_ROWS, reject_duplicate_fields, validation_error
from bike_demand.store.database import Database
from bike_demand.store.outcomes import Stored, store
from bike_demand.store.queries import rows_of

# Age up to which a prediction may be in another worker's queue: two of the longest flushes.
RECENT_SECONDS = 120.0

_BY_ROW, _BY_ID = "by row", "by id"

OutcomeReport: TypeAlias = Outcome | OutcomeOfPrediction
_One = Annotated[
    Annotated[Outcome, Tag(_BY_ROW)] | Annotated[OutcomeOfPrediction, Tag(_BY_ID)],
    Discriminator(lambda given: _BY_ID if isinstance(given, dict) and "id" in given else _BY_ROW),
]
_Many = TypeAdapter(Annotated[list[_One], Field(min_length=1, max_length=MAX_ROWS)])


def parse_outcomes(body: bytes) -> list[OutcomeReport]:
    """The outcomes in a body. Raises RequestValidationError that names the invalid fields."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        found = _Many.validate_json(body)
    except ValidationError as error:
        raise validation_error(error, body, omit=(_BY_ROW, _BY_ID)) from None
    reject_duplicate_fields(body, found)
    return found


def refusal(message: str, *place: int | str) -> RequestValidationError:
    """The 422 response for one of the outcomes, or for all."""
    return RequestValidationError([{"type": "value_error", "loc": ("body", *place), "msg": message}])


class NotStoredYetError(UserError):
    """A recent prediction is not in the database: another worker may store it soon."""


def store_outcomes(database: Database, outcomes: Sequence[OutcomeReport]) -> Stored:
    """Store outcomes durably. Raises UserError if the database is down, NotStoredYetError,
    RequestValidationError if there is no prediction with a given id, two labels for a row, or a key that the
    database cannot hold; then nothing is stored.
    """
    ids = [each.id for each in outcomes if isinstance(each, OutcomeOfPrediction)]
    try:
        return store(database, _labels(outcomes, rows_of(database, ids)))
    except ValueError as error:
        raise refusal(str(error)) from None


def _labels(outcomes: Sequence[OutcomeReport], predicted: Mapping[str, RowId]) -> dict[RowId, float]:
    """The label of each row; `predicted`: the rows of predictions, by id."""
    labels: dict[RowId, float] = {}
    for place, each in enumerate(outcomes):
        if not isinstance(each, OutcomeOfPrediction):
            row = row_id(each)
        elif each.id in predicted:
            row = predicted[each.id]
        elif _is_recent(each.id):
            raise NotStoredYetError(f"the prediction {each.id} is not stored yet")
        else:
            raise refusal(f"no prediction has the id {each.id}", place, "id")
        label = float(label_of(each))  # PostgreSQL does not convert a boolean
        if labels.setdefault(row, label) != label:
            name = " ".join((iso(row[0]), row[1])).strip()
            raise refusal(f"{name} is given twice, with different labels", place, LABEL)
    return labels


def _is_recent(id_: str) -> bool:
    try:
        made_at = (UUID(id_).int >> 80) / 1000  # a UUIDv7 begins with the time in milliseconds
    except ValueError:
        return False
    return abs(time.time() - made_at) < RECENT_SECONDS
