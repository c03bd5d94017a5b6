"""Gathers the feed month by month into a folder: only what changed, and only what is right.

All months are fetched and checked before the first of them is written: a feed with one bad month changes
nothing.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bike_demand.core.current import Row, time_of
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.data.month import first_moment, next_month, parse_month
from bike_demand.data.source import Published, Source
from bike_demand.data.store import gathered_months

RECORD = "sources.json"


class _Taken(BaseModel):
    """Of what a gathered month was made; unchanged as long as all of this is the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    token: str | None
    until: datetime | None  # rows from here on were left out
    sha256: str  # of the gathered file
    size: int


_Record = TypeAdapter(dict[str, _Taken])


@dataclass(frozen=True)
class Gathered:
    """What a run did: all gathered months, those that are new or changed, and those that are gone."""

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
    """Make `folder` hold what `source` publishes of the time before `as_of`, reading only what changed.

    Months that are no longer published, or not before `as_of`, are taken out of `folder`. `now` is the clock
    that tells the future (UTC; default: this machine's). `progress` may watch the months pass.
    Raises UserError where the feed cannot be reached or is not right; then `folder` is as it was.
    """
    # No place on earth is further ahead of UTC, and the feed's times may be local ones.
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
        until = as_of if as_of is not None and as_of < first_moment(next_month(each.month)) else None
        known = record.get(each.month)
        if known is not None and _is_current(known, each, until, folder):
            taken[each.month] = known
            continue
        content = _fetch(source, each, until, latest, known)
        if not content:
            continue
        taken[each.month] = _Taken(
            address=each.address, token=each.token, until=until, sha256=_digest(content), size=len(content)
        )
        if known is None or known.sha256 != _digest(content) or not _is_there(known, each.month, folder):
            changed[each.month] = content
    if not taken:
        raise UserError(f"{source.address}: no row before --as-of; give a later one")
    # Months first, the record last: after a kill in between, a month is at most read once more.
    for month, content in changed.items():
        write_atomically(folder / f"{month}.csv", content)
    removed = [month for month in gathered_months(folder) if month not in taken]
    for month in removed:
        (folder / f"{month}.csv").unlink()
    if taken != record:
        write_atomically(folder / RECORD, _Record.dump_json(taken, indent=1) + b"\n")
    return Gathered(list(taken), list(changed), removed)


def newest_rows(source: Source, first_month: str) -> list[Row]:
    """The rows of the two newest published months, without gathering them. Raises UserError like `ingest`."""
    rows: list[Row] = []
    for each in source.months(first_month)[-2:]:
        rows += parse_month(source.fetch(each), each.month, source.describe(each.month))
    return rows


def _fetch(
    source: Source, published: Published, until: datetime | None, latest: datetime, known: _Taken | None
) -> bytes:
    """The month's file without the rows from `until` on; nothing if none is left.

    Raises UserError where anything in it is wrong, or it cannot be reached.
    """
    name = source.describe(published.month)
    if first_moment(published.month) > latest:
        raise UserError(f"{name}: this month is in the future; nothing was gathered")
    content = source.fetch(published)
    if until is None and known is not None and known.sha256 == _digest(content):
        return content  # touched, but the same: no need to check it again
    try:
        rows = parse_month(content, published.month, name, latest)
    except UserError as error:
        raise UserError(f"{error}; nothing was gathered, have the feed corrected") from None
    if until is None:
        return content
    before = sum(time_of(row) < until for row in rows)
    return b"".join(content.splitlines(keepends=True)[: 1 + before]) if before else b""


def _is_current(known: _Taken, published: Published, until: datetime | None, folder: Path) -> bool:
    if published.token is None or (known.address, known.token) != (published.address, published.token):
        return False
    return known.until == until and _is_there(known, published.month, folder)


def _is_there(known: _Taken, month: str, folder: Path) -> bool:
    file = folder / f"{month}.csv"
    return file.exists() and file.stat().st_size == known.size


def _read_record(folder: Path) -> dict[str, _Taken]:
    """What was taken before. It only saves work: one that cannot be read is as good as none."""
    try:
        return _Record.validate_json((folder / RECORD).read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
