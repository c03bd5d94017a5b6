"""Gathers the feed month by month into a folder: only what changed, and only what is right.

Months are fetched and checked into a waiting folder beside the gathered ones, and all of them are put in
place at the end: a feed with one bad month changes nothing. Cut off half way, the next run takes what waits
there and goes on.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bike_demand.data.month import first_hour, next_month, parse_month
from bike_demand.data.source import Published, Source
from bike_demand.data.store import gathered_months
from bike_demand.errors import UserError
from bike_demand.files import write_atomically

RECORD = "sources.json"
WAITING = "incoming"


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
    # No place on earth is further ahead of UTC, and the feed's hours are local ones.
    latest = (now or datetime.now(UTC)).replace(tzinfo=None) + timedelta(hours=14)
    record = _read_record(folder)
    published = source.months(first_month)
    wanted = [each for each in published if as_of is None or first_hour(each.month) < as_of]
    if not wanted:
        raise UserError(
            f"{source.address}: begins with {published[0].month}, after --as-of; give a later one"
        )
    taken: dict[str, _Taken] = {}
    waiting: dict[str, Path] = {}
    for each in progress(wanted):
        until = as_of if as_of is not None and as_of < first_hour(next_month(each.month)) else None
        known = record.get(each.month)
        if known is not None and _is_current(known, each, until, folder):
            taken[each.month] = known
            continue
        path = folder.parent / WAITING / f"{each.month}.{_digest(f'{each} {until}'.encode())[:16]}.csv"
        resumed = each.token is not None and path.exists()
        if resumed:
            content = path.read_bytes()
        else:
            try:
                content = _fetch(source, each, until, latest, known)
            except _BadMonthError as error:
                shutil.rmtree(path.parent, ignore_errors=True)
                raise UserError(f"{error}; nothing was gathered, have the feed corrected") from None
        if not content:
            continue
        taken[each.month] = _Taken(
            address=each.address, token=each.token, until=until, sha256=_digest(content), size=len(content)
        )
        if known is None or known.sha256 != _digest(content) or not _is_there(known, each.month, folder):
            if not resumed:
                write_atomically(path, content)
            waiting[each.month] = path
    if not taken:
        raise UserError(f"{source.address}: no hour before --as-of; give a later one")
    return _put_in_place(folder, record, taken, waiting)


class _BadMonthError(UserError):
    """A month that was read and is not right, other than one that could not be read."""


def _fetch(
    source: Source, published: Published, until: datetime | None, latest: datetime, known: _Taken | None
) -> bytes:
    """The month's file without the rows from `until` on; nothing if none is left.

    Raises _BadMonthError where anything in it is wrong, UserError where it cannot be reached.
    """
    name = source.describe(published.month)
    if first_hour(published.month) > latest:
        raise _BadMonthError(f"{name}: this month is in the future")
    content = source.fetch(published)
    if until is None and known is not None and known.sha256 == _digest(content):
        return content  # touched, but the same: no need to check it again
    try:
        rows = parse_month(content, published.month, name, latest)
    except UserError as error:
        raise _BadMonthError(str(error)) from None
    if until is None:
        return content
    before = sum(row.timestamp < until for row in rows)
    return b"".join(content.splitlines(keepends=True)[: 1 + before]) if before else b""


def _is_current(known: _Taken, published: Published, until: datetime | None, folder: Path) -> bool:
    if published.token is None or (known.address, known.token) != (published.address, published.token):
        return False
    return known.until == until and _is_there(known, published.month, folder)


def _is_there(known: _Taken, month: str, folder: Path) -> bool:
    file = folder / f"{month}.csv"
    return file.exists() and file.stat().st_size == known.size


def _put_in_place(
    folder: Path, record: dict[str, _Taken], taken: dict[str, _Taken], waiting: dict[str, Path]
) -> Gathered:
    """Months first, the record last: cut off in between, a month is at most taken once more."""
    folder.mkdir(parents=True, exist_ok=True)
    for month, path in waiting.items():
        try:
            path.replace(folder / f"{month}.csv")
        except FileNotFoundError:
            raise UserError(f"{path}: gone; is another ingest at work? try again when it is done") from None
    removed = [month for month in gathered_months(folder) if month not in taken]
    for month in removed:
        (folder / f"{month}.csv").unlink()
    if taken != record:
        write_atomically(folder / RECORD, _Record.dump_json(taken, indent=1) + b"\n")
    shutil.rmtree(folder.parent / WAITING, ignore_errors=True)
    return Gathered(list(taken), list(waiting), removed)


def _read_record(folder: Path) -> dict[str, _Taken]:
    """What was taken before. It only saves work: one that cannot be read is as good as none."""
    try:
        return _Record.validate_json((folder / RECORD).read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
