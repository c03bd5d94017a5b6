"""The results of a replay and of a comparison: the content of `compare.json`."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import pandas as pd

from ladder.runbook import Question, Role, Team
from ladder.source import Strict
from ladder.story import Incident

EventKind = Literal["released", "refused", "rolled back", "noticed", "acted"]


def day_of(moment: str) -> date:
    """The day of a moment that a level reports."""
    return datetime.fromisoformat(moment).date()


class StoryFacts(Strict):
    """Which story it was. `skipped` are events that only the simulator can make happen, over a given feed."""

    name: str
    title: str
    says: str
    start: date
    end: date
    hours: int
    feed: str  # "simulated", or the folder of the clean feed
    incidents: tuple[Incident, ...]
    skipped: tuple[str, ...] = ()


class Event(Strict):
    """An action or detection of a level on a day of the story, in the level's own words.

    `acted`: a response to something it detected, other than the kinds before it.
    """

    on: date
    kind: EventKind
    says: str


class IncidentResult(Strict):
    """The result of an incident at a level. Days are counted from its first day; None: not within the story.

    `noticed_by` is the part of the level that detected it, or `users` (an assumption about people).
    `bad_hours` are hours predicted while the error was not normal (ladder.compare.measures). `recovered` is
    False if the story, or the next incident, came first: then `days_to_recover` is a lower bound.
    """

    kind: str
    since: date
    days_to_notice: int | None
    noticed_by: str | None
    done: tuple[Event, ...]
    days_to_recover: int
    recovered: bool
    bad_hours: int


class Answer(Strict):
    """The answer to one of three questions after the story; `command` is the command that was run, if any."""

    question: Question
    asks: str
    command: str | None
    answered: bool
    says: str
    seconds: float | None


class TimelineStep(Strict):
    """A step of one release. Days count from the release's first day; `seconds` is measured machine time.

    `assumed` is the reason for the assumed days of people (data/people.yaml); None if measured.
    """

    id: str
    who: Role = "machine"
    gives_to: Role | None = None
    does: str
    begins: float
    ends: float
    seconds: float | None = None
    assumed: str | None = None


class Timeline(Strict):
    """One release of a level, from its data to the day on which it was shown to users; `why` it is chosen."""

    begins: date
    live: date
    why: str
    steps: tuple[TimelineStep, ...]


class Releases(Strict):
    """How often and how fresh releases are: what follows from when a level trains and releases."""

    mae: float  # mean absolute error of the predictions that users got, bikes an hour
    releases: int
    released_on: tuple[date, ...]
    trainings: int
    days_to_recover: float | None  # mean over the incidents; None without any


class LevelResult(Releases):
    """Everything measured at one level."""

    name: str
    weekly_mae: tuple[float | None, ...]
    error_7_days: tuple[float | None, ...]  # on each day of the story, over it and the six before
    manual_steps: int
    manual_steps_of_releases: int
    manual_steps_per_release: float  # manual steps per release
    failed_requests: int
    reproducible: bool
    traceable: bool
    machine_seconds: float
    incidents: tuple[IncidentResult, ...]
    events: tuple[Event, ...]
    questions: tuple[Answer, ...]
    timeline: Timeline | None

    @property
    def recovered(self) -> bool:
        """Whether it did from every incident; else `days_to_recover` is a lower bound."""
        return all(each.recovered for each in self.incidents)


class RetrainedDaily(Strict):
    """A model retrained daily without delay: the oracle. Errors are None before `since`, its first day,
    and on days without hours.
    """

    since: date
    mae: float
    weekly_mae: tuple[float | None, ...]
    error_7_days: tuple[float | None, ...]


class Machine(Strict):
    """Where it was measured; machine seconds compare with others of the same machine only."""

    python: str
    system: str
    cores: int


class Comparison(Strict):
    """All of `compare.json`. `same_dates`: each level once more, with releases started on the same days."""

    version: Literal[4] = 4
    story: StoryFacts
    levels: dict[str, LevelResult]
    same_dates: dict[str, Releases] | None
    same_dates_says: str | None
    retrained_daily: RetrainedDaily | None
    assumed: dict[str, Team]  # what data/people.yaml assumes of each
    assumed_in: str
    verdicts: tuple[str, ...]  # the findings, in plain words
    machine: Machine
    wall_seconds: float


@dataclass(frozen=True)
class StepDone:
    """A completed step of a release: which release, when, wall seconds, and the refusal, if any."""

    release: int  # numbered from 0, which is live on the first day
    id: str
    on: date
    seconds: float
    refused: str | None = None


@dataclass(frozen=True)
class RecordedPrediction:
    """A recorded prediction, which questions refer to later."""

    on: date
    version: str | None  # of the model, if the response carried it
    prediction: str | None  # its id, if predictions have one
    digests: dict[str, str] = field(default_factory=dict)  # SHA-256 of files at that time, by path


@dataclass
class ReplayResult:
    """The results of one level's replay. `predictions` has one row per hour of the story: timestamp and
    prediction (NaN if there was none).
    """

    level: int
    predictions: pd.DataFrame
    releases: list[date] = field(default_factory=list)  # days on which another model went live
    steps: list[StepDone] = field(default_factory=list)
    trainings: int = 0  # number of trainings started
    release_steps: int = 0  # done by people
    daily_steps: int = 0  # done by people
    failed_requests: int = 0
    machine_seconds: float = 0.0  # CPU of the level's own process and its children
    reported: dict[str, Any] = field(default_factory=dict)  # the level's report on its automatic actions
    events: list[Event] = field(default_factory=list)  # releases and refusals, in order of days
    recorded_prediction: RecordedPrediction | None = None
    questions: list[Answer] = field(default_factory=list)
