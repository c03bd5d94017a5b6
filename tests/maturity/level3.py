"""Tools for the proofs of level 3: a hand that types fast, what stores and logs hold, models gone wrong."""

import ast
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import yaml

from ladder.service import APPLICATION, Service
from ladder.steps import environment, run_in_process
from ladder.world.feedfile import INPUTS
from tests.maturity.conftest import copied, edit, same_rows, seal
from tests.maturity.level2 import (
    Store,
    apart,
    commit,
    handoff,
    learning_rate,
    restored,
    stage_outs,
    stored,
)

# ---- typing


def _begin(project: Path, values: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)
    sys.path.insert(0, str(project))


def _typed(command: str, folder: Path) -> str:
    os.chdir(folder)
    return run_in_process(command, folder)


class Hand:
    """Types commands of a project, as a replay does: in one process that imports the project's code once.

    They may be typed in a copy of the project too, as long as that has the same code.
    """

    def __init__(self, project: Path) -> None:
        self._process = ProcessPoolExecutor(1, get_context("spawn"), _begin, (project, environment()))

    def run_command(self, command: str, folder: Path) -> str:
        """What the command printed. Raises UserError with its last line where it fails."""
        return self._process.submit(_typed, command, folder).result()

    def let_go(self) -> None:
        """End the process."""
        self._process.shutdown()


@contextmanager
def hand(project: Path) -> Iterator[Hand]:
    """A hand that is let go of afterwards."""
    made = Hand(project)
    try:
        yield made
    finally:
        made.let_go()


def scored(folder: Path, typing: Hand, rows: pd.DataFrame) -> list[float]:
    """What the scoring script of a project answers to these rows."""
    given = folder / "rows.csv"
    rows[INPUTS].to_csv(given, index=False, date_format="%Y-%m-%dT%H:%M:%S", lineterminator="\n")
    typing.run_command("python -m bike_demand predict rows.csv predictions.csv", folder)
    answers: list[float] = pd.read_csv(folder / "predictions.csv")["prediction"].tolist()
    return answers


def service_of_tests(folder: Path, log: Path) -> Service:
    """The service of the test environment of a project."""
    return Service(folder, log, env=environment(), command=[*APPLICATION, "--environment", "test"])


def without_services(folder: Path, target: Path) -> Path:
    """A copy of a project to break things in, with a store of its own and no service next to it."""
    copy = apart(folder, target)
    address = yaml.safe_load((copy / "params.yaml").read_text(encoding="utf-8"))["environments"]["test"]
    edit(copy / "params.yaml", f'url: "{address["url"]}"', 'url: ""')
    commit(copy, "No service of the test environment runs here")
    return copy


# ---- what is logged


@dataclass(frozen=True)
class Decision:
    """A deployment, as its row in the database has it."""

    row: dict[str, Any]

    def gate(self, name: str) -> dict[str, Any]:
        """A gate's result, with its evidence."""
        (found,) = (each for each in self.row["gates"] if each["gate"] == name)
        return dict(found)

    def gates(self) -> dict[str, bool]:
        """The gates that were tried, in order, and whether each was passed."""
        return {each["gate"]: each["passed"] for each in self.row["gates"] if each["passed"] is not None}


@dataclass(frozen=True)
class Registered:
    """A registered version."""

    number: str
    run_id: str
    created: pd.Timestamp  # in UTC
    tags: dict[str, str]
    source: str


JSON = ("gates", "test", "ab", "watch", "policy")  # columns of a deployment


