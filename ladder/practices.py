"""Which code shows which practice: the rows of the maturity model, their code, proofs and files.

Practices stand in docs/practices.yaml, rows in docs/maturity-model.yaml, proofs in tests/maturity/.
"""

import ast
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ladder import ROOT, UserError
from ladder.levels import level, levels
from ladder.source import read, span
from ladder.workcopy import own_files

MODEL = ROOT / "docs" / "maturity-model.yaml"
LIST = ROOT / "docs" / "practices.yaml"
PROOFS = ROOT / "tests" / "maturity"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Frozen):
    """A row of the maturity model; `absent` ones describe what a level lacks.

    `since`: the edition that added it. Not `shown`: no level has it, for a reason; an assessment knows it.
    """

    id: str
    level: int
    area: str
    says: str
    absent: bool = False
    since: str = ""
    shown: bool = True
    reason: str = ""


class AtLevel(_Frozen):
    """A practice at one level: what is there, the rows that it shows, and the code to read (see Place)."""

    says: str
    rows: tuple[str, ...] = ()
    code: tuple[str, ...] = ()


class Practice(_Frozen):
    """A practice and the patterns of the files that serve it; without levels, of files that serve all."""

    id: str
    title: str
    says: str
    files: tuple[str, ...] = Field(min_length=1)
    levels: dict[int, AtLevel] = {}


class _List(_Frozen):
    practices: tuple[Practice, ...]


@dataclass(frozen=True)
class Place:
    """A place to read: a file of a level (POSIX, in the level's folder) and a symbol in it, or all of it.

    See ladder.source for what a symbol can be.
    """

    level: int
    file: str
    symbol: str | None = None


@dataclass(frozen=True)
class Proof:
    """The test that proves a row; `file` is POSIX, from the repository's folder.

    `line` is that of its `def`; the source begins with its markers, on line `first`.
    """

    file: str
    name: str
    line: int
    source: str
    first: int


def load(path: Path = LIST) -> tuple[Practice, ...]:
    """Read the list. Raises UserError with one line that says what is wrong in it."""
    try:
        return _List.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).practices
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}") from None


practices = cache(load)  # those of this repository


@cache
def every_row() -> tuple[Row, ...]:
    """The rows of the maturity model, in its order, also those that no level shows."""
    content = yaml.safe_load(MODEL.read_text(encoding="utf-8"))
    return TypeAdapter(tuple[Row, ...]).validate_python(content["rows"])


@cache
def rows() -> tuple[Row, ...]:
    """The rows that the levels show."""
    return tuple(each for each in every_row() if each.shown)


@cache
def row(row_id: str) -> Row:
    """The row of that id. Raises UserError where there is none."""
    for each in rows():
        if each.id == row_id:
            return each
    raise UserError(f"the maturity model has no row {row_id}")


def place(number: int, code: str) -> Place:
    """Where `file`, `file#symbol` or `folder#symbol` is at a level.

    Raises UserError where there is no such file or symbol, or a folder has the symbol in several modules.
    """
    name, _, symbol = code.partition("#")
    folder = level(number).folder
    if not (folder / name).is_dir():
        found = Place(number, name, symbol or None)
        if not (folder / name).is_file():
            raise UserError(f"level {number} has no {name}")
        if symbol and span(read(folder / name), name, symbol) is None:
            raise UserError(f"level {number}: {name} has no {symbol}")
        return found
    files = [path.relative_to(folder).as_posix() for path in sorted((folder / name).rglob("*.py"))]
    having = [file for file in files if span(read(folder / file), file, symbol)]
    if len(having) != 1:
        where = f"it is in {', '.join(having)}: name one of them" if having else "no module of it does"
        raise UserError(f"level {number}: {name} should have one {symbol}, but {where}")
    return Place(number, having[0], symbol)


def code_of(row_id: str) -> tuple[Place, ...]:
    """The places at its level that show a row, the best first. Raises UserError for an unknown row."""
    number = row(row_id).level
    shown = (each.levels[number] for each in practices() if number in each.levels)
    return tuple(place(number, code) for at in shown if row_id in at.rows for code in at.code)


def proof_of(row_id: str) -> Proof:
    """The test that proves a row, the first if there are several. Raises UserError where there is none."""
    found = _proofs().get(row(row_id).id)
    if found is None:
        raise UserError(f"no test in {PROOFS} proves {row_id}")
    return found


@cache
def _proofs() -> dict[str, Proof]:
    """The tests that carry the marker `maturity`, by the row that it names."""
    found: dict[str, Proof] = {}
    for path in sorted(PROOFS.glob("test_level*.py")):
        text = path.read_text(encoding="utf-8")
        for node in (each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef)):
            for mark in node.decorator_list:
                match mark:
                    case ast.Call(
                        func=ast.Attribute(attr="maturity"), args=[ast.Constant(value=str(row_id))]
                    ):
                        first = min(each.lineno for each in node.decorator_list)
                        source = "\n".join(text.split("\n")[first - 1 : node.end_lineno]) + "\n"
                        file = path.relative_to(ROOT).as_posix()
                        found.setdefault(row_id, Proof(file, node.name, node.lineno, source, first))
    return found


@cache
def practice_of(file: str) -> Practice | None:
    """The practice that a file of a level serves: the one with the longest pattern that fits its name."""
    fitting = [
        (len(pattern), practice)
        for practice in practices()
        for pattern in practice.files
        if fnmatchcase(file, pattern)
    ]
    return max(fitting, key=lambda each: each[0])[1] if fitting else None


def gaps(found: tuple[Practice, ...]) -> list[str]:
    """What is wrong with a list, one line each; empty: nothing.

    Rows that no practice or several show, or no test proves; code that is not there; levels left out;
    patterns that fit no file or stand twice; files that serve no practice.
    """
    known = {each.id for each in rows()}
    shown = Counter(each for practice in found for at in practice.levels.values() for each in at.rows)
    wrong = [f"{row_id}: {shown[row_id]} practices show it" for row_id in known if shown[row_id] != 1]
    wrong += [f"{row_id}: no test in tests/maturity proves it" for row_id in known - _proofs().keys()]
    numbers = {each.number for each in levels()}
    for practice in found:
        if practice.levels and practice.levels.keys() != numbers:
            left = ", ".join(map(str, sorted(numbers ^ practice.levels.keys())))
            wrong.append(f"practice {practice.id}: level {left} is left out, or does not exist")
        for number, at in practice.levels.items():
            wrong += [
                f"practice {practice.id}: {row_id} is no row of level {number}"
                for row_id in at.rows
                if row_id not in known or row(row_id).level != number
            ]
            wrong += [
                f"practice {practice.id}: no code shows {at.rows[0]}" for _ in at.rows[:1] if not at.code
            ]
            for code in at.code if number in numbers else ():
                try:
                    place(number, code)
                except UserError as error:
                    wrong.append(f"practice {practice.id}: {error}")
    files = {path.as_posix() for each in levels() for path in own_files(each.folder)}
    patterns = Counter(pattern for practice in found for pattern in practice.files)
    wrong += [f"{pattern} stands twice" for pattern, count in patterns.items() if count > 1]
    for pattern in patterns:
        if not any(fnmatchcase(file, pattern) for file in files):
            wrong.append(f"{pattern} fits no file of any level")
    wrong += [
        f"{file} serves no practice"
        for file in sorted(files)
        if not any(fnmatchcase(file, pattern) for pattern in patterns)
    ]
    return wrong
