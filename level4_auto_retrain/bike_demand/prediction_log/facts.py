"""What the loop knows and the application's page shows, for which there is no other table: JSON by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from bike_demand.prediction_log import loop_tables as tables
from bike_demand.prediction_log.database import Database
from bike_demand.prediction_log.upsert import upsert


@dataclass(frozen=True)
class Fact:
    """One of them, as it was known at `as_of`, in the time of the feed."""

    name: str
    content: Any  # what JSON can hold
    as_of: datetime


def put(database: Database, contents: Mapping[str, Any], as_of: datetime) -> None:
    """Keep these, in the place of what was known by these names before."""
    rows = [{"name": name, "content": content, "as_of": as_of} for name, content in contents.items()]
    with database.writing() as connection:
        upsert(database, connection, tables.facts, rows)


def read(database: Database) -> dict[str, Fact]:
    """All of them, by name."""
    with database.reading() as connection:
        rows = connection.execute(select(tables.facts)).mappings().all()
    return {row["name"]: Fact(**row) for row in rows}
