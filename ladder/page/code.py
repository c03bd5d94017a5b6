"""Source code on a page: excerpts, a book of practices, and side-by-side comparison."""

import base64
import difflib
import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

from markupsafe import Markup
from pygments import highlight  # type: ignore[import-untyped]
from pygments.filter import simplefilter  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexer import Lexer  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename  # type: ignore[import-untyped]
from pygments.token import Name, Operator, Punctuation, Text, Whitespace  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

from ladder import ROOT, UserError, practices
from ladder.levels import level
from ladder.page import environment
from ladder.practices import CodeLocation
from ladder.source import read, span

CONTEXT = 3  # unchanged lines shown above and below a change
SHORTEST_FOLD = 5  # fewer lines are not folded
PLAIN = {Name, Name.Builtin, Name.Builtin.Pseudo, Name.Namespace, Operator, Punctuation, Whitespace}

# Files whose language Pygments cannot derive from the name.
_LANGUAGES = {"CODEOWNERS": "bash", "config": "ini", ".dvcignore": "bash", ".gitignore": "bash"}
_SUFFIXES = {".ipynb": "python", ".j2": "html+jinja", ".lock": "text", ".toml": "toml"}


Line = tuple[str, int, Markup]  # CSS class, line number, code
Row = tuple[Line | None, Line | None]
Part = tuple[bool, list[Row]]  # whether it is folded


@dataclass(frozen=True)
class Excerpt:
    """Lines of a file; `path` is POSIX, from the repository's folder, `first_line` is counted from 1."""

    path: str
    first_line: int
    text: str
    name: str  # of the symbol; empty for all of the file


def excerpt(place: CodeLocation) -> Excerpt:
    """The lines of a place. Raises UserError if the file or symbol does not exist."""
    path = level(place.level).folder / place.file
    whole = read(path)
    lines = whole.split("\n")
    found = span(whole, place.file, place.symbol) if place.symbol else (1, len(lines))
    if found is None:
        raise UserError(f"{path}: there is no {place.symbol}")
    first, last = found
    text = "\n".join(lines[first - 1 : last]).rstrip("\n") + "\n"
    return Excerpt(path.relative_to(ROOT).as_posix(), first, text, place.symbol or "")


@cache
def listing(text: str, filename: str, first_line: int = 1) -> Markup:
    """Code with numbered lines, highlighted by the file's name. Long lines scroll."""
    numbered = HtmlFormatter(cssclass="code", linenos="inline", linenostart=first_line)
    return Markup(highlight(text, _lexer(filename), numbered))


def highlighted(text: str, filename: str) -> list[Markup]:
    """Code as HTML, line by line."""
    lines = highlight(text, _lexer(filename), HtmlFormatter(nowrap=True)).split("\n")
    return [Markup(line) for line in lines[: len(text.splitlines())]]


def side_by_side(before: str, after: str, filename: str) -> Markup:
    """Two versions of a file as two-column tables with line numbers; unchanged stretches are folded.

    On a narrow screen (code.css) the new line is shown below the old one.
    """
    old, new = highlighted(before, filename), highlighted(after, filename)
    parts: list[Part] = []
    rows: list[Row] = []
    matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    codes = matcher.get_opcodes()
    for number, (kind, a, a_end, b, b_end) in enumerate(codes):
        left = [("l" if kind == "equal" else "a", a + at, line) for at, line in enumerate(old[a:a_end], 1)]
        right = [("" if kind == "equal" else "b", b + at, line) for at, line in enumerate(new[b:b_end], 1)]
        same = list(zip_longest(left, right))
        head = CONTEXT if number else 0
        tail = CONTEXT if number + 1 < len(codes) else 0
        hidden = same[head : len(same) - tail]
        if kind != "equal" or len(hidden) < SHORTEST_FOLD:
            rows += same
            continue
        parts += [(False, [*rows, *same[:head]]), (True, hidden)]
        rows = same[len(same) - tail :]
    template = environment().get_template("sides.html.j2")
    return Markup(template.render(parts=[*parts, (False, rows)]))


@simplefilter  # type: ignore[untyped-decorator]
def _plain(
    _self: Any, _lexer: Lexer, stream: Iterable[tuple[Any, str]], _options: Any
) -> Iterator[tuple[Any, str]]:
    """Leaves names, operators and brackets without elements of their own: half the size, as easy to read."""
    for kind, value in stream:
        yield (Text if kind in PLAIN else kind), value


@cache
def _lexer(filename: str) -> Lexer:
    name = PurePosixPath(filename).name
    language = _LANGUAGES.get(name) or _SUFFIXES.get(PurePosixPath(name).suffix)
    try:
        lexer = get_lexer_by_name(language) if language else get_lexer_for_filename(name)
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    lexer.stripnl = False
    lexer.add_filter(_plain())
    return lexer


@cache
def packed(levels: tuple[int, ...]) -> str:
    """The code and proof of every row of the maturity model, and the practices, at these levels.

    As JSON, by gzip, in base64, the same bytes for the same content: highlighted code is long and repeats
    itself, packed it is a tenth of that, and browsers can unpack it. Excerpts are referred to by number.
    """
    numbers: dict[Excerpt, int] = {}

    def number_of(found: Excerpt) -> int:
        return numbers.setdefault(found, len(numbers))

    rows = {}
    for row in (each for each in practices.rows() if each.level in levels):
        proof = practices.proof_of(row.id)
        rows[row.id] = {
            "level": row.level,
            "says": row.says,
            "absent": row.absent,
            "code": [number_of(excerpt(each)) for each in practices.code_of(row.id)],
            "proof": number_of(Excerpt(proof.file, proof.first, proof.source, proof.name)),
        }
    shown = [
        {
            "id": practice.id,
            "levels": {
                number: {
                    "says": at.says,
                    "code": [number_of(excerpt(practices.locate(number, each))) for each in at.code],
                }
                for number, at in practice.levels.items()
                if number in levels
            },
        }
        for practice in practices.practices()
        if practice.levels.keys() & set(levels)
    ]
    excerpts = [
        {
            "path": each.path,
            "line": each.first_line,
            "name": each.name,
            "html": listing(each.text, each.path, each.first_line),
        }
        for each in numbers
    ]
    content = {"excerpts": excerpts, "rows": rows, "practices": shown}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 9, mtime=0)).decode("ascii")
