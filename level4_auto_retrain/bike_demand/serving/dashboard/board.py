"""Makes the page from the database, for one process; whoever looks at the same moment gets the same page."""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from bike_demand.data.target import ERROR_NAME, ERROR_UNIT, rounded
from bike_demand.errors import UserError
from bike_demand.prediction_log.database import Database, open_database
from bike_demand.serving.dashboard.parts import Headline, View
from bike_demand.serving.dashboard.read import Seen, read
from bike_demand.serving.dashboard.view import RANGES, view
from bike_demand.serving.dashboard.words import WORDS, duration, plain
from bike_demand.serving.live_models import LiveModels

TEMPLATE = Path(__file__).with_name("page.html.j2")
FRESH_SECONDS = 1.0  # a page this old is shown again
DEFAULT_RANGE = "90"


class Board:
    """The page of one environment. Without an address of a database there is little on it.

    `seen_within`: seconds since the last sign of a worker that still counts as running.
    """

    def __init__(
        self,
        address: str,
        environment: str,
        links: Mapping[str, str],
        refresh_seconds: int,
        seen_within: float,
    ) -> None:
        self._address, self._environment = address, environment
        self._links, self._refresh, self._seen_within = dict(links), refresh_seconds, seen_within
        self._database: Database | None = None
        self._made: dict[str, tuple[float, LiveModels | None, str]] = {}
        self._lock = threading.Lock()

    def page(self, chosen: str | None, live: LiveModels | None, problem: str | None) -> str:
        """The page as HTML, with the days that were chosen: a key of RANGES, else DEFAULT_RANGE."""
        chosen = chosen if chosen in RANGES else DEFAULT_RANGE
        with self._lock:
            if chosen in self._made:
                at, its_live, text = self._made[chosen]
                if time.monotonic() - at < FRESH_SECONDS and its_live is live:
                    return text
            shown = self._view(chosen, live)
            text = rendered(replace(shown, problem=problem or shown.problem), self._refresh)
            self._made[chosen] = (time.monotonic(), live, text)
            return text

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _view(self, chosen: str, live: LiveModels | None) -> View:
        try:
            return view(self._read(), live, chosen, self._links)
        except UserError as error:
            told = Headline("bad", "The database does not answer", str(error), _goes_on(live))
            return replace(view(_nothing(), live, chosen, self._links), headline=told)

    def _read(self) -> Seen:
        if not self._address:
            return _nothing()
        database = self._database or open_database(self._address)
        try:
            seen = read(database, self._environment, self._seen_within)
        except BaseException:
            self._database = None  # it may have been deleted and made anew: open it again
            database.close()
            raise
        self._database = database
        return seen


def rendered(shown: View, refresh: int) -> str:
    """The page: HTML that needs nothing from anywhere else."""
    told = {"words": WORDS, "ms": duration, "plain": plain, "rounded": rounded}
    told |= {"error": ERROR_NAME, "unit": ERROR_UNIT}
    return str(_template().render(view=shown, refresh=refresh, **told))


@cache
def _template() -> Any:
    # Imported here: a service at whose page nobody looks does not need it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _goes_on(live: LiveModels | None) -> list[str]:
    return [] if live is None else [f"Version {live.model.version} goes on answering."]


def _nothing() -> Seen:
    return Seen(
        facts={},
        days=[],
        signals=[],
        incidents=[],
        alerts=[],
        actions=[],
        drift=None,
        replaced={},
        workers=[],
        loads=[],
        step=timedelta(minutes=1),
        read_at=datetime.now(UTC),
    )
