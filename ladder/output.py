"""Output: on the terminal, and into files."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ladder import UserError


def console(*, stderr: bool = False) -> Console:
    """The console of a command, without automatic colours for numbers and paths."""
    return Console(highlight=False, stderr=stderr)


def listed(parts: Sequence[object], word: str = "and") -> str:
    """`a`, `a and b`, or `a, b and c`."""
    *first, last = map(str, parts)
    return f"{', '.join(first)} {word} {last}" if first else last


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print text in which brackets are no markup, and which the terminal wraps, so that it can be copied."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def save(content: str, path: Path) -> None:
    """Write a text, in one piece or not at all. Raises UserError if there is a folder of that name."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the file a name in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Names of files may be no text.
        part.write_text(content, encoding="utf-8", errors="replace", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
