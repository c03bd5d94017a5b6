"""Runs git in a project, without what an outer repository or an odd configuration would change."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ladder import UserError

NEEDED = (2, 38)  # the first that merges without a work tree: `git merge-tree --write-tree`
NOBODY = ("Starter", "starter@localhost")  # who commits where git has no name of the user


class GitError(UserError):
    """A git command failed; the message is that of git, in one line."""


def require() -> None:
    """Raises UserError where git is missing or older than `NEEDED`."""
    if shutil.which("git") is None:
        raise UserError("git was not found: install it, then run this again")
    output = subprocess.run(["git", "--version"], check=True, capture_output=True, text=True).stdout
    numbers = tuple(int(part) for part in output.split()[2].split(".")[:2])
    if numbers < NEEDED:
        raise UserError(f"git {'.'.join(map(str, NEEDED))} or newer is needed, this is {output.split()[2]}")


def git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What git prints. Raises GitError where its exit status is not 0."""
    done = attempt(folder, *arguments, env=env)
    if done.returncode:
        raise GitError(" ".join((done.stderr or done.stdout).split()))
    return done.stdout


def attempt(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run git, whatever its exit status."""
    configured = ("GIT_CONFIG", "GIT_SSL", "GIT_SSH")
    around = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(configured)
    }
    return subprocess.run(
        # A file is stored as it is: locks are compared by digest.
        ["git", "-c", "core.autocrlf=false", "-c", "core.quotePath=false", *arguments],
        cwd=folder,
        env=around | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | dict(env or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def names(listed: str) -> list[str]:
    """The entries of a list that git ended with NUL each."""
    return [each for each in listed.split("\0") if each]


def author(folder: Path) -> dict[str, str]:
    """In the environment of a commit: who makes it, where git does not know the user."""
    if attempt(folder, "config", "user.email").stdout.strip():
        return {}
    name, mail = NOBODY
    return {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", mail))
    }


def store(repository: Path, files: Path, scratch: Path, env: Mapping[str, str] | None = None) -> str:
    """Put the files of a folder into a repository's store, without its index or work tree; the tree's id.

    `scratch` is a folder for the index that this takes.
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
    """Where the repository keeps what is git's."""
    return Path(git(repository, "rev-parse", "--absolute-git-dir").strip())


def commit_tree(
    repository: Path, tree: str, message: str, *parents: str, env: Mapping[str, str] | None = None
) -> str:
    """A commit of the tree; its id. No branch moves, no hook runs."""
    given = [word for parent in parents for word in ("-p", parent)]
    around = author(repository) | dict(env or {})
    return git(repository, "commit-tree", tree, *given, "-m", message, env=around).strip()
