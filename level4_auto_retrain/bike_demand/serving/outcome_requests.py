"""Receives outcomes: parses request bodies and stores the labels in the database."""

import codecs
from collections.abc import Mapping
from typing import Annotated

from fastapi.exceptions import RequestValidationError
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from bike_demand.core.current import LABEL, Outcome, OutcomeOfPrediction, RowId, label_of, row_id
from bike_demand.data.month import iso
from bike_demand.serving.request_body import MAX_ROWS, reject_duplicate_fields, validation_error
from bike_demand.store.database import Database, open_database
from bike_demand.store.outcomes import Stored, store
from bike_demand.store.queries import rows_of

_BY_ROW, _BY_ID = "by row", "by id"

_One = Annotated[
    Annotated[Outcome, Tag(_BY_ROW)] | Annotated[OutcomeOfPrediction, Tag(_BY_ID)],
    Discriminator(lambda given: _BY_ID if isinstance(given, dict) and "id" in given else _BY_ROW),
]
_Many = TypeAdapter(Annotated[list[_One], Field(min_length=1, max_length=MAX_ROWS)])


def parse_outcomes(body: bytes) -> dict[RowId | str, float]:
    """The labels by event time and key, or by prediction id. Raises RequestValidationError that names the
    invalid fields.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        found = _Many.validate_json(body)
    except ValidationError as error:
        raise validation_error(error, body, omit=(_BY_ROW, _BY_ID)) from None
    reject_duplicate_fields(body, found)
    labels: dict[RowId | str, float] = {}
    for place, each in enumerate(found):
        about = each.id if isinstance(each, OutcomeOfPrediction) else row_id(each)
        if labels.setdefault(about, label_of(each)) != label_of(each):
            raise refusal(place, LABEL, f"{_shown(about)} is given twice, with different labels")
    return labels


def refusal(place: int, field: str, message: str) -> RequestValidationError:
    """The 422 response for one of the outcomes."""
    return RequestValidationError([{"type": "value_error", "loc": ("body", place, field), "msg": message}])


def _shown(about: RowId | str) -> str:
    return about if isinstance(about, str) else " ".join((iso(about[0]), about[1])).strip()


class OutcomeStore:
    """Stores outcomes in the database at an address, open_deployments on first use."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._database: Database | None = None

    def store(self, labels: Mapping[RowId | str, float]) -> Stored:
        """Store outcomes durably. Raises UserError if the database is down, RequestValidationError if there
        is no prediction with a given id; then nothing is stored.
        """
        database = self._database or open_database(self._address)
        try:
            rows = rows_of(database, [each for each in labels if isinstance(each, str)])
            by_row: dict[RowId, float] = {}
            for place, (about, label) in enumerate(labels.items()):
                if isinstance(about, str) and about not in rows:
                    raise refusal(place, "id", f"no prediction has the id {about}")
                by_row[rows[about] if isinstance(about, str) else about] = label
            stored = store(database, by_row)
        except BaseException:
            self._database = None  # reopen it: it may have been deleted and created anew
            database.close()
            raise
        self._database = database
        return stored

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()
