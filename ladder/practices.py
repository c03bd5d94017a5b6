"""Which code shows which practice: the rows of the maturity model, their places, proofs and files.

Places and files stand in docs/practices.yaml, rows in docs/maturity-model.yaml, proofs in tests/maturity/.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data import UserError
from ladder.levels import ROOT, level, levels
from ladder.source import read, span
from ladder.workcopy import own_files

MODEL = ROOT / "docs" / "maturity-model.yaml"
LIST = ROOT / "docs" / "practices.yaml"
PROOFS = ROOT / "tests" / "maturity"


@dataclass(frozen=True)
class Row:
    """A row of the maturity model; `absent` ones describe what a level lacks."""

    id: str
    level: int
    area: str
    absent: bool
    says: str


@dataclass(frozen=True)
class Shown:
    """A place to read: a file of a level (POSIX, in the level's folder) and a symbol in it, or all of it.

    See ladder.source for what a symbol can be.
    """

    level: int
    file: str
    symbol: str | None = None


@dataclass(frozen=True)
class Practice:
    """A practice worth reading side by side. `notes` says of each level what is there, or why nothing is."""

    id: str
    title: str
    says: str
    shown: tuple[Shown, ...]
    notes: Mapping[int, str]


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


@dataclass(frozen=True)
class Group:
    """Files that serve no row by themselves, and why they are there."""

    id: str
    title: str
    why: str
    files: tuple[str, ...]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Place(_Part):
    file: str
    symbol: str | None = None


class _Served(_Part):
    files: tuple[str, ...] = Field(min_length=1)
    rows: tuple[str, ...] = Field(min_length=1)


class _Group(_Part):
    id: str
    title: str
    why: str
    files: tuple[str, ...] = Field(min_length=1)


class _AtLevel(_Part):
    says: str
    shown: tuple[_Place, ...] = ()


class _Practice(_Part):
    id: str
    title: str
    says: str
    levels: dict[int, _AtLevel]


class Book(_Part):
    """The content of docs/practices.yaml."""

    rows: dict[str, tuple[_Place, ...]] = {}
    served: dict[int, tuple[_Served, ...]] = {}
    groups: tuple[_Group, ...] = ()
    practices: tuple[_Practice, ...] = ()


def load(path: Path = LIST) -> Book:
    """Read the list. Raises UserError with one line that says what is wrong in it."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Book.model_validate(content)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}") from None


@cache
def book() -> Book:
    """The list of this repository."""
    return load()


@cache
def rows() -> tuple[Row, ...]:
    """The rows of the maturity model, in its order."""
    content = yaml.safe_load(MODEL.read_text(encoding="utf-8"))
    return tuple(
        Row(each["id"], each["level"], each["area"], each.get("absent", False), each["says"])
        for each in content["rows"]
    )


@cache
def row(row_id: str) -> Row:
    """The row of that id. Raises UserError where there is none."""
    for each in rows():
        if each.id == row_id:
            return each
    raise UserError(f"the maturity model has no row {row_id}")


def code_of(row_id: str) -> tuple[Shown, ...]:
    """The places at its level that show a row, the best first. Raises UserError for an unknown row."""
    number = row(row_id).level
    return tuple(Shown(number, each.file, each.symbol) for each in book().rows.get(row_id, ()))


def proof_of(row_id: str) -> Proof:
    """The test that proves a row, the first if there are several. Raises UserError where there is none."""
    found = _proofs().get(row(row_id).id)
    if found is None:
        raise UserError(f"no test in {PROOFS} proves {row_id}")
    return found


@cache
def _proofs() -> dict[str, Proof]:
    found: dict[str, Proof] = {}
    for path in sorted(PROOFS.glob("test_level*.py")):
        for row_id, proof in _marked(path):
            found.setdefault(row_id, proof)
    return found


def _marked(path: Path) -> Iterator[tuple[str, Proof]]:
    """The tests of a file that carry the marker `maturity`, and the row that it names."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if (
                isinstance(mark, ast.Call)
                and isinstance(mark.func, ast.Attribute)
                and mark.func.attr == "maturity"
                and isinstance(mark.args[0], ast.Constant)
            ):
                first = min(each.lineno for each in node.decorator_list)
                source = "\n".join(lines[first - 1 : node.end_lineno]) + "\n"
                file = path.relative_to(ROOT).as_posix()
                yield str(mark.args[0].value), Proof(file, node.name, node.lineno, source, first)


def matches(file: str, pattern: str) -> bool:
    """Whether a file's name fits a pattern: `*` within a folder, `folder/**` all that is in it."""
    return _compiled(pattern).fullmatch(file) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"*": "[^/]*", "**": ".*"}.get(part, re.escape(part)) for part in parts))


