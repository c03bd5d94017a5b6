"""Runbooks: every step of a release, who does it, and how a person's hands are played."""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data import UserError
from ladder.levels import ROOT, Level

Model = TypeVar("Model", bound=BaseModel)
Role = Literal["data scientist", "data engineer", "software engineer", "machine"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Move(_Strict):
    """Files that hands move from one place in the project to another."""

    source: Annotated[str, Field(alias="from")]
    to: str


class Step(_Strict):
    """One step: what happens, who does it, and what it comes to on the machine."""

    id: str
    who: Role
    does: str
    gives_to: Role | None = None
    command: str | None = None
    copies: Move | None = None
    pastes: Move | None = None
    restarts: Literal["service"] | None = None
    gate: bool = False  # it may refuse what it looks at; then the release ends there
    trains: bool = False  # a model comes of it

    @property
    def by_hand(self) -> bool:
        return self.who != "machine"


class Page(_Strict):
    """A server that people look at while the level runs; `{port}` in its command and `env` is a free port."""

    name: str
    command: str
    probe: str = "/"  # the path that answers once it is up
    env: dict[str, str] = {}


class Runbook(_Strict):
    """The steps of one release, of each day, and by which users get predictions by hand; and pages."""

    release: tuple[Step, ...]
    daily: tuple[Step, ...] = ()
    use: tuple[Step, ...] = ()
    outcomes: str | None = None  # where the application takes true counts, once they are known
    tells: str | None = None  # a command that says as JSON what the level did by itself: trainings, incidents
    plays: str | None = None  # the scenario in which `run` and `up` show it; none: the feed as it is
    pages: tuple[Page, ...] = ()
    background: tuple[Step, ...] = ()  # what goes on beside the application, until it ends


def load(folder: Path) -> Runbook:
    """The runbook of a project. Raises UserError with the file and the key that is wrong."""
    return _parse(Runbook, folder / "runbook.yaml")


class Duration(_Strict):
    """How many days a step takes people, and why that many."""

    days: Annotated[int, Field(ge=0)]
    why: str


class Cadence(_Strict):
    """On which days of the year a new model goes live, and why then."""

    months: tuple[Annotated[int, Field(ge=1, le=12)], ...]
    day: Annotated[int, Field(ge=1, le=28)]
    why: str


class Team(_Strict):
    """The people of one level: when they release, and how long each step takes them."""

    live: Cadence
    days: dict[str, Duration]


class People(_Strict):
    """The assumption of data/people.yaml."""

    levels: dict[int, Team]


def load_people(path: Path = ROOT / "data" / "people.yaml") -> People:
    """What is assumed of people. Raises UserError with the file and the key that is wrong."""
    return _parse(People, path)


def plan(level: Level, team: Team, runbook: Runbook, start: date, end: date) -> Iterator[tuple[date, Step]]:
    """Which step is done on which day, for every release that goes live in a story, in order of days.

    A model is live on the first day; further ones on the team's days up to and including `end`.
    Raises UserError where the team and the runbook name different steps.
    """
    ids = [step.id for step in runbook.release]
    if set(ids) != set(team.days):
        odd = ", ".join(sorted(set(ids) ^ set(team.days)))
        raise UserError(f"people.yaml, level {level.number}: not the steps of its runbook.yaml: {odd}")
    done: list[tuple[date, int, Step]] = []
    for number, live in enumerate(_live_days(team.live, start, end)):
        day = live - timedelta(days=sum(duration.days for duration in team.days.values()))
        for step in runbook.release:
            day += timedelta(days=team.days[step.id].days)
            done.append((day, number, step))
    # Two releases may overlap: on one day the older release's steps come first.
    for day, _, step in sorted(done, key=lambda entry: entry[:2]):
        yield day, step


def _live_days(live: Cadence, start: date, end: date) -> Iterator[date]:
    yield start
    for year in range(start.year, end.year + 1):
        for month in sorted(live.months):
            day = date(year, month, live.day)
            if start < day <= end:
                yield day


def paste(folder: Path, move: Move) -> None:
    """Put CSV files below each other in one file, the header once: what people do in a spreadsheet.

    Raises UserError where there is none.
    """
    sources = sorted(folder.glob(move.source))
    if not sources:
        raise UserError(f"{folder}: no file like {move.source} to paste into {move.to}")
    with (folder / move.to).open("w", encoding="utf-8", newline="") as target:
        for number, source in enumerate(sources):
            header, _, rows = source.read_text(encoding="utf-8").partition("\n")
            target.write(rows if number else f"{header}\n{rows}")


def copy(folder: Path, move: Move) -> None:
    """Copy a file or a whole folder, in place of what was there.

    Raises UserError where there is nothing to copy.
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


def _parse(kind: type[Model], path: Path) -> Model:
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
