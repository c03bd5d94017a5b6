"""Provides the inputs of a training besides its code: the data, the quarantine, and the request."""

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bike_demand.core.errors import UnreachableError
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import DATA, STATE, Settings
from bike_demand.data.ingest import IngestResult, ingest
from bike_demand.data.ingested import read_rows
from bike_demand.data.quality import REPORT, freshness_deadline
from bike_demand.data.quarantine import write_quarantine
from bike_demand.data.source import PublishedMonth, Source
from bike_demand.store.ingested_rows import detect_bad_rows

REQUEST = STATE / "request.json"  # an input of the stage `validate`


def lock_data(timeout: float = 0) -> AbstractContextManager[object]:
    """Take the lock of trainings and ingestions, to be used in `with`: data must not change in a training.

    Raises UnreachableError if another process still holds it after `timeout` seconds.
    """
    try:
        return FileLock(STATE / "train.lock").acquire(timeout)
    except Timeout:
        raise UnreachableError("another training or ingestion is running here; try again later") from None


def update(
    settings: Settings,
    as_of: datetime | None,
    progress: Callable[[list[PublishedMonth]], Iterable[PublishedMonth]] = iter,
) -> IngestResult:
    """Update the data, detect bad rows with what the production database knows, and write the request.

    The stages read files only. Raises UserError if the feed is invalid, UnreachableError if a retry may help.
    """
    ingested = ingest(Source(settings.feed), DATA, settings.first_month, as_of=as_of, progress=progress)
    write_quarantine(detect_bad_rows(settings, read_rows(DATA)))
    REPORT.unlink(missing_ok=True)  # may be outdated: DVC skips `validate` if nothing changed
    write_request(freshness_deadline(settings, as_of))
    return ingested


def write_request(as_of: datetime | None, folder: Path = Path()) -> None:
    """Write the request for the stages in `folder`: when the data must be up to date (None: unchecked)."""
    content = {"as_of": None if as_of is None else as_of.isoformat()}
    write_atomically(folder / REQUEST, json.dumps(content).encode() + b"\n")


def read_request() -> datetime | None:
    """Read the time written by `write_request`."""
    as_of = json.loads(REQUEST.read_text(encoding="utf-8"))["as_of"]
    return None if as_of is None else datetime.fromisoformat(as_of)
