"""Maps practices to code: the rows of the maturity model, their code, proofs and files.

Practices are in docs/practices.yaml, rows in docs/maturity-model.yaml, proofs in tests/maturity/.
"""

import ast
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml
from pydantic import Field, TypeAdapter

from ladder import ROOT, UserError
from ladder.source import Loader, Strict, read_yaml

MODEL = ROOT / "docs" / "maturity-model.yaml"
LIST = ROOT / "docs" / "practices.yaml"
PROOFS = ROOT / "tests" / "maturity"


class Row(Strict):
    """A row of the maturity model; `absent` ones describe what a level lacks.

    `since`: the edition that added it. Not `shown`: deliberately at no level, but known to assessments.
    """

    id: str
    level: int
    area: str
    says: str
    absent: bool = False
    since: str = ""
    shown: bool = True
    reason: str = ""


class AtLevel(Strict):
    """A practice at one level: description, the rows that it shows, and the code to read."""

    says: str
    rows: tuple[str, ...] = ()
    code: tuple[str, ...] = ()


class Practice(Strict):
    """A practice and the patterns of the files that serve it; without levels, of files that serve all."""

    id: str
    title: str
    says: str
    files: tuple[str, ...] = Field(min_length=1)
    levels: dict[int, AtLevel] = Field(default={})


class _List(Strict):
    practices: tuple[Practice, ...]


@dataclass(frozen=True)
class CodeLocation:
    """Code to read: a file of a level (POSIX path in the level's folder) and a symbol in it, or all of it.

    See ladder.source for symbols.
    """

    level: int
    file: str
    symbol: str | None = None


@dataclass(frozen=True)
class Proof:
    """The test that proves a row; `file` is a POSIX path from the repository's root.

    `line` is that of its `def`; the source begins with its markers, on line `first`.
    """

    file: str
    name: str
    line: int
    source: str
    first: int


def load(path: Path = LIST) -> tuple[Practice, ...]:
    """Read the list. Raises UserError with one line that names the mistake."""
    return read_yaml(_List, path).practices


practices = cache(load)  # those of this repository


@cache
def every_row() -> tuple[Row, ...]:
    """The rows of the maturity model in order, including those that no level shows."""
    content = yaml.load(MODEL.read_text(encoding="utf-8"), Loader)
    return TypeAdapter(tuple[Row, ...]).validate_python(content["rows"])


@cache
def rows() -> tuple[Row, ...]:
    """The rows that the levels show."""
    return tuple(each for each in every_row() if each.shown)


def areas() -> dict[str, str]:
    """The titles of the areas, which are the columns of the maturity model."""
    return {each.area: each.area.replace("_", " ").capitalize() for each in rows()}


@cache
def row(row_id: str) -> Row:
    """The row with that id. Raises UserError if there is none."""
    for each in rows():
        if each.id == row_id:
            return each
    raise UserError(f"the maturity model has no row {row_id}")


def locate(number: int, code: str) -> CodeLocation:
    """Parse `file` or `file#symbol`, at a level."""
    name, _, symbol = code.partition("#")
    return CodeLocation(number, name, symbol or None)


def code_of(row_id: str) -> tuple[CodeLocation, ...]:
    """The places at its level that show a row, the best first. Raises UserError for an unknown row."""
    number = row(row_id).level
    shown = (each.levels[number] for each in practices() if number in each.levels)
    return tuple(locate(number, code) for at in shown if row_id in at.rows for code in at.code)


def proof_of(row_id: str) -> Proof:
    """The test that proves a row, the first of several. Raises UserError if there is none."""
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
    """The practice that a file of a level serves: the one with the longest matching pattern."""
    fitting = [
        (len(pattern), practice)
        for practice in practices()
        for pattern in practice.files
        if fnmatchcase(file, pattern)
    ]
    return max(fitting, key=lambda each: each[0])[1] if fitting else None
