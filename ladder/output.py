"""Formatting of terminal output."""

from collections.abc import Sequence

from rich.console import Console


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