class Registry(Store):
    """What is logged of models and of their deployments."""

    def aliases(self) -> dict[str, str]:
        """Which version has which alias; none before anything is registered."""
        if not self._file.exists():  # a client would make it next to the services, which may do so too
            return {}
        return {alias: str(each.version) for each in self.versions() for alias in each.aliases}

    def version(self, number: str) -> Registered:
        found = self._client.get_model_version(self._model, number)
        created = pd.Timestamp(found.creation_timestamp, unit="ms")
        return Registered(str(found.version), found.run_id, created, dict(found.tags), found.source)

    def registered(self) -> list[Registered]:
        """All versions, ascending."""
        return [self.version(str(each.version)) for each in self.versions()]

    def deployments(self) -> list[Decision]:
        """All deployments, in order of time."""
        found = rows(self._file.with_name("production.db"), "SELECT * FROM deployments ORDER BY id")
        records = found.astype(object).where(found.notna(), None).to_dict("records")
        return [
            Decision(
                {
                    str(name): json.loads(value) if name in JSON and value else value
                    for name, value in row.items()
                }
            )
            for row in records
        ]

    def decision(self, number: str) -> Decision:
        """The last deployment of a version."""
        return [each for each in self.deployments() if each.row["version"] == int(number)][-1]

    def deployment(self, number: str) -> Decision:
        """Its first deployment."""
        return next(each for each in self.deployments() if each.row["version"] == int(number))

    def register(self, like: str, handoff: Path, holdout: str) -> str:
        """Register a model as the version `like` was, with the same data and this holdout run; its number."""
        old = self.run(self.version(like).run_id)
        digest = json.loads((handoff / "model.json").read_text(encoding="utf-8"))["version"]
        run_id = self._another(old, handoff, digest, {"holdout_run_id": holdout})
        tags = dict(self.version(like).tags)
        for name in ("deployment", "ab", "ab_ratio"):
            tags.pop(name, None)
        made = self._client.create_model_version(
            self._model,
            self._client.get_model_version_download_uri(self._model, like),
            run_id,
            tags=tags | {"digest": digest, "holdout_run_id": holdout},
        )
        return str(made.version)

    def holdout(self, like: str, handoff: Path) -> str:
        """Log a holdout model as that of the version `like` was; the id of its run."""
        return self._another(self.run(self.version(like).tags["holdout_run_id"]), handoff, "holdout", {})

    def _another(self, run: Any, handoff: Path, digest: str, tags: dict[str, str]) -> str:
        """A run like another one, but with another hand-off; its id."""
        from mlflow.entities import DatasetInput

        kept = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
        made: str = self._client.create_run(
            run.info.experiment_id, tags=kept | {"digest": digest} | tags
        ).info.run_id
        self._client.log_artifacts(made, str(handoff), "handoff")
        inputs = [DatasetInput(each.dataset, each.tags) for each in run.inputs.dataset_inputs]
        self._client.log_inputs(made, inputs)
        self._client.set_terminated(made)
        return made


def rows(database: Path, query: str) -> pd.DataFrame:
    """The result of a query on a database file, without the level's own code."""
    with closing(sqlite3.connect(database)) as connection:
        return pd.read_sql_query(query, connection)


def answered(database: Path) -> pd.DataFrame:
    """The prediction log, with the inputs as columns and the true count of each hour where it is known."""
    found = rows(
        database,
        "SELECT predictions.*, outcomes.label AS came_true FROM predictions"
        " LEFT JOIN outcomes USING (event_time)",
    )
    requests = pd.DataFrame(found["inputs"].map(json.loads).tolist(), index=found.index)
    log = found.drop(columns=["event_time", "inputs"]).join(requests)
    hours = pd.to_datetime(found["event_time"])
    return log.assign(hour=hours, made_at=pd.to_datetime(found["made_at"]))


def errors(log: pd.DataFrame, version: str, other: str) -> tuple[pd.Series, pd.Series]:
    """Absolute errors of two versions in the hours that both answered: of each hour the first answer."""
    both = log[
        log[["version", "other_version"]].apply(lambda each: set(each) == {int(version), int(other)}, axis=1)
    ]
    both = both.sort_values(["made_at", "id"]).drop_duplicates("hour").sort_values("hour")
    shown = both["version"] == int(version)
    mine = both["prediction"].where(shown, both["other_prediction"])
    theirs = both["other_prediction"].where(shown, both["prediction"])
    return (mine - both["came_true"]).abs(), (theirs - both["came_true"]).abs()


def drawn(hour: datetime, share: float, salt: str) -> str:
    """Whose answer is shown for an hour, by the rule that is documented: a salted hash."""
    digest = hashlib.sha256(f"{salt}\n{hour:%Y-%m-%dT%H:%M:%S}".encode()).digest()
    return "challenger" if int.from_bytes(digest[:8], "big") < share * 2**64 else "champion"


