"""Merges lock files package by package: they are made, and lines mean nothing alone."""

import re
from dataclasses import dataclass

FILE = "requirements.lock"
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==[^\n]*\n(?:[ \t][^\n]*\n?)*", re.MULTILINE)


@dataclass(frozen=True)
class Merged:
    """The text; packages that the project had locked itself and keeps, and those whose version gave way."""

    text: str
    kept: tuple[str, ...]
    gave_way: tuple[str, ...]


def merge(base: str, ours: str, theirs: str) -> Merged:
    """The lock of `theirs`, with what `ours` had added to `base` or locked at another version.

    A package that `theirs` changed, too, is as `theirs` has it: that is known to work there.
    """
    old, own, new = _entries(base), _entries(ours), _entries(theirs)
    mine = {name for name in own if own[name] != old.get(name)}
    gave_way = {name for name in mine & set(new) if new[name] not in (old.get(name), own[name])}
    kept = {name for name in mine - gave_way if name not in old or name in new}
    entries = new | {name: own[name] for name in kept}
    text = "".join(entries[name] for name in sorted(entries))
    return Merged(text, tuple(sorted(kept)), tuple(sorted(gave_way)))


def _entries(text: str) -> dict[str, str]:
    """The lines of each package, by its name; a package that is locked more than once has them all."""
    found: dict[str, str] = {}
    for match in _ENTRY.finditer(text):
        lines = match.group() if match.group().endswith("\n") else match.group() + "\n"
        found[match[1]] = found.get(match[1], "") + lines
    return found
