"""Builds a comparison from the results of the replays."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from ladder import runbook, workcopy
from ladder.compare import incidents, measures
from ladder.compare.results import (
    Comparison,
    LevelResult,
    Machine,
    Releases,
    ReplayResult,
    RetrainedDaily,
    StoryFacts,
)
from ladder.compare.timeline import timeline
from ladder.compare.verdict import verdicts
from ladder.levels import Level
from ladder.runbook import People
from ladder.story import Story

SIMULATED = "simulated"


def comparison(
    story: Story,
    chosen: Sequence[Level],
    replayed: Mapping[int, ReplayResult],
    same_dates: Mapping[int, ReplayResult] | None,
    oracle: pd.DataFrame | None,
    people: People,
    people_path: Path,
    feed: Path | None,
    skipped: Sequence[str],
    wall_seconds: float,
) -> Comparison:
    """Measure the results of a story. `replayed` and `same_dates` are by level number.

    `oracle` has the oracle's predictions; None is allowed only for a story without incidents.
    """
    facts = _facts(story, feed, skipped)
    known = None if oracle is None else measures.daily_error(oracle, story.clean_rows())
    levels = {str(each.number): _level(story, each, replayed[each.number], known, people) for each in chosen}
    again = None
    if same_dates is not None:
        again = {
            str(each.number): _releases(_level(story, each, same_dates[each.number], known, people))
            for each in chosen
        }
    return Comparison(
        story=facts,
        levels=levels,
        same_dates=again,
        same_dates_says=None if again is None else people.same_dates.says,
        retrained_daily=None if known is None else RetrainedDaily(since=story.start, **_errors(story, known)),
        assumed={str(each.number): people.team(each) for each in chosen},
        assumed_in=Path(workcopy.display_path(people_path)).as_posix(),
        verdicts=verdicts(facts, levels, again),
        machine=Machine(
            python=platform.python_version(), system=platform.system(), cores=os.cpu_count() or 1
        ),
        wall_seconds=wall_seconds,
    )


def _facts(story: Story, feed: Path | None, skipped: Sequence[str]) -> StoryFacts:
    return StoryFacts(
        name=story.name,
        title=story.scenario.title,
        says=story.scenario.says,
        start=story.start,
        end=story.end,
        hours=len(story.clean_rows()),
        feed=SIMULATED if feed is None else feed.as_posix(),
        incidents=story.incidents,
        skipped=tuple(skipped),
    )


def _level(
    story: Story, level: Level, replayed: ReplayResult, oracle: pd.DataFrame | None, people: People
) -> LevelResult:
    days = measures.daily_error(replayed.predictions, story.clean_rows())
    happened = () if oracle is None else incidents.results(story, replayed, days, oracle, people.complaints)
    answered = {each.question: each.answered for each in replayed.questions}
    reported = incidents.reported_events(replayed)
    return LevelResult(
        **_errors(story, days),
        name=level.name,
        releases=len(replayed.releases),
        released_on=tuple(replayed.releases),
        trainings=replayed.trainings,
        days_to_recover=round(fmean(each.days_to_recover for each in happened), 2) if happened else None,
        manual_steps=replayed.release_steps + replayed.daily_steps,
        manual_steps_of_releases=replayed.release_steps,
        manual_steps_per_release=round(replayed.release_steps / max(1, len(replayed.releases)), 2),
        failed_requests=replayed.failed_requests,
        reproducible=answered.get("reproduce", False),
        traceable=answered.get("training_data", False) and answered.get("released_by", False),
        machine_seconds=round(replayed.machine_seconds, 1),
        incidents=happened,
        events=tuple(sorted((*replayed.events, *reported), key=lambda event: event.on)),
        questions=tuple(replayed.questions),
        timeline=timeline(story, runbook.load(level.folder), people.team(level), replayed),
    )


def _releases(measured: LevelResult) -> Releases:
    return Releases(**measured.model_dump(include=set(Releases.model_fields)))


def _errors(story: Story, days: pd.DataFrame) -> dict[str, Any]:
    """The fields about errors; `days` comes from `measures.daily_error`."""
    return {
        "mae": round(measures.mean_error(days), 2),
        "weekly_mae": tuple(measures.weekly_error(days, story.start, story.end)),
        "error_7_days": tuple(measures.error_7_days(days, story.start, story.end)),
    }
