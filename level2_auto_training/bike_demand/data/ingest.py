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

from bike_demand.core.current import LATE, Row
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.data.frames import as_known, concat, to_parquet
from bike_demand.data.month import first_moment, next_month
from bike_demand.data.source import Published, Source
from bike_demand.data.store import gathered_months, month_file

RECORD = "sources.json"
# Identifies the row schema: when it changes, all months are read again.
DEFINITION = hashlib.sha256(json.dumps(Row.model_json_schema(), sort_keys=True).encode()).hexdigest()


class _Taken(BaseModel):
    """The source of an ingested month, which need not be read again while all of this stays the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    token: str | None
    until: datetime | None  # cutoff: later rows, and labels not yet known, were left out
    sha256: str  # digest of the published file
    size: int  # size of the ingested file


_Record = TypeAdapter(dict[str, dict[str, _Taken]])  # by DEFINITION and month


@dataclass(frozen=True)
class Gathered:
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
    progress: Callable[[list[Published]], Iterable[Published]] = iter,
) -> Gathered:
    """Make `folder` reflect what `source` publishes about the time before `as_of`, reading only what changed.

    Months that are no longer published, or not before `as_of`, are removed from `folder`. `now` is the UTC
    time beyond which rows are rejected as future (default: this machine's clock). `progress` wraps the
    iteration over months. Raises UserError if the feed is unreachable or invalid, and leaves `folder`
    unchanged.
    """
    # No place on earth is further ahead of UTC, and the feed may give local times.
    latest = (now or datetime.now(UTC)).replace(tzinfo=None) + timedelta(hours=14)
    record = _read_record(folder)
    published = source.months(first_month)
    wanted = [each for each in published if as_of is None or first_moment(each.month) < as_of]
    if not wanted:
        raise UserError(
            f"{source.address}: begins with {published[0].month}, after --as-of; give a later one"
        )
    taken: dict[str, _Taken] = {}
    changed: dict[str, bytes] = {}
    for each in progress(wanted):
        complete = first_moment(next_month(each.month)) + LATE
        until = as_of if as_of is not None and as_of < complete else None
        known = record.get(each.month)
        if known and not _is_there(known, each.month, folder):
            known = None
        place = (each.address, each.token, until)
        if known and each.token is not None and place == (known.address, known.token, known.until):
            taken[each.month] = known
            continue
        name = source.describe(each.name)
        if first_moment(each.month) > latest:
            raise UserError(f"{name}: this month is in the future; nothing was ingested")
        content = source.fetch(each)
        digest = hashlib.sha256(content).hexdigest()
        if known and (known.sha256, known.until) == (digest, until):
            taken[each.month] = known.model_copy(update={"address": each.address, "token": each.token})
            continue  # rewritten with the same content
        rows = _checked(content, each.month, name, latest)
        if until is not None:
            rows = as_known(rows, until)
        if rows.empty:
            continue
        changed[each.month] = to_parquet(rows)
        size = len(changed[each.month])
        taken[each.month] = _Taken(
            address=each.address, token=each.token, until=until, sha256=digest, size=size
        )
    if not taken:
        raise UserError(f"{source.address}: no row before --as-of; give a later one")
    return _put_in_place(folder, changed, taken, record)


def newest_rows(source: Source, first_month: str, months: int) -> pd.DataFrame:
    """Read the newest published months without ingesting them. Raises UserError like `ingest`."""
    from bike_demand.data.table import read_published

    return concat(
        read_published(source.fetch(each), each.month, source.describe(each.name))
        for each in source.months(first_month)[-months:]
    )


def _put_in_place(
    folder: Path, changed: dict[str, bytes], taken: dict[str, _Taken], record: dict[str, _Taken]
) -> Gathered:
    # Months first, the record last: after a kill in between, months are merely read again.
    for month, content in changed.items():
        write_atomically(month_file(folder, month), content)
    removed = [month for month in gathered_months(folder) if month not in taken]
    for month in removed:
        month_file(folder, month).unlink()
    if taken != record:
        write_atomically(folder / RECORD, _Record.dump_json({DEFINITION: taken}, indent=1) + b"\n")
    return Gathered(list(taken), list(changed), removed)


def _checked(content: bytes, month: str, name: str, latest: datetime) -> pd.DataFrame:
    """Read and validate a month's rows. Raises UserError with all violations."""
    from bike_demand.data.table import read_published  # importing pandera takes a second

    try:
        return read_published(content, month, name, latest)
    except UserError as error:
        raise UserError(f"{error}; nothing was ingested, have the feed corrected") from None


def _is_there(known: _Taken, month: str, folder: Path) -> bool:
    file = month_file(folder, month)
    return file.exists() and file.stat().st_size == known.size


def _read_record(folder: Path) -> dict[str, _Taken]:
    """Read the record of earlier runs. It only saves work, so that an unreadable one is ignored."""
    try:
        return _Record.validate_json((folder / RECORD).read_bytes()).get(DEFINITION, {})
    except (FileNotFoundError, ValidationError):
        return {}
