"""A level's application as a process of its own: started, waited for, stopped with all its children."""

import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx
import psutil
import tenacity

from data import UserError

START_SECONDS = 60  # wall time: a laptop that also trains may take long to import


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """The application of the project in `folder`; its output goes to `log`.

    A context manager: on the way out the process is stopped, whatever happened.
    """

    def __init__(
        self, folder: Path, log: Path, port: int | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.log, self.port = folder, log, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return once it answers. Raises UserError with its last word when it ends instead."""
        command = [sys.executable, "-m", "bike_demand", "serve", "--host", "127.0.0.1"]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(START_SECONDS),
            wait=tenacity.wait_fixed(0.05),
            retry=tenacity.retry_if_exception_type(httpx.TransportError),
            reraise=True,
        ):
            with attempt:
                if self._process.poll() is not None:
                    raise UserError(f"the application of {self.folder} did not start: {self._last_word()}")
                httpx.get(f"{self.url}/live", timeout=5).raise_for_status()

    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Wait until the process ends by itself; its exit status."""
        return self._process.wait() if self._process else 0

    def stop(self) -> None:
        """Ask the process to end, and its children; after ten seconds, end them."""
        if self._process is None:
            return
        try:
            root = psutil.Process(self._process.pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        for process in family[:1]:
            process.terminate()  # the parent takes its workers down with it
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            process.kill()
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop it and start it anew, at the same address."""
        self.stop()
        self.start()

    def __enter__(self) -> "Service":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _last_word(self) -> str:
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line]
        return f"{lines[-1]} (all of it: {self.log})" if lines else f"it said nothing ({self.log})"
