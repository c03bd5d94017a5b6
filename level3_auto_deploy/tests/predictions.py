"""Puts answers and outcomes into the log of production, as the service does."""

import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime

from sqlalchemy import insert

from bike_demand.core.current import INPUT_COLUMNS, TIME, Row, key_of, row_id
from bike_demand.core.settings import DATA, load_settings
from bike_demand.data.ingested import read_rows
from bike_demand.serving.prediction import assign_variant
from bike_demand.store.database import open_database
from bike_demand.store.outcomes import store
from bike_demand.store.tables import LoggedPrediction
from tests.ingested import rows_of
from tests.toy import MACHINES

Model = Callable[[Row], float]


def rows_between(first: str, last: str) -> list[Row]:
    """The ingested rows from one day to before another."""
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return [row for row in rows_of(read_rows(DATA)) if begin <= row.begins < end]


def log(
    rows: Iterable[Row],
    champion: tuple[int, Model],
    other: tuple[int, Model] | None = None,
    role: str = "challenger",
    deployments: tuple[str, str] = ("", ""),
) -> list[str]:
    """Log predictions of both models for each row; returns the ids. Of a challenger, half are shown."""
    settings = load_settings()
    entries = []
    for row in rows:
        variant = "champion"
        if role == "challenger" and other is not None:
            unit = key_of(row) if settings.ab.randomize_by == "key" else row.begins
            variant = assign_variant(unit, settings.ab.share, settings.ab.salt)
        answers = [(*champion, deployments[0])]
        if other is not None:
            answers.append((*other, deployments[1]))
        shown, *others = answers[::-1] if variant == "challenger" else answers
        entry = {
            "id": uuid.uuid4().hex,
            "made_at": datetime.now(UTC),
            "client": "test",
            "event_time": row.begins,
            "key": key_of(row),
            "inputs": row.model_dump(mode="json", include=set(INPUT_COLUMNS) - {TIME}),
            "prediction": shown[1](row),
            "variant": variant,
            "version": shown[0],
            "deployment": shown[2],
            "other_prediction": None,
            "other_version": None,
            "other_role": None,
        }
        if others:
            its_role = "champion" if variant == "challenger" else role
            entry |= {
                "other_prediction": others[0][1](row),
                "other_version": others[0][0],
                "other_role": its_role,
            }
        entries.append(entry)
    with (
        closing(open_database(settings.environments.production.database)) as database,
        database.writing() as connection,
    ):
        connection.execute(insert(LoggedPrediction), entries)
    return [str(entry["id"]) for entry in entries]


def store_outcomes(rows: Iterable[Row]) -> None:
    """Post what became known of these rows."""
    with closing(open_database(load_settings().environments.production.database)) as database:
        store(database, {row_id(row): row.amount for row in rows})


def model_with_error(pieces: float, spread: float = 0.3) -> Model:
    """A model that is off by about so many pieces, in a way that differs from row to row and day to day."""

    def predict(row: Row) -> float:
        position = MACHINES.index(row.machine)
        rng = hash((row.begins.toordinal() * 7919 + position * 104729, pieces)) % 1000 / 1000
        error = pieces * (1 + spread * (2 * rng - 1)) * (1 if rng > 0.2 else -1)
        return max(0.0, float(row.amount) + error)

    return predict
