"""Compares two levels: files that are new, changed, gone or carried over, and their purpose."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import groupby
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ladder import ROOT, UserError, practices
from ladder.carry import Kind, compare_levels
from ladder.levels import Level, level
from ladder.locks import entries
from ladder.practices import Row
from ladder.source import read

KINDS: tuple[Kind, ...] = ("new", "changed", "gone", "carried")
WORDS: Mapping[Kind, str] = {"new": "new", "changed": "changed", "gone": "gone", "carried": "carried over"}
MARKS: Mapping[Kind, str] = {"new": "+", "changed": "~", "gone": "-", "carried": "="}
STYLES: Mapping[Kind, str] = {"new": "green", "changed": "yellow", "gone": "red", "carried": "dim"}
LOCKS = ("requirements.lock",)
NARROW = 50  # characters, of the column with the files


@dataclass(frozen=True)
class File:
    """A file of one or both of two levels."""

    name: str  # POSIX, in the level's folder
    kind: Kind
    before: Path | None
    after: Path | None

    @cached_property
    def texts(self) -> tuple[str, str]:
        """Content before and after; empty if missing. Raises UserError for a file that is not text."""
        before, after = ("" if path is None else read(path) for path in (self.before, self.after))
        return before, after

    @cached_property
    def summary(self) -> tuple[str, ...] | None:
        """The summary shown instead of lines for a generated file; None for all others."""
        if PurePosixPath(self.name).name in LOCKS:
            return packages(*self.texts)
        try:
            texts = self.texts
        except UserError:
            size = (self.after or self.before or ROOT).stat().st_size
            return (f"not a text file, {size / 1024:.0f} KiB",)
        if PurePosixPath(self.name).suffix == ".csv":
            lines = [f"{len(text.splitlines())} lines of data" for text in texts if text]
            return (" before, now ".join(lines),)
        return None

    @cached_property
    def lines(self) -> tuple[int, int] | None:
        """Numbers of added and removed lines; None if lines are not shown."""
        if self.summary is not None:
            return None
        before, after = (text.splitlines() for text in self.texts)
        codes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        changes = [code for code in codes if code[0] != "equal"]
        came = sum(end - begin for *_, begin, end in changes)
        return came, sum(end - begin for _, begin, end, _, _ in changes)


@dataclass(frozen=True)
class _Files:
    """Some files of two levels."""

    files: tuple[File, ...]

    def of(self, *kinds: Kind) -> tuple[File, ...]:
        """Those of these kinds."""
        return tuple(each for each in self.files if each.kind in kinds)

    @property
    def differing(self) -> tuple[File, ...]:
        """Those that are not the same in both."""
        return self.of("new", "changed", "gone")


@dataclass(frozen=True)
class Part(_Files):
    """The files that serve one practice, and what the second level shows of it."""

    id: str
    title: str
    says: str
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Difference(_Files):
    """What the second level has, and has not, compared with the first."""

    first: Level
    second: Level

    def counts(self) -> str:
        """The number of files of each kind, in words."""
        return ", ".join(f"{len(self.of(kind))} {WORDS[kind]}" for kind in KINDS)

    def parts(self) -> tuple[Part, ...]:
        """The files by practice, in lifecycle order.

        Practices whose files were all carried over come last.
        """
        found = []
        for practice in practices.practices():
            files = tuple(each for each in self.files if practices.practice_of(each.name) == practice)
            at = practice.levels.get(self.second.number)
            rows = tuple(practices.row(each) for each in at.rows) if at else ()
            found.append(Part(files, practice.id, practice.title, at.says if at else practice.says, rows))
        rest = tuple(each for each in self.files if practices.practice_of(each.name) is None)
        found.append(Part(rest, "other", "Other files", "They serve no practice of docs/practices.yaml."))
        return tuple(sorted((part for part in found if part.files), key=lambda part: not part.differing))


def between(first: int, second: int, wanted: Sequence[str] = ()) -> Difference:
    """Compare two levels file by file, or only these files: names, folders or patterns in the level's folder.

    Raises UserError for an unknown level, and for a name that neither has.
    """
    a, b = level(first), level(second)
    files = [
        File(
            name,
            kind,
            None if kind == "new" else a.folder / name,
            None if kind == "gone" else b.folder / name,
        )
        for kind, names in compare_levels(a, b).items()
        for name in names
    ]
    if wanted:
        files = _chosen(files, wanted, (a, b))
    return Difference(tuple(sorted(files, key=lambda each: each.name)), a, b)


def _chosen(files: Sequence[File], wanted: Sequence[str], both: tuple[Level, Level]) -> list[File]:
    chosen: dict[str, File] = {}
    for given in wanted:
        name = PurePosixPath(given.replace("\\", "/")).as_posix()
        for each in both:  # as a shell completes it
            name = f"{name}/".removeprefix(f"{each.folder.name}/").rstrip("/")
        found = [
            file
            for file in files
            if not name
            or file.name == name
            or file.name.startswith(f"{name}/")
            or fnmatchcase(file.name, name)
        ]
        if not found:
            near = difflib.get_close_matches(name, [file.name for file in files], 1)
            hint = f"; did you mean {near[0]}?" if near else "; `ladder diff A B` lists them"
            raise UserError(f"{given}: not found at level {both[0].number} or {both[1].number}{hint}")
        chosen |= {file.name: file for file in found}
    return list(chosen.values())


def packages(before: str, after: str) -> tuple[str, ...]:
    """The differences between two locks, in lines: packages added, removed, or with another version."""
    old, new = _pins(before), _pins(after)
    changed = {name: f"{name} {old[name]} -> {new[name]}" for name in old.keys() & new.keys()}
    kinds = {
        "came": [f"{name} {new[name]}" for name in new.keys() - old.keys()],
        "changed": [text for name, text in changed.items() if old[name] != new[name]],
        "went": list(old.keys() - new.keys()),
    }
    return tuple(f"{len(names)} {kind}: {', '.join(sorted(names))}" for kind, names in kinds.items() if names)


def _pins(lock: str) -> dict[str, str]:
    return dict(head.split()[0].rstrip(";").split("==") for head, _ in entries(lock))


def unified(file: File) -> Iterator[str]:
    """The change as a unified diff, line by line; for generated files, the summary."""
    names = [
        "/dev/null" if path is None else path.relative_to(ROOT).as_posix()
        for path in (file.before, file.after)
    ]
    if file.kind == "carried":
        return
    yield f"--- {names[0]}"
    yield f"+++ {names[1]}"
    if file.summary is not None:
        yield from (f"# {line}" for line in file.summary)
        return
    before, after = (text.splitlines() for text in file.texts)
    yield from list(difflib.unified_diff(before, after, lineterm=""))[2:]


def show(found: Difference, console: Console, *, changes: bool, chosen: bool) -> None:
    """Print the purpose of each part of the difference and, with `changes`, the changes themselves.

    `chosen`: only some files were requested, so the proofs of their practices are named, too.
    """
    first, second = found.first, found.second
    console.print(Text(f"{first.title}  ->  {second.title}", style="bold"))
    console.print(f"{found.counts()}.")
    longest = max((len(file.name) for file in found.differing), default=0)
    width = max(min(max(longest, NARROW), console.width - 24), 20)
    for differs, parts in groupby(found.parts(), key=lambda part: bool(part.differing)):
        if not differs:
            console.print(Text("\nCarried over as they are", style="bold"))
        for part in parts:
            if differs:
                console.print()
            _show_head(part, console, proved=chosen)
            if differs:
                console.print(_table(part.differing, width))
            _show_carried(part, console)
    if changes:
        for file in found.differing:
            console.print()
            for line in unified(file):
                console.print(Text(line, style=_style(line)), soft_wrap=True)
    else:
        pair = f"{first.number} {second.number}"
        console.print(
            f"\nShow a file's diff: ladder diff {pair} FILE; all diffs: --changes; as a page: --html.",
            soft_wrap=True,
        )


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2), expand=False)


def _show_head(part: Part, console: Console, *, proved: bool) -> None:
    console.print(Text(part.title, style="bold"))
    console.print(_indented(Text(part.says, style="dim")))
    for row in part.rows:
        proof = practices.proof_of(row.id)
        says = f"  {'lacks: ' if row.absent else ''}{row.says}"
        where = f"\n       proved by {proof.file}:{proof.line}" if proved else ""
        console.print(_indented(Text.assemble((row.id, "cyan"), says, (where, "dim"))))


def _show_carried(part: Part, console: Console) -> None:
    if names := ", ".join(file.name for file in part.of("carried")):
        console.print(_indented(Text(f"{MARKS['carried']} carried over: {names}", style="dim")))


def _table(files: Sequence[File], width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=3, justify="right")
    table.add_column(width=width, overflow="fold")
    table.add_column(justify="right", min_width=5, style="green")
    table.add_column(justify="right", min_width=5, style="red")
    for file in files:
        came, went = file.lines or (0, 0)
        counts = (f"+{came}" if came else "", f"-{went}" if went else "")
        table.add_row(Text(MARKS[file.kind], style=STYLES[file.kind]), Text(file.name), *counts)
        for text in file.summary or ():
            table.add_row("", Text(text, style="dim"))
    return table


def _style(line: str) -> str:
    if line.startswith(("---", "+++")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan", "#": "dim"}.get(line[:1], "")
