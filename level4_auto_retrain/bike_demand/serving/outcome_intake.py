"""Outcomes by request: what they may contain, and how they get into the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError

from bike_demand.core.current import LABEL, Outcome, label_of, time_of
from bike_demand.data.month import iso
from bike_demand.serving.request_body import MAX_ROWS, invalid
from bike_demand.store.database import Database, open_database
from bike_demand.store.outcomes import Stored, store

_Many = TypeAdapter(Annotated[list[Outcome], Field(min_length=1, max_length=MAX_ROWS)])


def parse_outcomes(body: bytes) -> list[Outcome]:
    """The outcomes. Raises RequestValidationError, which names the fields."""
    try:
        found = _Many.validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None
    labels: dict[datetime, float] = {}
    for place, each in enumerate(found):
        if labels.setdefault(time_of(each), label_of(each)) != label_of(each):
            message = f"{iso(time_of(each))} is there twice, with different labels"
            problem: dict[str, Any] = {"type": "value_error", "loc": ("body", place, LABEL), "msg": message}
            raise RequestValidationError([problem])
    return found


class OutcomeStore:
    """Stores outcomes in the database at that address, which is opened when it is first needed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._database: Database | None = None

    def store(self, outcomes: Sequence[Outcome]) -> Stored:
        """Store them durably. Raises UserError where the database is away."""
        database = self._database or open_database(self._address)
        try:
            stored = store(database, [(time_of(each), label_of(each)) for each in outcomes])
        except BaseException:
            self._database = None  # it may have been deleted and made anew: open it again
            database.close()
            raise
        self._database = database
        return stored

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()
