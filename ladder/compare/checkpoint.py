"""Keeps how far a replay is, so that one that was cut off in the middle goes on from there.

At the end of a day the files of the working copy that are not as they were at the last time are copied; then
a list of all that belong to that day is written, with what the replay itself knows, and takes the place of
the list before by a rename: a day is kept whole or not at all.
"""

import os
import pickle
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

from ladder.workcopy import remove

# Of wall time; so much may be lived through again. LADDER_KEEP_SECONDS overrides it, whatever share it takes.
EVERY_SECONDS = 30.0
SHARE = 0.01  # of the time, at most, is spent on it
SQLITE = b"SQLite format 3\0"
BESIDE = ("-wal", "-shm", "-journal")  # files of a database that is open; its copy is whole without them

Look = tuple[int, int, int]  # size, and when content and entry were changed (ns): all three, or it is another


@dataclass(frozen=True)
class _File:
    """A file of the working copy: the name of its copy, or where it points; mode and time of change (ns)."""

    copy: str | None
    link: str | None
    mode: int
    changed: int


@dataclass(frozen=True)
class _Kept:
    """A day: the folders and files of the working copy, by their path in it, and the state of the replay."""

    folders: list[str]
    files: dict[str, _File]
    state: Any


@dataclass
class Checkpoint:
    """What is kept in `folder` of one replay; `key` says of which one, so that no other goes on from it.

    In the folder: `result` once it is done, before that `day-YYYY-MM-DD`, and in `files` the copies it names.
    """

    folder: Path
    key: str
    _next: float | None = None  # when it is time again, by the process's own clock
    _looks: dict[str, tuple[Look, str]] = field(default_factory=dict)  # when last kept, and the copy's name

    def result(self) -> Any:
        """What came of the replay, if it was done; else None."""
        return self._read(self.folder / "result")

    def reached(self) -> date | None:
        """The last day that was kept; None where there is none to go on from."""
        newest = self._newest()
        return None if newest is None else date.fromisoformat(newest.name.removeprefix("day-"))

    def is_time(self) -> bool:
        """Whether the last copy, or the first time this was asked, is long enough ago."""
        if self._next is None:
            self._plan(0.0)
        assert self._next is not None
        return time.monotonic() >= self._next

    def keep(self, day: date, state: Any, working_copy: Path) -> None:
        """Keep the state at the end of a day, and the working copy, in place of what was kept before.

        Databases may be open while it is copied, as long as nobody writes into them.
        """
        began = time.monotonic()
        before = self._newest()
        (self.folder / "files").mkdir(parents=True, exist_ok=True)
        kept = self._copy(working_copy, state)
        self._write(self.folder / f"day-{day}", kept)
        if before is not None and before.name != f"day-{day}":
            before.unlink()
        used = {file.copy for file in kept.files.values()}
        for old in (self.folder / "files").iterdir():
            if old.name not in used:
                old.unlink()
        self._plan(time.monotonic() - began)

    def restore(self, working_copy: Path) -> Any:
        """Put the working copy back as it was kept, at the same place; the state that was kept with it."""
        newest = self._newest()
        assert newest is not None
        kept: _Kept = self._read(newest)
        remove(working_copy)
        for name in kept.folders:
            (working_copy / name).mkdir(parents=True)
        for name, file in kept.files.items():
            path = working_copy / name
            if file.link is not None:
                path.symlink_to(file.link)
                continue
            assert file.copy is not None
            shutil.copyfile(self.folder / "files" / file.copy, path)
            path.chmod(file.mode)
            os.utime(path, ns=(file.changed, file.changed))
            self._looks[name] = (_look(path.stat()), file.copy)
        return kept.state

    def done(self, result: Any) -> None:
        """Keep what came of the replay; the days are no longer needed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(self.folder / "result", result)
        for old in self.folder.glob("day-*"):
            old.unlink()
        remove(self.folder / "files")

    def _plan(self, took: float) -> None:
        """When it is time again, after one that took so many seconds."""
        given = os.environ.get("LADDER_KEEP_SECONDS")
        self._next = time.monotonic() + (float(given) if given else max(EVERY_SECONDS, took / SHARE))

    def _newest(self) -> Path | None:
        """The newest day of this replay."""
        for found in sorted(self.folder.glob("day-????-??-??"), reverse=True):
            with found.open("rb") as file:
                if file.readline().strip() == self.key.encode():
                    return found
        return None

    def _read(self, path: Path) -> Any:
        """What was written of this replay; None where nothing was. Of another one nothing is unpickled."""
        if not path.is_file():
            return None
        key, _, content = path.read_bytes().partition(b"\n")
        return pickle.loads(content) if key == self.key.encode() else None

    def _write(self, path: Path, content: Any) -> None:
        half = path.with_name(f"{path.name}.new")
        with half.open("wb") as file:
            file.write(self.key.encode() + b"\n" + pickle.dumps(content))
        _sync(half)
        half.replace(path)
        _sync(self.folder)

    def _copy(self, working_copy: Path, state: Any) -> _Kept:
        """Copy what is not as it was at the last time, and write down what there is."""
        folders, files = [], {}
        store = self.folder / "files"
        taken = {path.name for path in store.iterdir()}
        names = (name for name in map(str, count()) if name not in taken)
        looks = {}
        for found, entries in _walk(working_copy):
            folders.append(found.as_posix())
            for entry in entries:
                path, name = Path(entry.path), (found / entry.name).as_posix()
                if entry.is_symlink():
                    files[name] = _File(None, str(path.readlink()), 0, 0)
                elif not _is_beside(path):
                    # One that is gone by now was there for a moment only, as an application writes and moves.
                    with suppress(FileNotFoundError):
                        about = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(about.st_mode):
                            copy = self._copy_file(path, name, about, names)
                            looks[name] = (_look(about), copy)
                            files[name] = _File(copy, None, stat.S_IMODE(about.st_mode), about.st_mtime_ns)
        _sync(store)
        self._looks = looks
        return _Kept(folders, files, state)

    def _copy_file(self, path: Path, name: str, about: os.stat_result, names: Iterator[str]) -> str:
        """The name of its copy: the one of last time, or the next of `names`."""
        look, copy = self._looks.get(name, (None, ""))
        is_database = _is_database(path)
        if not is_database and look == _look(
            about
        ):  # what a database has in its log does not show in the file
            return copy
        copy = next(names)
        target = self.folder / "files" / copy
        if is_database:
            _copy_database(path, target)
        else:
            shutil.copyfile(path, target)
        _sync(target)
        return copy


def _look(about: os.stat_result) -> Look:
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _walk(folder: Path, inside: Path = Path()) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Each folder below, by its path from the first one, with what is no folder in it."""
    with os.scandir(folder) as found:
        entries = list(found)
    yield inside, [entry for entry in entries if not entry.is_dir(follow_symlinks=False)]
    for each in entries:
        if each.is_dir(follow_symlinks=False):
            yield from _walk(Path(each.path), inside / each.name)


def _is_beside(path: Path) -> bool:
    """Whether it is the log of a database, which the database's copy has in it."""
    return path.name.endswith(BESIDE) and path.with_name(path.name.rpartition("-")[0]).is_file()


def _is_database(path: Path) -> bool:
    if path.suffix not in (".db", ".sqlite", ".sqlite3"):
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def _copy_database(path: Path, target: Path) -> None:
    """Through SQLite, which knows what of it stands in its log only."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # it is brought to the disk once, as a whole
        source.backup(copy)


def _sync(path: Path) -> None:
    """Have it on the disk before what comes next, so that it is whole after a power cut."""
    if os.name == "nt" and path.is_dir():  # a folder cannot be opened there
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
