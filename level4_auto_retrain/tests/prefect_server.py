"""A real Prefect server on this machine, which can be killed and started again."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.conftest import ENVIRONMENT
from tests.service import free_port

PATIENCE_SECONDS = 120


class PrefectServer:
    """The server; keeps its state in `home` and its port across restarts."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, free_port()
        self.api = f"http://127.0.0.1:{self._port}/api"
        self._process: psutil.Popen | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = ("--host", "127.0.0.1", "--port", str(self._port))
        env = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
        switches = {"PREFECT_HOME": str(self._home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        with (self._home / "server.log").open("ab") as log:
            self._process = psutil.Popen(
                [sys.executable, "-m", "prefect", "server", "start", *where],
                env=env | switches,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            output = (self._home / "server.log").read_text(encoding="utf-8")
            assert self._process.poll() is None, output
            assert time.monotonic() < until, "the Prefect server did not start"
            time.sleep(0.3)

    def kill(self) -> None:
        """kill -9, of the server and what it started."""
        if self._process is None or not self._process.is_running():
            return
        everyone = [*self._process.children(recursive=True), self._process]
        for each in everyone:
            each.kill()
        psutil.wait_procs(everyone, timeout=20)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.api}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def prefect_server(home: Path) -> Iterator[PrefectServer]:
    """The server, once it answers."""
    home.mkdir(parents=True, exist_ok=True)
    server = PrefectServer(home)
    try:
        server.start()
        yield server
    finally:
        server.kill()
