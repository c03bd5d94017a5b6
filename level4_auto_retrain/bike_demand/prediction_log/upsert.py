"""Writes rows over those that are there with the same key."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from bike_demand.prediction_log.database import Database


def upsert(
    database: Database, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert the rows, each in the place of the one with its primary key, where there is one."""
    if not rows:
        return
    make = sqlite.insert if database.engine.dialect.name == "sqlite" else postgresql.insert
    statement = make(table)
    keys = [column.name for column in table.primary_key]
    others = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=others), [dict(row) for row in rows]
    )
