"""A level's application with a model released as its runbook prescribes, with all its practices enabled."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ladder import runbook, workcopy
from ladder.levels import level
from ladder.service import APPLICATION, Service
from ladder.steps import environment, run_command, run_step
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import read_feed, write_feed

FIRST_RELEASE_UNTIL = pd.Timestamp("2012-12-01")  # the release before, against which the newest is tried


@dataclass(frozen=True)
class Released:
    """A running application: its working copy, its address, and the headers of users and of operators."""

    folder: Path
    url: str
    headers: Mapping[str, str]
    operator: Mapping[str, str]


@contextmanager
def released(
    number: int, folder: Path, command: Sequence[str] = APPLICATION, twice: bool = False
) -> Iterator[Released]:
    """The level's application in a working copy, after one release or, with `twice`, two.

    From level 3 on it requires API keys, and an A/B test of the second version is running.
    """
    workcopy.make(level(number), folder)
    feed = read_feed(COMMITTED_FEED)
    book = runbook.load(folder)
    user, operator = {}, {}
    if book.outcomes_path:
        user["X-API-Key"] = _key("benchmark", folder)
        operator["X-API-Key"] = _key("operator --operations", folder)
    with Service(folder, folder / "state" / "service.log", env=environment(), command=command) as service:
        for until in (FIRST_RELEASE_UNTIL, None) if book.outcomes_path or twice else (None,):
            write_feed(feed if until is None else feed[feed["timestamp"] < until], folder / "feed")
            for step in (*book.daily, *book.release):
                run_step(step, folder, run_command, service)
        if not service.is_running():
            service.start()
        yield Released(folder, service.url, user, operator)


def _key(arguments: str, folder: Path) -> str:
    """A new key: the last word that the command prints."""
    return run_command(f"python -m bike_demand key {arguments}", folder).split()[-1]
