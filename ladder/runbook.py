"""Runbooks: the steps of a release, who does them, and how manual work is simulated."""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from ladder import ROOT, UserError
from ladder.levels import Level
from ladder.output import listed
from ladder.source import Strict, read_yaml

Reason = Annotated[str, Field(min_length=1)]
Question = Literal["reproduce", "training_data", "released_by"]
Role = Literal["data scientist", "data engineer", "software engineer", "machine"]


class Move(Strict):
    """Files that people move from one place in the project to another."""

    source: Annotated[str, Field(alias="from")]
    to: str


class Step(Strict):
    """One step: what happens, who does it, and its effect on the machine."""

    id: str
    who: Role
    does: str
    gives_to: Role | None = None
    command: str | None = None
    copies: Move | None = None
    pastes: Move | None = None
    restarts: Literal["service"] | None = None
    corrects: Literal["feed"] | None = None  # the operator corrects it
    gate: bool = False  # it may refuse, which ends the release
    trains: bool = False  # a model comes of it

    @property
    def by_hand(self) -> bool:
        return self.who != "machine"


class Page(Strict):
    """A server that people open in a browser; `{port}` in its command and `env` is a free port."""

    name: str
    command: str
    probe: str = "/"  # the path that responds once it is up
    path: str = ""  # the page that people open first
    env: dict[str, str] = Field(default={})


class Flows(Strict):
    """How the Prefect server of that name runs what the background does otherwise.

    `prepare` and `worker` are commands, `daily` is the deployment run first each day. The group in
    `event_count_pattern` matches, in the message of its last state, the number of runs that its events start.
    """

    page: str
    env: dict[str, str]
    prepare: tuple[str, ...]
    worker: str
    daily: str
    event_count_pattern: str


class ByDate(Strict):
    """How a level with its own release triggers is made to start releases on given days instead."""

    settings: dict[str, dict[str, Any]]  # for its params.yaml, by section
    steps: tuple[Step, ...]  # of each such release


class Procedure(Strict):
    """What people do when asked a question about an old prediction.

    `{version}`, `{prediction}` and `{day}` stand for values of the response, and its day. With `output_file`,
    the command is run in a copy of the project, and that file is compared with the state of the first of
    `digest_files` on that day. `answer`: people's answer without a command, or if it failed.
    """

    command: str | None = None
    output_patterns: tuple[re.Pattern[str], ...] = ()  # each must match a line of the output
    digest_files: tuple[str, ...] = ()  # files whose digests an outsider remembers, to compare with
    output_file: str | None = None
    answer: str | None = None

    @model_validator(mode="after")
    def _to_the_point(self) -> Self:
        if self.command is None and self.answer is None:
            raise ValueError("it has neither `command` nor `answer`")
        compares = self.output_file and self.digest_files
        if self.command is not None and bool(self.output_patterns) == bool(compares):
            raise ValueError("a command needs either `output_patterns`, or `output_file` and `digest_files`")
        return self


class Runbook(Strict):
    """The steps of a release and of each day, the steps by which users get predictions by hand; and pages."""

    release: tuple[Step, ...]
    daily: tuple[Step, ...] = ()
    after_refusal: tuple[Step, ...] = ()  # what people do after a gate refused a release
    retry_after_refusal: bool = False  # otherwise the release waits for the next date
    predict: tuple[Step, ...] = ()  # by hand, each day
    outcomes_path: str | None = None  # the application's path for labels, once known
    status_command: str | None = None  # reports automatic actions as JSON: trainings, incidents
    demo_scenario: str = "calm"  # the scenario in which `run` and `up` show it
    pages: tuple[Page, ...] = ()
    background: tuple[Step, ...] = ()  # what runs next to the application, until it ends
    flows: Flows | None = None  # what does the same during a story
    by_date: ByDate | None = None  # None: its releases start on people's dates anyway
    questions: dict[Question, Procedure] = Field(default={})  # about a prediction of long ago

    @property
    def digest_files(self) -> tuple[str, ...]:
        """Files whose digests have to be remembered on the day of that prediction."""
        return tuple(name for each in self.questions.values() for name in each.digest_files)


