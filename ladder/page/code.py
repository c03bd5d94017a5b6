"""Source code in a page: highlighted, as an excerpt, and two versions of it side by side."""

import difflib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import zip_longest
from pathlib import PurePosixPath

from markupsafe import Markup
from pygments.lexer import Lexer  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename  # type: ignore[import-untyped]
from pygments.token import Comment, Generic, Keyword, Literal, Name, Operator, String, Token, _TokenType  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

from data import UserError
from ladder.levels import ROOT, level
from ladder.practices import Place
from ladder.source import read, span

CONTEXT = 3  # unchanged lines that stay in sight above and below a change
SHORTEST_FOLD = 5  # fewer lines are not worth a fold
ALIKE = 0.5  # two lines that have at least this in common are shown as one that changed
MOST_PAIRS = 900  # of lines, looked at to find those that are alike

# Few classes on purpose: what helps to read. Names, brackets and whitespace stay as they are.
_CLASSES: tuple[tuple[_TokenType, str], ...] = (
    (Comment, "c"),
    (String.Doc, "c"),
    (String, "s"),
    (Literal.Number, "m"),
    (Literal.Scalar, "s"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Decorator, "d"),
    (Name.Tag, "t"),
    (Name.Attribute, "t"),
    (Generic.Heading, "h"),
    (Generic.Subheading, "h"),
)
# Files whose language their name does not tell Pygments.
_LANGUAGES = {"CODEOWNERS": "bash", "config": "ini", ".dvcignore": "bash", ".gitignore": "bash"}
_SUFFIXES = {".ipynb": "python", ".j2": "html+jinja", ".lock": "text", ".toml": "toml"}

_STYLE = """\
.code, .sides { font: .8rem/1.5 var(--mono, monospace); tab-size: 4; }
.code { margin: 0; overflow-x: auto; counter-reset: line var(--above, 0); }
.code > span { counter-increment: line; display: block; min-height: 1.5em; padding-right: 1em;
  width: max-content; min-width: 100%; white-space: pre; }
.code > span::before { content: counter(line); display: inline-block; width: 3.2em; margin-right: 1em;
  padding-right: .5em; text-align: right; color: var(--soft); position: sticky; left: 0; user-select: none;
  background: var(--paper); border-right: 1px solid var(--rule); }
.code, .sides { background: var(--paper); color: var(--ink); }
.sides > summary, .sides > details > summary { cursor: pointer; padding: .2em 1em; color: var(--soft);
  background: var(--faint); font-family: system-ui, sans-serif; }
.sides table { border-collapse: collapse; table-layout: fixed; width: 100%; }
.sides col.n { width: 3.4em; }
.sides td { padding: 0 .5em; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere; }
.sides td.n { color: var(--soft); text-align: right; user-select: none; font-variant-numeric: tabular-nums;
  padding: 0 .4em 0 0; }
.sides td + td.n { border-left: 1px solid var(--rule); }
.sides .a, .sides .b { position: relative; padding-left: 1.5em; }
.sides .a { background: var(--went); } .sides .b { background: var(--came); }
.sides .a::before, .sides .b::before { position: absolute; left: .45em; color: var(--soft); }
.sides .a::before { content: "\\2212"; } .sides .b::before { content: "+"; }
.sides .e { padding-left: 1.5em; }
.sides .z { background: repeating-linear-gradient(-45deg, transparent 0 4px, var(--faint) 4px 5px); }
.sides b { font-weight: inherit; border-radius: .15em; text-decoration: underline;
  text-decoration-thickness: .12em; text-underline-offset: .22em; }
.sides .a b { background: var(--went-word); text-decoration-color: var(--bad); }
.sides .b b { background: var(--came-word); text-decoration-color: var(--good); }
i.c { color: var(--code-c); } i.s { color: var(--code-s); } i.m, i.d { color: var(--code-m); }
i.k { color: var(--code-k); } i.f, i.t { color: var(--code-f); }
i.s, i.m, i.d, i.k, i.f, i.t, i.h { font-style: normal; } i.k, i.f, i.h { font-weight: 600; }
@media (max-width: 48rem) {
  .sides tr { display: grid; grid-template-columns: 2.6em minmax(0, 1fr); }
  .sides colgroup, .sides .z, .sides .z-n, .sides .e.l, .sides .n.l { display: none; }
  .sides td + td.n { border-left: 0; }
}
@media print { .code, .sides { font-size: .62rem; } .code > span { white-space: pre-wrap; width: auto; }
  .sides .a, .sides .b, .sides b { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
# For light and dark, in this order; `color-scheme` says which.
_COLOURS = {
    "code-c": ("#5c6773", "#98a3b0"),
    "code-s": ("#0a6b3d", "#86d9a5"),
    "code-m": ("#8a4b00", "#f0b866"),
    "code-k": ("#7a2fa0", "#d3a6f0"),
    "code-f": ("#1a56b8", "#86b8ff"),
    "went": ("#fdecea", "#35191a"),
    "came": ("#e6f5ea", "#11291a"),
    "went-word": ("#f6c5c0", "#7a2f2f"),
    "came-word": ("#b5e3c3", "#1f6039"),
}

Piece = tuple[str, str]  # a class, or none, and text in one line


@dataclass(frozen=True)
class Excerpt:
    """Lines of a file; `path` is POSIX, from the repository's folder, `first_line` is counted from 1."""

    path: str
    first_line: int
    text: str


