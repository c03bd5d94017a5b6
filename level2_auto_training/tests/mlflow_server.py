"""A real MLflow server on this machine, with a database and files of its own."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.service import free_port

PATIENCE_SECONDS = 100


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: psutil.Popen

    def stop(self) -> None:
        """End it with the processes that it started."""
        if not self.process.is_running():
            return
        family = [*self.process.children(recursive=True), self.process]
        for member in family:
            member.terminate()
        _, alive = psutil.wait_procs(family, timeout=20)
        for member in alive:
            member.kill()


@contextmanager
def mlflow_server(folder: Path) -> Iterator[Server]:
    """MLflow's server of runs and models, once it responds. Its state lies in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    database = (folder / "server.db").as_posix()
    command = ["server", "--backend-store-uri", f"sqlite:///{database}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "files")]
    # Else it starts a dozen processes that nobody needs.
    switches = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "HOME": str(folder)}
    with _responding(command, folder, switches) as server:
        yield server


@contextmanager
def model_server(model: str, store: str, folder: Path) -> Iterator[Server]:
    """`mlflow models serve`, once it responds: `model` as the address of a version in the store."""
    command = ["models", "serve", "--model-uri", model, "--env-manager", "local"]
    with _responding(command, folder, {"MLFLOW_TRACKING_URI": store}) as server:
        yield server


@contextmanager
def _responding(command: list[str], folder: Path, switches: dict[str, str]) -> Iterator[Server]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    switches |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONUNBUFFERED": "1"}
    # `mlflow models serve` starts programs of its environment by their names.
    switches["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    log = folder / "server.log"
    with log.open("wb") as output:
        process = psutil.Popen(
            [sys.executable, "-m", "mlflow", *command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env={**os.environ, **switches},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(url, process)
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the server did not start: {log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.1)
        yield server
    finally:
        server.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