@cache
def served_by(number: int, file: str) -> tuple[str, ...]:
    """The ids of the rows that a file of a level serves, the one it is there for first.

    Empty for a file of a named group (group_of). An absent row is served by what shows the lack, where that
    serves nothing else; at level 0 these are all.
    """
    return _served_by(book(), number, file)


def _served_by(found: Book, number: int, file: str) -> tuple[str, ...]:
    entries = found.served.get(number, ())
    stated = next((each.rows for each in entries if _fits(file, each.files)), ())
    if not stated and _group_of(found, file) is not None:
        return ()
    shows = [row for row in rows() if any(place.file == file for place in found.rows.get(row.id, ()))]
    shown = [row.id for row in shows if row.level == number and (number == 0 or not row.absent)]
    lacks = [row.id for row in shows if row.level == number]
    return tuple(dict.fromkeys((*stated, *shown))) or tuple(lacks)


def group_of(file: str) -> Group | None:
    """The named group of files that serve no row by themselves, if this is one of them."""
    return _group_of(book(), file)


def groups() -> tuple[Group, ...]:
    """The named groups of files."""
    return tuple(Group(**dict(each)) for each in book().groups)


def _group_of(found: Book, file: str) -> Group | None:
    return next((Group(**dict(each)) for each in found.groups if _fits(file, each.files)), None)


def _fits(file: str, patterns: Iterable[str]) -> bool:
    return any(matches(file, pattern) for pattern in patterns)


@cache
def practices() -> tuple[Practice, ...]:
    """The practices that are worth reading side by side, in the order of a release."""
    return tuple(
        Practice(
            each.id,
            each.title,
            each.says,
            tuple(
                Shown(number, place.file, place.symbol)
                for number, at in sorted(each.levels.items())
                for place in at.shown
            ),
            {number: at.says for number, at in sorted(each.levels.items())},
        )
        for each in book().practices
    )


def gaps(found: Book) -> list[str]:
    """What is wrong with a list, one line each; empty: nothing.

    Rows without a place or a proof, places that are not there, patterns that fit no file, and files of a
    level that serve no row and are in no group.
    """
    known = {each.id: each for each in rows()}
    wrong = [f"{row_id}: no place shows it" for row_id in known if not found.rows.get(row_id)]
    wrong += [f"{row_id}: no test in tests/maturity proves it" for row_id in known if row_id not in _proofs()]
    named = [
        *found.rows,
        *(row_id for each in found.served.values() for some in each for row_id in some.rows),
    ]
    wrong += [
        f"{row_id}: the maturity model has no such row"
        for row_id in dict.fromkeys(named)
        if row_id not in known
    ]
    places = [
        (row_id, known[row_id].level, place)
        for row_id, some in found.rows.items()
        if row_id in known
        for place in some
    ]
    places += [
        (each.id, number, place)
        for each in found.practices
        for number, at in each.levels.items()
        for place in at.shown
    ]
    wrong += [line for name, number, place in places for line in _missing(name, number, place)]
    wrong += [
        f"practice {each.id}: level {number} is left out"
        for each in found.practices
        for number in {level.number for level in levels()} - set(each.levels)
    ]
    return wrong + _unaccounted(found, known)


def _missing(name: str, number: int, place: _Place) -> list[str]:
    path = level(number).folder / place.file
    if not path.is_file():
        return [f"{name}: level {number} has no file {place.file}"]
    if place.symbol is not None and span(read(path), place.file, place.symbol) is None:
        return [f"{name}: level {number}: {place.file} has no {place.symbol}"]
    return []


def _unaccounted(found: Book, known: Mapping[str, Row]) -> list[str]:
    wrong = []
    every: set[str] = set()
    for each in levels():
        files = {path.as_posix() for path in own_files(each.folder)}
        every |= files
        for entry in found.served.get(each.number, ()):
            wrong += [
                f"served: level {each.number}: {pattern} fits no file"
                for pattern in entry.files
                if not any(matches(file, pattern) for file in files)
            ]
            wrong += [
                f"served: level {each.number}: {row_id} is a row of another level"
                for row_id in entry.rows
                if row_id in known and known[row_id].level != each.number
            ]
        wrong += [
            f"level {each.number}: {file} serves no row and is in no group"
            for file in sorted(files)
            if not _served_by(found, each.number, file) and _group_of(found, file) is None
        ]
    for group in found.groups:
        unused = [pattern for pattern in group.files if not any(matches(file, pattern) for file in every)]
        wrong += [f"group {group.id}: {pattern} fits no file" for pattern in unused]
    return wrong
