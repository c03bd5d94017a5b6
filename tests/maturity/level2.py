"""Tools for the proofs of level 2: what its store has logged, who owns what, and copies to break."""

import importlib
import io
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import onnx
import pandas as pd
import tenacity
import yaml
from onnx import helper, numpy_helper

from ladder.runbook import Runbook, Step, load
from ladder.steps import environment
from ladder.up import server_of
from tests.maturity.conftest import copied, edit, git

MODEL = "bike-demand"
# A mistake in the scoring script.
OFF_BY_ONE = (
    "model.predict_columns(input_columns(rows)),",
    "[each + 1 for each in model.predict_columns(input_columns(rows))],",
)


class Store:
    """Runs and versions, as any client of MLflow sees them: nothing of the level's own code is in between."""

    def __init__(self, folder: Path, model: str = MODEL) -> None:
        self._file, self._model = folder / "state" / "mlflow.db", model

    @cached_property
    def _client(self) -> Any:
        """Created on first use: it creates a database, which the level may be about to do."""
        uri = f"sqlite:///{self._file.as_posix()}"
        return importlib.import_module("mlflow").MlflowClient(uri, uri)

    def runs(self, where: str = "", order: str = "attributes.start_time ASC") -> list[Any]:
        """The runs that fit, in that order."""
        everywhere = [each.experiment_id for each in self._client.search_experiments()]
        return list(self._client.search_runs(everywhere, where, order_by=[order]))

    def run(self, run_id: str) -> Any:
        return self._client.get_run(run_id)

    def versions(self) -> list[Any]:
        """The registered versions, ascending, with their aliases."""
        found = self._client.search_model_versions(f"name = '{self._model}'")
        numbers = sorted(int(each.version) for each in found)
        return [self._client.get_model_version(self._model, str(number)) for number in numbers]

    def champion(self) -> str | None:
        """The number of the version that is live."""
        found = [each.version for each in self.versions() if "champion" in each.aliases]
        return str(found[0]) if found else None

    def nothing_is_live(self) -> None:
        self._client.delete_registered_model_alias(self._model, "champion")

    def artifact(self, run_id: str, name: str) -> bytes:
        """What a file says that a run kept."""
        with tempfile.TemporaryDirectory() as scratch:
            return Path(self._client.download_artifacts(run_id, name, scratch)).read_bytes()

    def artifacts(self, run_id: str, folder: str | None = None) -> set[str]:
        """The names of what a run kept."""
        return {each.path for each in self._client.list_artifacts(run_id, folder)}


def training(book: Runbook) -> Step:
    """The one step of a release that the machine does."""
    (found,) = (each for each in book.release if not each.by_hand)
    return found


def by_hand(book: Runbook) -> list[Step]:
    """What people do, in order; the last step is what puts a version live."""
    return [each for each in book.release if each.by_hand]


def commit(folder: Path, message: str) -> str:
    """Commit all changes; the commit."""
    who = ("-c", "user.name=Data scientist", "-c", "user.email=data-scientist@localhost")
    git(folder, *who, "-c", "commit.gpgsign=false", "commit", "--quiet", "--all", "--message", message)
    return git(folder, "rev-parse", "HEAD").strip()


def learning_rate(folder: Path, code: str) -> str:
    """The learning rate by the files of a commit: that of the settings or, without one, the model's own."""
    given = yaml.safe_load(git(folder, "show", f"{code}:params.yaml"))["training"]["params"]
    defaults = git(folder, "show", f"{code}:bike_demand/problem/model.py")
    (default,) = re.findall(r"learning_rate: .* = ([\d.]+)", defaults)
    return str(given.get("learning_rate", default))