def excerpt(shown: Place) -> Excerpt:
    """The lines that a place points to. Raises UserError where the file or the symbol is not there."""
    path = level(shown.level).folder / shown.file
    lines = read(path).split("\n")
    first, last = 1, len(lines)
    if shown.symbol is not None:
        found = span("\n".join(lines), shown.file, shown.symbol)
        if found is None:
            raise UserError(f"{path}: there is no {shown.symbol}")
        first, last = found
    text = "\n".join(lines[first - 1 : last]).rstrip("\n") + "\n"
    return Excerpt(path.relative_to(ROOT).as_posix(), first, text)


def highlighted(text: str, filename: str) -> Markup:
    """Code as HTML with short class names, to stand in a `<pre>`; the file's name says its language."""
    return Markup("\n").join(_html(line) for line in _lines(text, filename)) + Markup("\n")


def listing(text: str, filename: str, first_line: int = 1) -> Markup:
    """Code as a `<pre>` with numbered lines; lines too long scroll."""
    lines = Markup("").join(Markup("<span>{}</span>").format(_html(line)) for line in _lines(text, filename))
    above = Markup(' style="--above:{}"').format(first_line - 1) if first_line > 1 else ""
    return Markup('<pre class="code"{}>{}</pre>').format(above, lines)


def stylesheet() -> str:
    """The rules for what this module makes, for light and dark; they go with the names of base.css."""
    colours = " ".join(f"--{name}: light-dark({light}, {dark});" for name, (light, dark) in _COLOURS.items())
    return f":root {{ {colours} }}\n{_STYLE}"


def side_by_side(before: str, after: str, filename: str) -> Markup:
    """Two versions of a file as tables of two columns, numbered; unchanged stretches are folded away.

    Within a line that changed the words that did are marked. On a narrow screen (stylesheet) the new line
    stands below the old one.
    """
    old, new = _lines(before, filename), _lines(after, filename)
    parts: list[Markup] = []
    rows: list[Markup] = []

    def close() -> None:
        if rows:
            parts.append(_table(rows))
            rows.clear()

    codes = _opcodes(before, after)
    for place, (kind, a, a_end, b, b_end) in enumerate(codes):
        if kind != "equal":
            rows.extend(_changed(old[a:a_end], new[b:b_end], a, b))
            continue
        head = CONTEXT if place else 0
        tail = CONTEXT if place + 1 < len(codes) else 0
        hidden = a_end - a - head - tail
        if hidden < SHORTEST_FOLD:
            head, hidden = a_end - a, 0
        rows.extend(_same(new, a, b, head))
        if hidden:
            close()
            parts.append(
                Markup("<details><summary>{} unchanged lines</summary>{}</details>").format(
                    hidden, _table(list(_same(new, a + head, b + head, hidden)))
                )
            )
            rows.extend(_same(new, a_end - tail, b_end - tail, tail))
    close()
    return Markup('<div class="sides">{}</div>').format(Markup("").join(parts))


def _opcodes(before: str, after: str) -> list[tuple[str, int, int, int, int]]:
    old, new = _split(before), _split(after)
    return list(difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes())


def _table(rows: Sequence[Markup]) -> Markup:
    columns = Markup('<colgroup><col class="n"><col><col class="n"><col></colgroup>')
    return Markup("<table>{}{}</table>").format(columns, Markup("").join(rows))


def _same(lines: Sequence[Sequence[Piece]], a: int, b: int, count: int) -> Iterator[Markup]:
    row = Markup('<tr><td class="n l">{}<td class="e l">{}<td class="n">{}<td class="e">{}</tr>')
    for step in range(count):
        code = _html(lines[b + step])
        yield row.format(a + step + 1, code, b + step + 1, code)


def _changed(
    old: Sequence[Sequence[Piece]], new: Sequence[Sequence[Piece]], a: int, b: int
) -> Iterator[Markup]:
    for left, right in _pairs([_text(line) for line in old], [_text(line) for line in new]):
        marks: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        if left is not None and right is not None:
            marks = _marks(_text(old[left]), _text(new[right]))
        yield Markup("<tr>{}{}</tr>").format(
            _side(None if left is None else old[left], a + (left or 0), "a", marks[0]),
            _side(None if right is None else new[right], b + (right or 0), "b", marks[1]),
        )


