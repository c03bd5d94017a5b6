"""Ingests the feed into a folder, month by month: reads only what changed, and stores only valid rows.

All months are fetched and validated before the first is written, so that one bad month changes nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bike_demand.core.current import EVENT_TIME, LABEL_LAG, Row
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.data.frames import as_of_view, concat, to_parquet
from bike_demand.data.ingested import ingested_months, month_file
from bike_demand.data.month import month_start, next_month
from bike_demand.data.source import PublishedMonth, Source

RECORD_FILE = "sources.json"
# Identifies the row schema, with cadence and time zone: when it changes, all months are read again.
_SCHEMA = json.dumps([Row.model_json_schema(), repr(EVENT_TIME)], sort_keys=True)
SCHEMA_DIGEST = hashlib.sha256(_SCHEMA.encode()).hexdigest()


class _Origin(BaseModel):
    """Where an ingested month came from. While nothing here changes, it is not read again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    change_token: str | None
    until: datetime | None  # as of when: later rows and labels were left out; None if the month is complete


_Record = TypeAdapter(dict[str, dict[str, _Origin]])  # by SCHEMA_DIGEST and month


@dataclass(frozen=True)
class IngestResult:
    """The result of an ingestion: all ingested months, and those that are new or changed, or were removed."""

    months: list[str]
    changed: list[str]
    removed: list[str]


def ingest(
    source: Source,
    folder: Path,
    first_month: str,
    as_of: datetime | None = None,
    now: datetime | None = None,
    progress: Callable[[list[PublishedMonth]], Iterable[PublishedMonth]] = iter,
) -> IngestResult:
    """Synchronise `folder` with the published months, as of `as_of`, reading only what changed.

    Months that are no longer published, or not before `as_of`, are removed from `folder`. `now` is the UTC
    time beyond which rows are rejected as future (default: this machine's clock). `progress` wraps the
    iteration over months. Raises UserError if the feed is unreachable or invalid, and leaves `folder`
    unchanged.
    """
    # Local times can be up to 14 hours ahead of UTC.
    latest = (now or datetime.now(UTC)).replace(tzinfo=None) + timedelta(hours=14)
    record = _read_record(folder)
    published = source.list_months(first_month)
    selected = [each for each in published if as_of is None or month_start(each.month) < as_of]
    if not selected:
        raise UserError(f"{source.address}: begins with {published[0].month}; give a later --as-of")
    ingested: dict[str, _Origin] = {}
    changed: dict[str, bytes] = {}
    for entry in progress(selected):
        complete_at = month_start(next_month(entry.month)) + LABEL_LAG
        until = as_of if as_of is not None and as_of < complete_at else None
        origin = _Origin(address=entry.address, change_token=entry.change_token, until=until)
        if entry.change_token and record.get(entry.month) == origin:
            ingested[entry.month] = origin
            continue
        name = source.describe(entry.name)
        if month_start(entry.month) > latest:
            raise UserError(f"{name}: this month is in the future; nothing was ingested")
        rows = _read_valid(source.fetch(entry), entry.month, name, latest)
        if until is not None:
            rows = as_of_view(rows, until)
        if rows.empty:
            continue
        ingested[entry.month] = origin
        content, file = to_parquet(rows), month_file(folder, entry.month)
        if not file.exists() or file.read_bytes() != content:
            changed[entry.month] = content
    if not ingested:
        raise UserError(f"{source.address}: no rows before --as-of; give a later date")
    return _write_months(folder, changed, ingested, record)


def newest_rows(source: Source, first_month: str, months: int) -> pd.DataFrame:
    """Read the newest published months without ingesting them. Raises UserError like `ingest`."""
    from bike_demand.data.table import read_month_file

    return concat(
        read_month_file(source.fetch(entry), entry.month, source.describe(entry.name))
        for entry in source.list_months(first_month)[-months:]
    )


def _write_months(
    folder: Path, changed: dict[str, bytes], ingested: dict[str, _Origin], record: dict[str, _Origin]
) -> IngestResult:
    # Months first, the record last: after a kill in between, months are merely read again.
    for month, content in changed.items():
        write_atomically(month_file(folder, month), content)
    removed = [month for month in ingested_months(folder) if month not in ingested]
    for month in removed:
        month_file(folder, month).unlink()
    if ingested != record:
        write_atomically(folder / RECORD_FILE, _Record.dump_json({SCHEMA_DIGEST: ingested}, indent=1) + b"\n")
    return IngestResult(list(ingested), list(changed), removed)


def _read_valid(content: bytes, month: str, name: str, latest: datetime) -> pd.DataFrame:
    """Read and validate a month's rows. Raises UserError with all violations."""
    from bike_demand.data.table import read_month_file  # importing pandera takes a second

    try:
        return read_month_file(content, month, name, latest)
    except UserError as error:
        raise UserError(f"{error}; nothing was ingested; ask the operator to correct the file") from None


def _read_record(folder: Path) -> dict[str, _Origin]:
    """Read the record of earlier runs, without months whose ingested file is gone.

    It only saves work, so an unreadable one is ignored.
    """
    try:
        record = _Record.validate_json((folder / RECORD_FILE).read_bytes()).get(SCHEMA_DIGEST, {})
    except (FileNotFoundError, ValidationError):
        return {}
    present = ingested_months(folder)
    return {month: origin for month, origin in record.items() if month in present}