def fill_placeholders(text: str, values: Mapping[str, object]) -> str:
    """The text with values in place of their names in braces; other braces stay."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def fill_env(env: Mapping[str, str], folder: Path, port: int) -> dict[str, str]:
    """Environment variables for a server of that port and a project in that folder."""
    return {name: fill_placeholders(value, {"folder": folder, "port": port}) for name, value in env.items()}


def load(folder: Path) -> Runbook:
    """The runbook of a project. Raises UserError with the file and the key that is wrong."""
    return read_yaml(Runbook, folder / "runbook.yaml")


class Duration(Strict):
    """How many days a step takes people, and the reason."""

    days: Annotated[int, Field(ge=0)]
    why: Reason


Month = Annotated[int, Field(ge=1, le=12)]
DayOfMonth = Annotated[int, Field(ge=1, le=28)]


class Days(Strict):
    """On which days of the year something is done, and why then. No months: on none."""

    months: tuple[Month, ...]
    days: tuple[DayOfMonth, ...]
    why: Reason

    @property
    def says(self) -> str:
        """In words."""
        if not self.months:
            return self.why
        months = [f"{date(2000, month, 1):%B}" for month in self.months]
        named = "each month" if len(months) == 12 else listed(months)
        return f"on day {listed(self.days)} of {named}: {self.why}"


class Team(Strict):
    """The people of one level: when they release, and how long each step takes them."""

    live: Days  # when a new model goes live
    days: dict[str, Duration]


class Complaints(Strict):
    """When users complain: once the weekly error has been `times` that of the four weeks before an incident
    for so many days; and the reason for this assumption.
    """

    times: Annotated[float, Field(gt=1)]
    days: Annotated[int, Field(ge=1)]
    why: str


class People(Strict):
    """The assumption of data/people.yaml."""

    complaints: Complaints
    levels: dict[int, Team]
    same_dates: Days  # on which every level starts a release if only practice is compared

    def team(self, level: Level) -> Team:
        """The team of a level. Raises UserError if nothing is assumed about it."""
        if level.number not in self.levels:
            raise UserError(f"people.yaml: levels.{level.number} is missing; add it")
        return self.levels[level.number]


PEOPLE = ROOT / "data" / "people.yaml"


def load_people(path: Path = PEOPLE) -> People:
    """What is assumed of people. Raises UserError with the file and the key that is wrong."""
    return read_yaml(People, path)


class Due(NamedTuple):
    """A step that is due on a day; `release` is numbered from 0, which is live on the first day."""

    on: date
    release: int
    step: Step


def plan(level: Level, team: Team, runbook: Runbook, start: date, end: date) -> tuple[Due, ...]:
    """The schedule of all steps, for every release that goes live in a story, ordered by day.

    A model is live on the first day; further ones on the team's days up to and including `end`. Raises
    UserError if the team and the runbook name different steps.
    """
    takes = _takes(level, team, runbook)
    lives = (day for day in _days_of(team.live, start, end) if day > start)
    return _in_order(runbook.release, team, (day - takes for day in (start, *lives)))


def plan_on_same_dates(
    level: Level, team: Team, runbook: Runbook, days: Days, start: date, end: date
) -> tuple[Due, ...]:
    """The same with releases of every level on these days; steps take people as long as usual.

    A level with its own release triggers uses its steps for given dates. Raises like `plan`.
    """
    takes = _takes(level, team, runbook)
    first = start - takes
    begins = [day for day in _days_of(days, start, end) if day > first and day + takes <= end]
    if runbook.by_date is None:
        return _in_order(runbook.release, team, (first, *begins))
    steps = runbook.by_date.steps
    later = (Due(day, number, step) for number, day in enumerate(begins, start=1) for step in steps)
    return (*_in_order(runbook.release, team, (first,)), *later)


def plan_again(team: Team, runbook: Runbook, due: Due, release: int) -> tuple[Due, ...]:
    """What people do after a gate ended a release at that step; if it starts once more, that is the release
    with the given number.
    """
    before = [Due(on, due.release, step) for on, step in _in_turn(runbook.after_refusal, team, due.on)]
    if not runbook.retry_after_refusal:
        return tuple(before)
    begin = before[-1].on if before else due.on
    later = (Due(on, release, step) for on, step in _in_turn(runbook.release, team, begin))
    return (*before, *later)


def _takes(level: Level, team: Team, runbook: Runbook) -> timedelta:
    """How long a release takes people."""
    ids = [step.id for step in (*runbook.after_refusal, *runbook.release)]
    if set(ids) != set(team.days):
        odd = ", ".join(sorted(set(ids) ^ set(team.days)))
        raise UserError(f"people.yaml, level {level.number}: steps differ from its runbook.yaml: {odd}")
    return timedelta(days=sum(team.days[step.id].days for step in runbook.release))


def _in_order(steps: tuple[Step, ...], team: Team, begins: Iterable[date]) -> tuple[Due, ...]:
    done: list[Due] = []
    for number, begin in enumerate(begins):
        done += [Due(day, number, step) for day, step in _in_turn(steps, team, begin)]
    # Two releases may overlap: on one day the older release's steps come first.
    return tuple(sorted(done, key=lambda due: due[:2]))


def _in_turn(steps: Iterable[Step], team: Team, begin: date) -> Iterator[tuple[date, Step]]:
    """When each step is done."""
    day = begin
    for step in steps:
        day += timedelta(days=team.days[step.id].days)
        yield day, step


def _days_of(given: Days, start: date, end: date) -> Iterator[date]:
    for year in range(start.year, end.year + 1):
        for month, number in product(sorted(given.months), sorted(given.days)):
            day = date(year, month, number)
            if start <= day <= end:
                yield day


def paste(folder: Path, move: Move) -> None:
    """Concatenate CSV files into one with a single header, as people do in a spreadsheet.

    Raises UserError if there are none.
    """
    sources = sorted(folder.glob(move.source))
    if not sources:
        raise UserError(f"{folder}: no file like {move.source} to paste into {move.to}")
    with (folder / move.to).open("w", encoding="utf-8", newline="") as target:
        for number, source in enumerate(sources):
            header, _, rows = source.read_text(encoding="utf-8").partition("\n")
            target.write(rows if number else f"{header}\n{rows}")


def copy(folder: Path, move: Move) -> None:
    """Copy a file or folder, replacing an existing one.

    Raises UserError if there is nothing to copy.
    """
    source, target = folder / move.source, folder / move.to
    if not source.exists():
        raise UserError(f"{folder}: there is no {move.source} to copy to {move.to}")
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    else:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