def rules(folder: Path) -> list[tuple[str, set[str]]]:
    """The patterns of a project's CODEOWNERS, each with its teams."""
    lines = (folder / ".github" / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    found = [line.split() for line in lines if line and not line.startswith("#")]
    return [(pattern, set(teams)) for pattern, *teams in found]


def owners(folder: Path) -> dict[str, set[str]]:
    """The teams that own each file of a project: as on GitHub, by the last rule that fits."""

    def fits(pattern: str, path: str) -> bool:
        inside = pattern.endswith("/") and path.startswith(pattern.lstrip("/"))
        return pattern == "*" or path == pattern.lstrip("/") or inside

    given = rules(folder)
    return {
        path: [teams for pattern, teams in given if fits(pattern, path)][-1]
        for path in git(folder, "ls-files").splitlines()
    }


def stage_outs(lock: bytes, stage: str) -> dict[str, str]:
    """The digest of each output of a stage, by path, from dvc.lock."""
    outs = yaml.safe_load(lock)["stages"][stage]["outs"]
    return {each["path"]: each["md5"] for each in outs}


def stored(remote: Path, digest: str) -> Path:
    """Where DVC keeps the content of that digest."""
    return remote / "files" / "md5" / digest[:2] / digest[2:]


def restored(remote: Path, digest: str) -> pd.DataFrame:
    """The rows of a version of the data, read from DVC's files and nothing else."""
    entries = json.loads(stored(remote, digest).read_bytes())
    months = {each["relpath"]: stored(remote, each["md5"]).read_bytes() for each in entries}
    read = [pd.read_parquet(io.BytesIO(months[name])) for name in sorted(months) if name[0] == "2"]
    return pd.concat(read, ignore_index=True)


def apart(folder: Path, target: Path) -> Path:
    """A copy to break things in, with a store of its own: MLflow writes whole paths into its database."""
    copied(folder, target)
    with closing(sqlite3.connect(target / "state" / "mlflow.db")) as database, database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for _, column, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?)'
                    f' WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                    (folder.as_posix(), target.as_posix(), folder.as_posix()),
                )
    return target


def handoff(folder: Path, run_id: str) -> Path:
    """Where a run keeps its model, in the default store of a project."""
    (found,) = (folder / "state" / "artifacts").glob(f"*/{run_id}/artifacts/handoff")
    return found


def mixed_up(model: onnx.ModelProto, order: Sequence[int]) -> None:
    """Let the model take its columns in another order."""
    for node in model.graph.node:
        node.input[:] = ["mixed_up" if name == "features" else name for name in node.input]
    indices = pd.array(list(order)).to_numpy("int64")
    model.graph.initializer.append(numpy_helper.from_array(indices, "order"))
    model.graph.node.insert(0, helper.make_node("Gather", ["features", "order"], ["mixed_up"], axis=1))


def deployments(folder: Path) -> list[dict[str, Any]]:
    """The deployments that prefect.yaml describes: each in a work pool, and once at a time."""
    found: list[dict[str, Any]] = yaml.safe_load((folder / "prefect.yaml").read_bytes())["deployments"]
    for deployment in found:
        assert deployment["work_pool"]["name"]
        assert deployment["concurrency_limit"] == 1
    return found


def crons(folder: Path) -> list[str]:
    """The schedules among them."""
    return [each["cron"] for found in deployments(folder) for each in found.get("schedules", [])]


@dataclass(frozen=True)
class Prefect:
    """A Prefect server that a level's runbook starts, and that the commands in `project` then use."""

    project: Path
    api: str

    def run(self, *arguments: str) -> None:
        """Run a command of Prefect, as prefect.yaml says."""
        env = environment() | {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(self.project / "state" / "prefect"),
        }
        command = [sys.executable, "-m", "prefect", *arguments]
        subprocess.run(command, cwd=self.project, env=env, check=True, capture_output=True)

    def deploy(self) -> None:
        """Deploy all that prefect.yaml has."""
        self.run("work-pool", "create", "--type", "process", "training")
        self.run("--no-prompt", "deploy", "--all")

    def found(self, what: str, **wanted: Any) -> list[dict[str, Any]]:
        """What the server knows: deployments, flow_runs, events."""
        answer = httpx.post(f"{self.api}/{what}/filter", json=wanted).raise_for_status().json()
        listed: list[dict[str, Any]] = answer["events"] if what == "events" else answer
        return listed

    def waited(self, what: str, **wanted: Any) -> list[dict[str, Any]]:
        """The same, once there is any."""
        for attempt in tenacity.Retrying(stop=tenacity.stop_after_delay(90), wait=tenacity.wait_fixed(0.5)):
            with attempt:
                listed = self.found(what, **wanted)
                assert listed
        return listed


@contextmanager
def prefect(project: Path) -> Iterator[Prefect]:
    """Start the server that the runbook has people look at."""
    (page,) = (each for each in load(project).pages if each.name == "Prefect")
    with server_of(page, project) as started:
        started.start()
        edit(project / "params.yaml", "api: http://127.0.0.1:4200/api", f"api: {started.url}/api")
        commit(project, "The server of this place")
        yield Prefect(project, f"{started.url}/api")
