"""Which code trains: the git commit, and what is not committed yet."""

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

# What decides on a model. Other files of the project, or of the repository it lies in, may change meanwhile.
CODE = ("bike_demand", "params.yaml", "dvc.yaml", "requirements.lock", "pyproject.toml")


@dataclass(frozen=True)
class Revision:
    """A commit, and the patch that makes the code in the folder of it (empty: it is committed as it is)."""

    commit: str
    patch: bytes


def current() -> Revision | None:
    """The code in the project's folder; None where no commit of git holds it.

    Raises UserError where git refuses to look, as into a folder that belongs to another user.
    """
    try:
        commit = _git("rev-parse", "--verify", "HEAD").decode().strip()
    except UserError as error:
        if re.search("not a git repository|Needed a single revision", str(error)):
            return None
        raise
    if not _git("ls-tree", "-r", "--name-only", "HEAD", "--", CODE[0]):
        return None  # the folder lies in a repository that does not know it
    if not _git("status", "--porcelain", "--", *CODE):
        return Revision(commit, b"")
    with tempfile.TemporaryDirectory() as scratch:
        # Through an index of its own, so that the patch has new files too and nothing is staged by it.
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        _git("read-tree", "HEAD", environment=index)
        _git("add", "--all", "--", *(name for name in CODE if Path(name).exists()), environment=index)
        patch = _git("diff", "--cached", "--binary", "--relative", "HEAD", "--", environment=index)
    return Revision(commit, patch)


def restore(revision: Revision, folder: Path) -> None:
    """Put the project as it was in a revision into the folder, which is made.

    Raises UserError where the commit is not in this repository.
    """
    folder.mkdir(parents=True)
    try:
        archive = _git("archive", "--format=tar", revision.commit)
    except UserError as error:
        raise UserError(
            f"commit {revision.commit[:12]} is not in this repository ({error}); fetch it with git"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        # Python 3.11.2, of Debian 12, has no filters yet.
        files.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        files.extractall(folder)
    if revision.patch:
        # The folder may lie inside the repository: as far as git knows there is none here.
        nowhere = {"GIT_CEILING_DIRECTORIES": str(folder.parent.absolute())}
        _git("apply", "--whitespace=nowarn", "-", folder=folder, environment=nowhere, given=revision.patch)


def _git(
    *arguments: str,
    folder: Path = Path(),
    environment: dict[str, str] | None = None,
    given: bytes = b"",
) -> bytes:
    """What git says. Raises UserError with its reason, in one line, where it fails."""
    git = shutil.which("git")
    if git is None:
        raise UserError("git is not installed, so nobody could find out which code trains; install it")
    # Line ends as committed, or the restored code would be another one.
    done = subprocess.run(
        [git, "-c", "core.autocrlf=false", "-c", "core.quotepath=false", *arguments],
        cwd=folder,
        env=os.environ | {"LC_ALL": "C"} | (environment or {}),
        input=given,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        why = said[max(said.find("fatal: "), 0) :].removeprefix("fatal: ")  # without the warnings before it
        raise UserError(f"git {arguments[0]}: {why[:500] or f'status {done.returncode}'}")
    return done.stdout
