"""The story that every level is replayed through: a clean feed, a period, and incidents."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from ladder import UserError
from ladder.world.clean import months_of
from ladder.world.faults import as_requested, publish
from ladder.world.feedfile import between, read_feed
from ladder.world.scenario import Scenario, load_scenario
from ladder.world.simulator import simulate

BEFORE_DAYS = 60  # of the feed before the first day, for a first model to learn from


@dataclass(frozen=True)
class Incident:
    """An incident of a story: its first day, and its last if it is temporary."""

    kind: str
    since: date
    until: date | None = None


@dataclass(frozen=True)
class Story:
    """What happens, from `start` to `end` (both included); `clean` is the truth, one row an hour."""

    name: str  # of the scenario, as it was given: it may be the path of a file
    start: date
    end: date
    clean: pd.DataFrame
    scenario: Scenario
    incidents: tuple[Incident, ...]
    left_out: tuple[Incident, ...] = ()  # incidents of the scenario that begin outside the period

    def published(
        self, day: date, since: pd.Timestamp | None = None, corrected: date | None = None
    ) -> pd.DataFrame:
        """The feed as published that morning, with reporting faults; columns as in `read_feed`.

        `since`: only the hours from then on. `corrected`: hours before this day have been corrected.
        """
        clean = self.clean if since is None else self.clean[self.clean["timestamp"] >= since]
        right = None if corrected is None else pd.Timestamp(corrected)
        return publish(clean, pd.Timestamp(day), self.scenario.faults, right)

    def requests(self) -> pd.DataFrame:
        """The rows of the story's requests: the hour and its reported weather, no counts."""
        return as_requested(self.clean_rows(), self.scenario.faults)

    def clean_rows(self) -> pd.DataFrame:
        """The clean rows of the story's days."""
        return between(self.clean, self.start, self.end + timedelta(days=1))


def load_story(
    name: str, feed: Path | None = None, start: date | None = None, end: date | None = None
) -> Story:
    """The story of a scenario, in the simulator's world or over a user's own clean feed.

    Events in the world change people's behaviour, so they happen in the simulator only: to a given feed, only
    reporting faults are applied. `start` and `end` select another period of the scenario; incidents that
    begin outside of it do not happen. Raises UserError if the scenario names no period, or the feed does not
    cover it.
    """
    scenario = load_scenario(name)
    begins, ends = start or scenario.start, end or scenario.end
    if begins is None or ends is None:
        raise UserError(f"scenario {name}: it has no `start` and `end`; a story needs both")
    if ends < begins:
        raise UserError(f"--to {ends} is before --from {begins}")
    dated = [*scenario.faults, *scenario.events]
    dropped = [each for each in dated if not begins <= each.since <= ends]
    if dropped and start is None and end is None:
        odd = dropped[0]
        raise UserError(f"scenario {name}: {odd.kind} begins on {odd.since}, outside the story's period")
    scenario = scenario.model_copy(
        update={
            "start": begins,
            "end": ends,
            "events": tuple(each for each in scenario.events if each not in dropped),
            "faults": tuple(each for each in scenario.faults if each not in dropped),
        }
    )
    clean = simulate(scenario, months=months_of(scenario)) if feed is None else read_feed(feed)
    first, last = clean["timestamp"].iloc[0].date(), clean["timestamp"].iloc[-1].date()
    if begins - timedelta(days=BEFORE_DAYS) < first or ends > last:
        raise UserError(
            f"{feed or scenario.name}: the feed runs from {first} to {last}, the story {name} needs"
            f" {begins - timedelta(days=BEFORE_DAYS)} to {ends}: choose another period, scenario or feed"
        )
    incidents = [Incident(each.kind, each.since, each.to) for each in scenario.faults]
    if feed is None:
        incidents += [Incident(each.kind, each.since) for each in scenario.events]
    return Story(
        name=name,
        start=begins,
        end=ends,
        clean=clean,
        scenario=scenario,
        incidents=tuple(sorted(incidents, key=lambda each: each.since)),
        left_out=tuple(Incident(each.kind, each.since) for each in dropped),
    )