def _pairs(old: Sequence[str], new: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Which lines to set beside each other: in order, and so that as much as possible is alike."""
    if len(old) * len(new) > MOST_PAIRS:  # too long to look at every pair
        return list(zip_longest(range(len(old)), range(len(new))))
    best = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    alike = [[difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() for b in new] for a in old]
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            together = alike[i][j] + best[i + 1][j + 1] if alike[i][j] >= ALIKE else 0.0
            best[i][j] = max(together, best[i + 1][j], best[i][j + 1])
    pairs: list[tuple[int | None, int | None]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        if alike[i][j] >= ALIKE and best[i][j] == alike[i][j] + best[i + 1][j + 1]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            pairs.append((i, None))
            i += 1
        else:
            pairs.append((None, j))
            j += 1
    pairs += [(k, None) for k in range(i, len(old))]
    return _closed([*pairs, *((None, k) for k in range(j, len(new)))])


def _closed(pairs: Sequence[tuple[int | None, int | None]]) -> list[tuple[int | None, int | None]]:
    """Lines that have no other beside them share rows where one side's stand right below the other's."""
    rows: list[tuple[int | None, int | None]] = []
    left: list[int] = []
    right: list[int] = []
    for a, b in [*pairs, (0, 0)]:
        if a is not None and b is not None:
            rows += zip_longest(left, right)
            left, right = [], []
            rows.append((a, b))
        elif a is not None:
            left.append(a)
        elif b is not None:
            right.append(b)
    return rows[:-1]


def _side(line: Sequence[Piece] | None, number: int, name: str, marks: Sequence[tuple[int, int]]) -> Markup:
    if line is None:
        return Markup('<td class="n z-n"><td class="z">')
    return Markup('<td class="n">{}<td class="{}">{}').format(number + 1, name, _html(line, marks))


def _marks(old: str, new: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Which stretches of two lines differ, word by word; none where the lines have little in common."""
    left, right = _words(old), _words(new)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    if matcher.ratio() < ALIKE:
        return [], []
    marks: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        if kind != "equal":
            for side, words, first, last in ((0, left, a, a_end), (1, right, b, b_end)):
                begin = sum(map(len, words[:first]))
                end = begin + sum(map(len, words[first:last]))
                if end > begin:
                    marks[side].append((begin, end))
    return marks


def _words(line: str) -> list[str]:
    """The line in words, spaces and signs, which put together make it again."""
    words: list[str] = []
    for each in line:
        if words and each.isalnum() and words[-1][-1].isalnum():
            words[-1] += each
        else:
            words.append(each)
    return words


def _split(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _text(line: Sequence[Piece]) -> str:
    return "".join(text for _, text in line)


def _html(line: Sequence[Piece], marks: Sequence[tuple[int, int]] = ()) -> Markup:
    """A line with its classes and, inside `<b>`, what is marked of it (stretches in order)."""
    edges = [edge for mark in marks for edge in mark]
    parts, at = [], 0
    for name, text in line:
        begin = at
        while begin < at + len(text):
            inside = bisect_right(edges, begin)
            end = min([at + len(text), *edges[inside : inside + 1]])
            part = escape(text[begin - at : end - at], quote=False)
            if name:
                part = f'<i class="{name}">{part}</i>'
            parts.append(f"<b>{part}</b>" if inside % 2 else part)
            begin = end
        at += len(text)
    return Markup("".join(parts))


def _lines(text: str, filename: str) -> list[list[Piece]]:
    """Each line in pieces of one class; as many lines as the text has."""
    lines: list[list[Piece]] = [[]]
    for token, value in _lexer(filename).get_tokens("\n".join(_split(text)) + "\n"):
        name = _class(token)
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
            if not part:
                continue
            given = "" if part.isspace() else name
            if lines[-1] and lines[-1][-1][0] == given:
                lines[-1][-1] = (given, lines[-1][-1][1] + part)
            else:
                lines[-1].append((given, part))
    return lines[: len(_split(text))]


@cache
def _class(token: _TokenType) -> str:
    return next((name for kind, name in _CLASSES if token in kind), "") if token is not Token.Text else ""


@cache
def _lexer(filename: str) -> Lexer:
    name = PurePosixPath(filename).name
    language = _LANGUAGES.get(name) or _SUFFIXES.get(PurePosixPath(name).suffix)
    if language is not None:
        return get_lexer_by_name(language, stripnl=False)
    try:
        return get_lexer_for_filename(name, stripnl=False)
    except ClassNotFound:
        return get_lexer_by_name("text", stripnl=False)
