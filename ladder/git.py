"""Runs git in a project, isolated from outer repositories and unusual configuration."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ladder import UserError

MIN_VERSION = (2, 38)  # the first that merges without a work tree: `git merge-tree --write-tree`
NOBODY = ("-c", "user.name=Starter", "-c", "user.email=starter@localhost")


def require() -> str:
    """The version of git. Raises UserError if it is missing, broken or older than `MIN_VERSION`."""
    version = git(Path.cwd(), "--version").split()[2]
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
        raise UserError(f"git {'.'.join(map(str, MIN_VERSION))} or newer is needed, this is {version}")
    return version


def git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run git and return its output. Raises UserError if its exit status is not 0."""
    done = run_unchecked(folder, *arguments, env=env)
    if done.returncode:
        raise failure(folder, done)
    return done.stdout


def failure(folder: Path, done: subprocess.CompletedProcess[str]) -> UserError:
    """The output of git, in one line."""
    return UserError(f"{folder}: git failed: {' '.join((done.stderr or done.stdout).split())}")


def run_unchecked(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run git, whatever its exit status. Raises UserError if there is none."""
    if shutil.which("git") is None:
        raise UserError("git was not found: install it, then run this again")
    configured = ("GIT_CONFIG", "GIT_SSL", "GIT_SSH")
    around = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(configured)
    }
    return subprocess.run(
        # Files are stored unchanged: locks are compared by digest.
        ["git", "-c", "core.autocrlf=false", "-c", "core.quotePath=false", *arguments],
        cwd=folder,
        env=around | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | dict(env or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def split_nul(listed: str) -> list[str]:
    """The entries of a list that git ended with NUL each."""
    return [each for each in listed.split("\0") if each]


def setting(folder: Path, name: str) -> str:
    """A value of git's configuration; empty without it, or without git."""
    return run_unchecked(folder, "config", name).stdout.strip() if shutil.which("git") else ""


def author(folder: Path) -> tuple[str, ...]:
    """Options with the author of a commit, if git does not know the user."""
    return () if setting(folder, "user.name") and setting(folder, "user.email") else NOBODY


def store(repository: Path, files: Path, scratch: Path, env: Mapping[str, str] | None = None) -> str:
    """Write the files of a folder to a repository's object store, bypassing its index. Returns the tree id.

    `scratch` is a folder for a temporary index.
    """
    place = _work_tree(repository, files, scratch / "index", env)
    git(files, "-c", "core.excludesFile=", "add", "--all", "--force", ".", env=place)
    return git(files, "write-tree", env=place).strip()


def unpack(
    repository: Path, commit: str, files: Path, scratch: Path, env: Mapping[str, str] | None = None
) -> None:
    """Write a commit's files into a folder, without the repository's index or work tree."""
    place = _work_tree(repository, files, scratch / "unpacked", env)
    git(files, "read-tree", commit, env=place)
    git(files, "checkout-index", "--all", "--quiet", env=place)


def _work_tree(repository: Path, files: Path, index: Path, env: Mapping[str, str] | None) -> dict[str, str]:
    folder = git_folder(repository)
    place = {"GIT_DIR": str(folder), "GIT_WORK_TREE": str(files), "GIT_INDEX_FILE": str(index)}
    return place | dict(env or {})


def git_folder(repository: Path) -> Path:
    """The repository's git directory."""
    return Path(git(repository, "rev-parse", "--absolute-git-dir").strip())


def commit_tree(
    repository: Path, tree: str, message: str, *parents: str, env: Mapping[str, str] | None = None
) -> str:
    """Create a commit of the tree. Returns its id. No branch moves, no hook runs."""
    given = [word for parent in parents for word in ("-p", parent)]
    arguments = (*author(repository), "commit-tree", tree, *given, "-m", message)
    return git(repository, *arguments, env=env).strip()
