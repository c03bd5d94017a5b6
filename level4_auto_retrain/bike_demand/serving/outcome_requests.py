"""Receives outcomes: parses request bodies and stores the labels in the database."""

import codecs
import time
from collections.abc import Sequence
from typing import Annotated, TypeAlias
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from bike_demand.core.current import LABEL, Outcome, OutcomeOfPrediction, RowId, label_of, row_id
from bike_demand.core.errors import UserError
from bike_demand.data.month import iso
from bike_demand.serving.request_body import MAX_ROWS, reject_duplicate_fields, validation_error
from bike_demand.store.database import Database, open_database
from bike_demand.store.outcomes import Stored, store
from bike_demand.store.queries import rows_of

# Age up to which a prediction may be in another worker's queue: two of the longest flushes.
RECENT_SECONDS = 120.0
PATIENCE_SECONDS = 5.0  # how long to wait for it

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


class OutcomeStore:
    """Stores outcomes in the database at an address, opened on first use."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._database: Database | None = None

    def store(self, outcomes: Sequence[OutcomeReport]) -> Stored:
        """Store outcomes durably. Raises UserError if the database is down or a prediction is not stored yet,
        RequestValidationError if there is no prediction with a given id, two labels for a row, or a key that
        the database cannot hold; then nothing is stored.
        """
        database = self._database or open_database(self._address)
        try:
            ids = [each.id for each in outcomes if isinstance(each, OutcomeOfPrediction)]
            predicted = _wait_for_rows(database, ids)
            labels: dict[RowId, float] = {}
            for place, each in enumerate(outcomes):
                if not isinstance(each, OutcomeOfPrediction):
                    row = row_id(each)
                elif each.id in predicted:
                    row = predicted[each.id]
                else:
                    raise refusal(f"no prediction has the id {each.id}", place, "id")
                label = float(label_of(each))  # PostgreSQL does not convert a boolean
                if labels.setdefault(row, label) != label:
                    name = " ".join((iso(row[0]), row[1])).strip()
                    raise refusal(f"{name} is given twice, with different labels", place, LABEL)
            stored = store(database, labels)
        except BaseException as error:
            self._database = None  # reopen it: it may have been deleted and created anew
            database.close()
            if isinstance(error, ValueError):
                raise refusal(str(error)) from None
            raise
        self._database = database
        return stored

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()


def _wait_for_rows(database: Database, ids: Sequence[str]) -> dict[str, RowId]:
    """The rows of predictions, without unknown ids. Waits for recent ones, which another worker may not have
    stored yet; raises UserError if it does not store them soon.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    found = rows_of(database, ids)
    while missing := [each for each in ids if each not in found and _is_recent(each)]:
        if time.monotonic() > until:
            raise UserError(f"the prediction {missing[0]} is not stored yet")
        time.sleep(0.1)
        found |= rows_of(database, missing)
    return found


def _is_recent(id_: str) -> bool:
    try:
        made_at = (UUID(id_).int >> 80) / 1000  # a UUIDv7 begins with the time in milliseconds
    except ValueError:
        return False
    return abs(time.time() - made_at) < RECENT_SECONDS
