"""Runs the stages of dvc.yaml and versions data and models: the only module that imports DVC."""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bike_demand.core.configuration import DELIMITER, PREFIX, read_yaml
from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA

if TYPE_CHECKING:
    from dvc.repo import Repo

LOCK = Path("dvc.lock")
INGEST, VALIDATE = "ingest", "validate"  # stages
LOCAL_CONFIG = Path(".dvc", "config.local")  # local to this copy, never committed


def run_dvc(*arguments: str, folder: Path = Path()) -> None:
    """Run a DVC command on the project in `folder`, like a user.

    Raises UserError with the error of the failed stage, or else of DVC after what the stage printed.
    """
    here = str(Path(sys.executable).parent)
    with tempfile.TemporaryDirectory() as scratch:
        # dvc.yaml runs `python`: make that this interpreter, even if the system only has `python3`.
        if shutil.which("python", path=here) is None:
            Path(scratch, "python").symlink_to(sys.executable)
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=folder,
            env=os.environ | {"PATH": os.pathsep.join([here, scratch, os.environ.get("PATH", "")])},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    if done.returncode:
        first = re.search(r"(?im)^error: (.*(?:\n  .*)*)", done.stderr)
        if first and first[1].startswith("failed to reproduce"):  # DVC's line: the stage gave none of its own
            sys.stderr.write(done.stderr[: first.start()])
        raise UserError(first[1] if first else f"dvc {arguments[0]} failed with status {done.returncode}")


def require_params_from_file() -> None:
    """Raises UserError if an environment variable overrides a parameter of a stage: DVC would not see it."""
    stages = read_yaml(Path("dvc.yaml"), "stages")["stages"].values()
    params = {str(name) for stage in stages for name in stage.get("params", ())}
    for variable in (each for each, value in os.environ.items() if value and each.upper().startswith(PREFIX)):
        key = variable.upper().removeprefix(PREFIX).replace(DELIMITER, ".").lower()
        if any(f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.") for name in params):
            raise UserError(f"{variable} is set, but trainings read params.yaml only; set {key} there")


def set_dvc_scm(in_commit: bool) -> None:
    """Switch DVC's git support off while the folder is not committed, and on afterwards."""
    off = LOCAL_CONFIG.exists() and "no_scm" in LOCAL_CONFIG.read_text(encoding="utf-8")
    if off == in_commit:
        run_dvc("config", "--local", *(["--unset", "core.no_scm"] if in_commit else ["core.no_scm", "true"]))


def save_experiment(name: str) -> None:
    """`dvc exp save`, so that `dvc exp show`, `dvc metrics diff` and others know the training by this name.

    If that fails, for example because git has no user name, only a warning is logged.
    """
    try:
        with _repo(Path()) as repo, _as_user_error(f"DVC cannot save {name} as an experiment"):
            repo.experiments.save(name=name, force=True, include_untracked=[LOCK.name])
    except UserError as error:
        logging.getLogger(__name__).warning("%s; the training itself is logged", error)


def run_digest(lock: Path = LOCK) -> str:
    """SHA-256 of the inputs and outputs of the run in a dvc.lock.

    Excludes the validation rules and the request: they do not change the model.
    """
    stages = {name: stage for name, stage in _stages(lock).items() if name != VALIDATE}
    return hashlib.sha256(json.dumps(stages, sort_keys=True).encode()).hexdigest()


def data_digest(lock: Path = LOCK) -> str:
    """The version of state/data in a dvc.lock: DVC's digest of the folder."""
    return ingest_digests(lock)[DATA.as_posix()]


def push_data() -> None:
    """Push the versions named by dvc.lock to the remote storage in .dvc/config, unless they are there."""
    with _repo(Path()) as repo, _as_user_error("the versions cannot be stored"):
        repo.push()


def restore(folder: Path) -> None:
    """Restore the outputs of `ingest` named by the dvc.lock in `folder`, another copy of the project.

    They come from this project's cache or else its remote storage. Raises UserError that names the versions
    and the remote if neither has them.
    """
    from configobj import ConfigObj  # type: ignore[import-untyped]

    with _repo(Path()) as here:
        cache = str(Path(here.cache.local.path).absolute())
        sections: dict[str, dict[str, Any]] = {"core": {"no_scm": "true"}, "cache": {"dir": cache}}
        for name, options in here.config["remote"].items():
            sections[f'remote "{name}"'] = dict(options)
        remote = here.config["core"].get("remote", "")
        url = here.config["remote"].get(remote, {}).get("url", "none is configured")
    config = ConfigObj(sections, encoding="utf-8")  # as DVC writes it, but DVC fails on non-ASCII paths
    config.filename = str(folder / LOCAL_CONFIG)
    config.write()
    with _repo(folder) as there, _as_user_error("the data of this run cannot be restored"):
        from dvc.exceptions import CheckoutError, DownloadError

        try:
            there.pull(targets=[str(folder / path) for path in ingest_digests(folder / LOCK)])
        except (CheckoutError, DownloadError):
            named = " and ".join(f"{path} {digest}" for path, digest in ingest_digests(folder / LOCK).items())
            raise UserError(
                f"the data of this run cannot be restored: {named} is complete neither in DVC's cache nor in"
                f" the remote {remote} ({url}); put its backup there (see docs: troubleshooting, data-gone)"
            ) from None


def ingest_digests(lock: Path) -> dict[str, str]:
    """DVC's digests of the outputs of the `ingest` stage."""
    return {str(out["path"]): str(out["md5"]) for out in _stages(lock)[INGEST]["outs"]}


def _stages(lock: Path) -> dict[str, Any]:
    return dict(yaml.load(lock.read_bytes(), Loader=yaml.CSafeLoader)["stages"])


@contextlib.contextmanager
def _repo(folder: Path) -> "Iterator[Repo]":
    """The project in `folder` as a DVC repository. DVC's messages are raised as exceptions, not printed."""
    with _as_user_error(f"{folder.absolute()} cannot be used with DVC"):
        from dvc.repo import Repo

        for name in ("dvc", "dvc_data", "dvc_objects"):  # importing them has set their levels
            logging.getLogger(name).setLevel(logging.CRITICAL)
        repo = Repo(str(folder.absolute()))
    with contextlib.closing(repo):
        yield repo


@contextlib.contextmanager
def _as_user_error(what: str) -> Iterator[None]:
    """Turn DVC's exceptions into one line: what failed, and the innermost cause."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from scmrepo.exceptions import SCMError

    try:
        yield
    except (DvcException, LockError, SCMError, OSError, sqlite3.Error) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise UserError(f"{what}: {' '.join(str(cause).split())}") from None
