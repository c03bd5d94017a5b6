"""Runs the stages of dvc.yaml and keeps the versions of data and models: the one module that imports DVC."""

import contextlib
import json
import logging
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bike_demand.core.environment import environment_with
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import DATA

if TYPE_CHECKING:
    from dvc.repo import Repo

LOCK = Path("dvc.lock")
INGEST = "ingest"  # the stage that gathers; all that follow on it are a training
# How stages are told --as-of, and where they say in one line what went wrong. See `stages`.
AS_OF = "BIKE_AS_OF"
COMPLAINT = "BIKE_COMPLAINT"


def ingest(environment: dict[str, str]) -> None:
    """Run the stage that gathers the feed; `environment` is added to that of its process.

    Raises UserError with the stage's own words where it fails, UnreachableError where the feed is away.
    """
    _reproduce(lambda repo: repo.reproduce(INGEST, single_item=True), environment)


def train(environment: dict[str, str]) -> None:
    """Run what follows on ingest, as far as something changed since it last ran.

    Raises UserError with the words of the stage that fails; those behind it do not run.
    """

    _reproduce(lambda repo: repo.reproduce(_followers(repo), downstream=True), environment)


def followers(folder: Path) -> list[str]:
    """The stages of the project in `folder` that take what is gathered: these and all behind them train."""
    with _repo(folder) as repo:
        return _followers(repo)


def data_digest(lock: Path = LOCK) -> str:
    """The version of state/data in a dvc.lock: DVC's digest of the folder."""
    return gathered(lock)[DATA.as_posix()]


def store() -> None:
    """Copy the versions that dvc.lock names to the remote storage of .dvc/config, where they are not yet."""
    with _repo(Path()) as repo, _plainly("the versions cannot be stored"):
        repo.push()


def restore(folder: Path) -> None:
    """Put the data that the dvc.lock in `folder`, another copy of the project, names into its state/data, and
    beside them what was known of which are bad.

    They come from this project's cache or, where they are not there, its remote storage. Raises UserError
    that names the versions and the remote where neither has them.
    """
    with _repo(Path()) as here:
        sections: dict[str, dict[str, Any]] = {"cache": {"dir": Path(here.cache.local.path).absolute()}}
        for name, options in here.config["remote"].items():
            sections[f"'remote \"{name}\"'"] = dict(options)
        remote = here.config["core"].get("remote", "")
        url = here.config["remote"].get(remote, {}).get("url", "none is configured")
    lines: list[str] = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"    {key} = {value}" for key, value in values.items())]
    (folder / ".dvc" / "config.local").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    with _repo(folder) as there, _plainly("the data of this run cannot be restored"):
        from dvc.exceptions import CheckoutError, DownloadError

        try:
            there.pull(targets=[str(folder / path) for path in gathered(folder / LOCK)])
        except (CheckoutError, DownloadError):
            named = " and ".join(f"{path} {digest}" for path, digest in gathered(folder / LOCK).items())
            raise UserError(
                f"the data of this run cannot be restored: {named} is whole neither in DVC's cache nor in"
                f" the remote {remote} ({url}); put a backup of the remote in its place"
            ) from None


def gathered(lock: Path) -> dict[str, str]:
    """DVC's digests of what the stage that gathers put out: the data, and which of them are bad."""
    stages: dict[str, Any] = yaml.load(lock.read_bytes(), Loader=yaml.CSafeLoader)["stages"]
    return {str(out["path"]): str(out["md5"]) for out in stages["ingest"]["outs"]}


def _followers(repo: "Repo") -> list[str]:
    graph = repo.index.graph
    gathers = next(stage for stage in graph if getattr(stage, "name", "") == INGEST)  # of `dvc add`: none
    return [stage.name for stage in graph.predecessors(gathers)]


def _reproduce(run: "Callable[[Repo], object]", environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as scratch, _repo(Path()) as repo:
        complaint = Path(scratch) / "complaint"
        # DVC passes its environment on to the stages. dvc.yaml says `python`: let that be this one.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        with environment_with(environment | {COMPLAINT: str(complaint), "PATH": path}):
            try:
                with _plainly("the pipeline stopped"):
                    run(repo)
            except UserError:
                if not complaint.exists():
                    raise
                told = json.loads(complaint.read_text(encoding="utf-8"))
                if told.get("stopped"):  # Ctrl-C went to the stage, while DVC does not hear it
                    raise KeyboardInterrupt from None
                raise (UnreachableError if told["unreachable"] else UserError)(told["says"]) from None


@contextlib.contextmanager
def _repo(folder: Path) -> "Iterator[Repo]":
    """The project in `folder` as DVC sees it. What DVC would tell a terminal, exceptions tell here."""
    with _plainly(f"{folder.absolute()} cannot be used with DVC"):
        from dvc.repo import Repo

        for name in ("dvc", "dvc_data", "dvc_objects"):  # importing them has set their levels
            logging.getLogger(name).setLevel(logging.CRITICAL)
        repo = Repo(str(folder.absolute()))
    with contextlib.closing(repo):
        yield repo


@contextlib.contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Turn what DVC raises into one line: what could not be done, and the innermost cause."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except (DvcException, LockError, OSError, sqlite3.Error) as error:  # of remotes, of DVC's own files
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise UserError(f"{what}: {' '.join(str(cause).split())}") from None