def restore(folder: Path, version: Registered, feed: pd.DataFrame, code: str) -> None:
    """Fails unless a version's data, model and code are where version control has them, as they were then.

    `feed` is what was published when it was trained, `code` the commit.
    """
    registry, remote = Registry(folder), folder / "state" / "dvc-remote"
    lock = registry.artifact(version.run_id, "dvc.lock")
    same_rows(restored(remote, stage_outs(lock, "ingest")["state/data"]), feed)
    entries = json.loads(stored(remote, stage_outs(lock, "train")["state/run/refit"]).read_bytes())
    (model,) = (each["md5"] for each in entries if each["relpath"] == "model.onnx")
    content = stored(remote, model).read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith(version.tags["digest"])
    run = registry.run(version.run_id)
    assert (run.data.tags["git.commit"], run.data.tags["git.uncommitted"]) == (code, "false")
    assert learning_rate(folder, code) == run.data.params["learning_rate"]


# ---- models gone wrong


Change = Callable[[onnx.ModelProto], None]


class Workshop:
    """A copy of a project in which somebody registers models that a training could have made badly."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.registry = folder, Registry(folder)
        self._scratch, self._count = scratch, count()

    def register(self, like: str, change: Change, change_holdout: Change | None = None) -> str:
        """Register a version with a changed model and, optionally, holdout model; returns its number.

        Checksums, digest and golden rows match, as if training had made it so.
        """
        version = self.registry.version(like)
        model = self._changed(version.run_id, change)
        holdout: str = version.tags["holdout_run_id"]
        if change_holdout is not None:
            holdout = self.registry.holdout(like, self._changed(holdout, change_holdout))
        return self.registry.register(like, model, holdout)

    def _changed(self, run_id: str, change: Change) -> Path:
        """The hand-off of a run with another model, and papers that fit that."""
        original = handoff(self.folder, run_id)
        target = copied(original, self._scratch / "handoffs" / str(next(self._count)))
        model = onnx.load(original / "model.onnx")
        change(model)
        seal(target, model.SerializeToString())
        return target


# ---- what tests call

# Put in front of what a Python runs: notes each function of the project when it is called the first time.
NOTE_CALLS = """
import os, sys, threading
inside = os.sep + "bike_demand" + os.sep
seen = set()
notes = os.path.join(os.environ["NOTED_CALLS"], str(os.getpid()))
file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def note(frame, event, arg):
    if event == "call" and frame.f_code not in seen:
        seen.add(frame.f_code)
        _, found, path = frame.f_code.co_filename.rpartition(inside)
        if found:  # in this project, or in a copy that a test made of it
            os.write(file, (path.replace(os.sep, "/") + "::" + frame.f_code.co_qualname + chr(10)).encode())
sys.setprofile(note)
threading.setprofile(note)
"""


def calls(folder: Path, noted: Path, command: str) -> set[str]:
    """The package's functions that are called while a command runs in a project, by it and its children."""
    noted.mkdir()
    in_front = noted.with_name(f"in-front-of-{noted.name}")
    in_front.mkdir()
    (in_front / "sitecustomize.py").write_text(NOTE_CALLS, encoding="utf-8")
    program, *arguments = command.split()
    assert program == "python"
    values = {"NOTED_CALLS": str(noted), "PYTHONPATH": str(in_front)}
    # Whether tests pass is not checked here: to be noted takes time, and some of them are about time.
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment() | values, check=False)
    return {line for path in noted.iterdir() for line in path.read_text(encoding="utf-8").splitlines()}


def functions(package: Path) -> set[str]:
    """The functions and methods of a package, by file and name."""
    found: set[str] = set()

    def look(path: str, node: ast.AST, name: str) -> None:
        for each in ast.iter_child_nodes(node):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(f"{path}::{name}{each.name}")
                look(path, each, f"{name}{each.name}.<locals>.")
            elif isinstance(each, ast.ClassDef):
                look(path, each, f"{name}{each.name}.")
            else:
                look(path, each, name)

    for file in package.rglob("*.py"):
        look(file.relative_to(package).as_posix(), ast.parse(file.read_text(encoding="utf-8")), "")
    return found
