"""The definition of a lab: the content of a file in `labs/`, and how such files are read."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ladder import UserError
from ladder.runbook import Move
from ladder.source import Strict, read_yaml

LABS = Path(__file__).resolve().parent / "labs"

Text = Annotated[str, Field(min_length=1)]


class Change(Strict):
    """An edit: in a text file, the one place that reads `old` becomes `new`; without it the file is new."""

    file: str
    old: str | None = None
    new: str


class Action(Strict):
    """Something that is done in a folder of the lab: a command, Python code, files copied, or edits.

    `commits`: afterwards everything is committed, with that message.
    """

    folder: str = "."
    run: str | None = None
    python: str | None = None  # code, run in the folder
    copies: Move | None = None
    edits: tuple[Change, ...] = ()
    commits: str | None = None


class LabStep(Action):
    """One step, as participants read it. A step without command or edit is one to look at something.

    For a step with `edits`, participants see only `says` and the file names; for one with `python`, only
    `says`: finding out how is the exercise, and this is the solution.
    """

    id: str = ""
    says: Text
    background: bool = False  # the command keeps running, in a second terminal, until Ctrl-C
    fails: bool = False  # the command is expected to fail
    shows: str = ""  # a pattern expected in the command's output
    look: str = ""  # what to look for in the output


class Criterion(Strict):
    """A condition that must hold in the end: a value in one place, and what is expected of it.

    The place is one of: a file, an SQL query, the MLflow registry, code that prints JSON (with LAB_FOLDER,
    the lab's own folder, in its environment; a UserError that it raises is shown as the value found), or this
    machine. `at` is a path into the value, with keys and numbers separated by dots. Without any expectation
    the value must exist and not be false, zero or empty.
    """

    id: str
    says: Text
    tip: Text
    file: str | None = None  # YAML and JSON are parsed, other files read as text
    sql: str | None = None
    database: str = "state/production.db"
    mlflow: str | None = None  # the database file of the registry
    python: str | None = None  # run in a copy of the lab's folder
    folder: str = "."  # of that copy
    machine: str | None = None  # a function of `machine.py`
    warns: bool = False  # it may stay open: a lab is passed without it
    at: str = ""
    equals: Any = Field(None, alias="is")
    min: float | None = None
    max: float | None = None
    matches: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        places = (self.file, self.sql, self.mlflow, self.python, self.machine)
        if sum(each is not None for each in places) != 1:
            raise ValueError("it needs one of `file`, `sql`, `mlflow`, `python` and `machine`")
        return self


class Start(Strict):
    """The state in which a lab begins: copies of levels, by folder, then actions in the lab's folder."""

    levels: dict[str, int] = Field(default={})
    actions: tuple[Action, ...] = ()


class IncompleteSolution(Strict):
    """A plausible but insufficient attempt: steps left out or edited otherwise; and what stays unmet."""

    says: Text
    without: tuple[str, ...] = ()
    instead: dict[str, tuple[Change, ...]] = Field(default={})
    unmet: Annotated[tuple[str, ...], Field(min_length=1)]


class Discussion(Strict):
    """A question for the room, and the points of a good answer."""

    question: Text
    answer: Text


class Lab(Strict):
    """One lab."""

    number: Annotated[int, Field(ge=0)]
    title: Text
    level: Annotated[int | None, Field(ge=0, le=4)] = None
    minutes: Annotated[int, Field(ge=5, le=30)]
    optional: bool = False
    scenario: Text  # what goes wrong, and who suffers
    goal: Text
    start: Start = Start()
    steps: Annotated[tuple[LabStep, ...], Field(min_length=1)]
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    initially_met: tuple[str, ...] = ()  # criteria that hold from the start: they guard what must not break
    hints: tuple[Text, ...]
    incomplete: IncompleteSolution | None = None
    discussion: Discussion

    @property
    def has_folder(self) -> bool:
        """Whether it is worked on in a folder; the lab about the machine has none."""
        return bool(self.start.levels or self.start.actions)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        criteria, steps = [each.id for each in self.criteria], [each.id for each in self.steps if each.id]
        if len(set(criteria)) < len(criteria) or len(set(steps)) < len(steps):
            raise ValueError("two steps or two criteria have the same id")
        attempt = self.incomplete
        named = {*self.initially_met, *(attempt.unmet if attempt else ())} - set(criteria)
        named |= {*attempt.without, *attempt.instead} - set(steps) if attempt else set()
        if named:
            raise ValueError(f"there is no step or criterion {', '.join(sorted(named))}")
        return self


@cache
def labs() -> dict[int, Lab]:
    """All labs by number, ascending. Raises UserError with the file and the key that is wrong."""
    return {lab.number: lab for lab in (read_yaml(Lab, path) for path in sorted(LABS.glob("*.yaml")))}


def lab_of(number: int) -> Lab:
    """The lab with that number. Raises UserError if there is none."""
    if number not in labs():
        raise UserError(f"there is no lab {number}: choose one of {', '.join(map(str, labs()))}")
    return labs()[number]


def path_of(lab: Lab) -> Path:
    """The file of a lab."""
    (path,) = LABS.glob(f"{lab.number:02}-*.yaml")
    return path
