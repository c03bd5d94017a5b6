"""The project's service as a process of its own, for tests that talk to it over HTTP."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from tests.conftest import ENVIRONMENT, ROOT

TIMEOUT_SECONDS = 60


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Service:
    """A running service: its process, and a client for its address."""

    process: subprocess.Popen[str]
    client: httpx.Client
    port: int


def start(project: Path, *arguments: str, python: Path = Path(sys.executable)) -> subprocess.Popen[str]:
    """Start `serve` in the project's folder."""
    # Without MLflow's switches too: this process may have set them, that one has to do so by itself.
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ENVIRONMENT and not name.startswith("MLFLOW_")
    }
    return subprocess.Popen(
        [str(python), "-m", "bike_demand", "serve", *arguments],
        cwd=project,
        env=env | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        process_group=0,  # so that `interrupt` reaches all of its processes
    )


@contextmanager
def running(project: Path, *arguments: str, python: Path = Path(sys.executable)) -> Iterator[Service]:
    """The service of a project on a free port, once it answers; it is stopped on the way out."""
    port = free_port()
    process = start(project, "--port", str(port), *arguments, python=python)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False, verify=False
        ) as client:
            _wait_for(client, process)
            yield Service(process, client, port)
    finally:
        interrupt(process)
        process.communicate(timeout=TIMEOUT_SECONDS)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Stop a service that runs, like Ctrl-C in a terminal: on SIGTERM it would drain first."""
    if sys.platform == "win32":
        process.terminate()
    elif process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)


def set_drain_seconds(project: Path, seconds: str) -> None:
    """Change how long the project's service drains on SIGTERM."""
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "drain_seconds: 5" in text
    params.write_text(text.replace("drain_seconds: 5", f"drain_seconds: {seconds}"), encoding="utf-8")


@contextmanager
def serve_in_thread(app: FastAPI, root_path: str = "") -> Iterator[httpx.Client]:
    """A client of an application that is served by a thread of this process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, root_path=root_path, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            while not server.started:
                time.sleep(0.005)
            with httpx.Client(base_url=url, timeout=30, trust_env=False, verify=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def _wait_for(client: httpx.Client, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            client.get("/live").raise_for_status()
            return
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the service did not start: {process.communicate()}") from None
        time.sleep(0.05)
