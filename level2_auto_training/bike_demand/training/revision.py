"""The code revision of a training: the git commit and uncommitted changes."""

import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bike_demand.core.errors import UserError

# The files that determine a model. Others in the project or its repository may change in the meantime.
CODE = ("bike_demand", "params.yaml", "dvc.yaml", "requirements.lock", "pyproject.toml")


@dataclass(frozen=True)
class Revision:
    """A commit, and the patch from it to the code in the folder (empty: no uncommitted changes)."""

    commit: str
    patch: bytes


def current_revision() -> Revision | None:
    """The code in the project's folder; None if no git commit contains it.

    Raises UserError if git refuses access, for example to a folder that belongs to another user.
    """
    try:
        commit = _git("rev-parse", "--verify", "HEAD").decode().strip()
    except UserError as error:
        if re.search("not a git repository|Needed a single revision", str(error)):
            return None
        raise
    if not _git("ls-tree", "-r", "--name-only", "HEAD", "--", CODE[0]):
        return None  # the folder lies in a repository that does not track it
    # Neither command may depend on the user's git settings, like `diff.noprefix`.
    if not _git("status", "--porcelain", "--untracked-files=all", "--", *CODE):
        return Revision(commit, b"")
    with tempfile.TemporaryDirectory() as scratch:
        # With a separate index, so that the patch includes new files and nothing gets staged.
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        _git("read-tree", "HEAD", environment=index)
        _git("add", "--all", "--", *(name for name in CODE if Path(name).exists()), environment=index)
        options = ("--cached", "--patch", "--binary", "--no-ext-diff", "--relative")
        patch = _git("diff-index", *options, "HEAD", "--", environment=index)
    return Revision(commit, patch)


def restore(revision: Revision, folder: Path) -> None:
    """Restore the project at a revision into the folder, which is created.

    Raises UserError if the commit is not in this repository.
    """
    folder.mkdir(parents=True)
    try:
        archive = _git("archive", "--format=tar", revision.commit)
    except UserError as error:
        raise UserError(
            f"commit {revision.commit[:12]} is not in this repository ({error}); fetch it with git"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        # Python 3.11.2 (Debian 12) has no extraction filters yet.
        files.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        files.extractall(folder)
    if revision.patch:
        # The folder may lie inside the repository; git must not see that repository from here.
        nowhere = {"GIT_CEILING_DIRECTORIES": str(folder.parent.absolute())}
        _git("apply", "--whitespace=nowarn", "-", folder=folder, environment=nowhere, stdin=revision.patch)


def _git(
    *arguments: str, folder: Path = Path(), environment: dict[str, str] | None = None, stdin: bytes = b""
) -> bytes:
    """Run git and return its output. Raises UserError with git's reason, in one line, if it fails."""
    git = shutil.which("git")
    if git is None:
        raise UserError("git is not installed, so the code that trains cannot be identified; install it")
    # Line endings as committed, otherwise the restored code would differ.
    done = subprocess.run(
        [git, "-c", "core.autocrlf=false", "-c", "core.quotepath=false", *arguments],
        cwd=folder,
        env=os.environ | {"LC_ALL": "C"} | (environment or {}),
        input=stdin,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        message = " ".join(done.stderr.decode(errors="replace").split())
        why = message[max(message.find("fatal: "), 0) :].removeprefix("fatal: ")  # without preceding warnings
        raise UserError(f"git {arguments[0]}: {why[:500] or f'status {done.returncode}'}")
    return done.stdout
