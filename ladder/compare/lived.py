"""What a level's replay leaves to be measured."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pandas as pd

from ladder.compare.results import Answer, Event


@dataclass(frozen=True)
class StepDone:
    """A step of a release that was done: of which release, when, its wall seconds, and what refused it."""

    release: int  # counted from 0, the one that is live on the first day
    id: str
    on: date
    seconds: float
    refused: str | None = None


@dataclass(frozen=True)
class Witness:
    """An answer that somebody kept, about which questions are asked later."""

    on: date
    version: str | None  # as the answer carried it; None where it carried none
    prediction: str | None  # its id, where answers have one
    digests: dict[str, str] = field(default_factory=dict)  # SHA-256 of files as they were then, by path


@dataclass
class Lived:
    """`answers` has one row an hour of the story: timestamp, prediction (NaN where none was given)."""

    level: int
    answers: pd.DataFrame
    releases: list[date] = field(default_factory=list)  # days on which another model was live
    steps: list[StepDone] = field(default_factory=list)
    trainings: int = 0  # how many were begun
    release_steps: int = 0  # done by hand
    daily_steps: int = 0  # done by hand
    failed_requests: int = 0
    machine_seconds: float = 0.0  # CPU, of the level's own process and those that it started
    told: dict[str, Any] = field(default_factory=dict)  # what the level says that it did by itself
    events: list[Event] = field(default_factory=list)  # releases and refusals, in order of days
    witness: Witness | None = None
    questions: list[Answer] = field(default_factory=list)
