"""The code and the tests that a page shows: each excerpt once, all of it compressed."""

import base64
import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ladder import practices
from ladder.page.code import Excerpt, excerpt, listing
from ladder.practices import Place, Row


@dataclass
class Book:
    """Excerpts by number, and which of them belong to a row of the maturity model or to a practice."""

    excerpts: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    practices: list[dict[str, Any]] = field(default_factory=list)
    _known: dict[tuple[str, int, str], int] = field(default_factory=dict)

    def add(self, path: str, line: int, text: str, name: str) -> int:
        """The number of an excerpt, the same for the same lines of the same file."""
        key = (path, line, text)
        if key not in self._known:
            self._known[key] = len(self.excerpts)
            self.excerpts.append(
                {"path": path, "line": line, "name": name, "html": str(listing(text, path, line))}
            )
        return self._known[key]

    def place(self, place: Place) -> int:
        found: Excerpt = excerpt(place)
        return self.add(found.path, found.first_line, found.text, place.symbol or "")

    def packed(self) -> str:
        """Everything as JSON, by gzip, in base64; the same bytes for the same content.

        Highlighted code is long and repeats itself: packed it is a tenth of that, and browsers can unpack it.
        """
        content = {"excerpts": self.excerpts, "rows": self.rows, "practices": self.practices}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return base64.b64encode(gzip.compress(text.encode("utf-8"), 9, mtime=0)).decode("ascii")


@cache
def packed(levels: tuple[int, ...]) -> str:
    """What is gathered for these levels, packed; once in a process, as it takes a second or two."""
    return gathered(levels).packed()


def gathered(levels: Iterable[int]) -> Book:
    """The code and proof of every row of the maturity model, and the practices, at these levels."""
    chosen = set(levels)
    book = Book()
    for row in practices.rows():
        if row.level in chosen:
            book.rows[row.id] = _row(book, row)
    for practice in practices.practices():
        levels = {
            number: {"says": at.says, "code": [book.place(practices.place(number, each)) for each in at.code]}
            for number, at in practice.levels.items()
            if number in chosen
        }
        if levels:
            book.practices.append({"id": practice.id, "levels": levels})
    return book


def _row(book: Book, row: Row) -> dict[str, Any]:
    proof = practices.proof_of(row.id)
    return {
        "level": row.level,
        "says": row.says,
        "absent": row.absent,
        "code": [book.place(each) for each in practices.code_of(row.id)],
        "proof": book.add(proof.file, proof.line, proof.source, proof.name),
    }
