"""Selects the feed that a scenario publishes."""

from pathlib import Path

import pandas as pd

from ladder import UserError
from ladder.world import COMMITTED_FEED
from ladder.world.faults import publish
from ladder.world.feedfile import read_feed
from ladder.world.scenario import Scenario
from ladder.world.simulator import FIRST, simulate


def months_of(scenario: Scenario) -> int:
    """The months of the world that a scenario needs: two years, or more if its story ends later."""
    return 24 if scenario.end is None else max(24, (pd.Period(scenario.end, freq="M") - FIRST).n + 1)


def published_feed(
    scenario: Scenario | None, until: pd.Timestamp, out: Path, feed: Path | None
) -> pd.DataFrame:
    """What the feed shows at `until` (exclusive), for the folder `out`.

    Published is a given feed; or the committed one, if the scenario leaves the world as it is; or the
    simulated world of the scenario. Events change people's behaviour, so only the simulator can produce them:
    over a given feed they are left out.

    Raises UserError if `until` is outside the feed or `out` is the clean feed.
    """
    for clean in (COMMITTED_FEED, feed):
        if clean is not None and out.resolve() == clean.resolve():
            raise UserError(f"--out {out}: must not be the clean feed itself; choose another folder")
    if feed or scenario is None or (scenario.world.trend == "gradual" and not scenario.events):
        frame = read_feed(feed or COMMITTED_FEED)
    else:
        frame = simulate(scenario, months=months_of(scenario))
    first, after = frame["timestamp"].iloc[0], frame["timestamp"].iloc[-1].normalize() + pd.Timedelta(days=1)
    if not first < until <= after:
        raise UserError(
            f"--until {until}: outside the feed; choose a date after {first:%Y-%m-%d}, up to {after:%Y-%m-%d}"
        )
    shown = publish(frame, until, scenario.faults if scenario else ())
    if shown.empty:
        raise UserError(f"--until {until}: nothing has been published yet; choose a later date")
    return shown
