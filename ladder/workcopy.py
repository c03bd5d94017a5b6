"""Working copies: a level is never run in place, but in a copy like one that a person could have made."""

import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ladder import PACKAGED_FILES, ROOT, UserError
from ladder.git import git, split_nul
from ladder.levels import Level

MARKER_FILE = ".ladder-made"  # only folders with this file are ever removed

DVC_LOCK = "dvc.lock"
_COMMITTER = "user.name=Working copy", "user.email=working-copy@localhost", "commit.gpgsign=false"


def home() -> Path:
    """The folder of working copies: LADDER_HOME, or `.ladder` in the repository, or in the current folder."""
    own = Path.cwd() if ROOT == PACKAGED_FILES else ROOT
    return Path(os.environ.get("LADDER_HOME") or own / ".ladder").resolve()


def display_path(path: Path) -> str:
    """The path for display: relative to the repository's root, if inside."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def make_empty(folder: Path) -> Path:
    """An empty folder of that name, replacing one that the tool made earlier.

    Raises UserError if the folder holds anything else.
    """
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER_FILE).is_file():
            raise UserError(
                f"{folder} was not created by ladder: move it elsewhere, or set LADDER_HOME to another folder"
            )
        rename(folder, folder.with_name(f".{folder.name}.old-{uuid.uuid4().hex}"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob(f".{folder.name}.old-*"):  # including leftovers of interrupted runs
        remove(old)
    folder.mkdir()
    (folder / MARKER_FILE).touch()
    return folder


def rename(folder: Path, new: Path) -> None:
    """Rename a folder. Raises UserError if it is in use, which Windows does not allow."""
    try:
        folder.rename(new)
    except PermissionError:
        raise UserError(
            f"{folder} is in use: stop the processes running in it, leave it in each terminal (`cd ..`)"
            " and close it in the editor, then try again"
        ) from None


@contextmanager
def exclusive(purpose: str) -> Iterator[Path]:
    """Lock and return the folder for working copies of that purpose.

    Raises UserError if another process holds it, or it cannot be created.
    """
    folder = home() / purpose
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{purpose}.lock"), timeout=0):
            yield folder
    except Timeout:
        raise UserError(
            f"another ladder command is using {display_path(folder)}: wait for it,"
            " or set LADDER_HOME to another folder"
        ) from None


def make(level: Level, destination: Path) -> Path:
    """Copy a level's own files to `destination`, from level 1 up as a git repository with one commit.

    Level 0 has no version control: its copy is a plain folder, as on the data scientist's disk.
    """
    copy_files(level.folder, destination)
    if level.number > 0:
        git(destination, "init", "--quiet", "--initial-branch", "main")
        for each in _COMMITTER:
            git(destination, "config", *each.split("=", 1))  # DVC commits too
        exclude = destination / ".git" / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_text("/feed/\n", encoding="utf-8")  # the feed comes from outside, it is not code
        commit(destination, "Start from the template")
    return destination


def copy_files(source: Path, destination: Path) -> None:
    """Copy the own files of a folder; of permissions only who may execute, as a checkout may be read-only."""
    for name in own_files(source):
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
        if os.access(source / name, os.X_OK):
            target.chmod(0o755)


def own_files(folder: Path) -> list[Path]:
    """The files that git tracks or would track in the folder. Without git, all except caches.

    Excludes the dvc.lock of a training in the folder itself.
    """
    if shutil.which("git") and (ROOT / ".git").exists() and folder.is_relative_to(ROOT):
        found = split_nul(
            git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "-x", DVC_LOCK)
        )
        return sorted(Path(name) for name in set(found) if (folder / name).is_file())
    skipped = {DVC_LOCK, "__pycache__", "state", "feed", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
    skipped.add(".DS_Store")  # of the Finder
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(folder).parts)
    )


def remove(folder: Path) -> None:
    """Remove a folder made by the tool, including read-only files; does nothing if there is none."""
    if folder.exists():
        shutil.rmtree(folder, onerror=_make_writable)


def commit(folder: Path, message: str) -> None:
    """Commit the changes in a working copy, as a person would."""
    git(folder, "add", "--all")
    who = (part for each in _COMMITTER for part in ("-c", each))
    git(folder, *who, "commit", "--quiet", "--message", message)


def _make_writable(function: Callable[[str], Any], path: str, _: Any) -> None:
    """Windows does not delete read-only files, and git makes its objects read-only."""
    Path(path).chmod(stat.S_IWRITE)
    function(path)
