"""Starts a level's application or another server, waits for it, and stops it with all its children."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import psutil
import tenacity

from ladder import UserError

APPLICATION = (sys.executable, "-m", "bike_demand", "serve", "--host", "127.0.0.1", "--port", "{port}")
START_SECONDS = 300  # wall time: a laptop that also trains may take long to import


def free_port() -> int:
    """A port on loopback on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_port_free(port: int) -> bool:
    """Whether nothing listens on that port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Service:
    """The application of the project in `folder`, or the server started by `command`; output goes to `log`.

    In `command`, `{port}` is the port, and `probe` the path that responds once the server is up; None: it has
    no port. A context manager that always stops the process on exit.
    """

    def __init__(
        self,
        folder: Path,
        log: Path,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = APPLICATION,
        probe: str | None = "/live",
    ) -> None:
        self.folder, self.log, self.port = folder, log, port or free_port()
        self._command, self._probe = command, probe
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return once it responds. Raises UserError with its log's last line if it ends or does
        not respond in START_SECONDS.
        """
        if self._probe is not None and not is_port_free(self.port):
            raise UserError(f"port {self.port} is in use; choose another with --port")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [part.replace("{port}", str(self.port)) for part in self._command],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if self._probe is None:
            return
        try:
            for attempt in tenacity.Retrying(
                stop=tenacity.stop_after_delay(START_SECONDS),
                wait=tenacity.wait_fixed(0.05),
                retry=tenacity.retry_if_exception_type(httpx.HTTPError),
            ):
                with attempt:
                    if self._process.poll() is not None:
                        raise UserError(f"{self.folder}: {self._name()} did not start: {self._last_line()}")
                    httpx.get(self.url + self._probe, timeout=5, trust_env=False).raise_for_status()
        except tenacity.RetryError as error:
            raise UserError(
                f"{self.folder}: {self._name()} did not respond in {START_SECONDS} s: {self._last_line()}"
            ) from error

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client of its API. Raises UserError with its log's last line if it stops responding meanwhile."""
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as client:  # no proxy
            try:
                yield client
            except httpx.TransportError as error:
                raise UserError(
                    f"{self.folder}: {self._name()} stopped responding: {self._last_line()}"
                ) from error

    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def cpu_seconds(self) -> float:
        """CPU seconds of the process and its running children, user and system; 0 without a process."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return sum(sum(each.cpu_times()[:2]) for each in self._process_tree())
        return 0.0

    def wait(self) -> int:
        """Wait until the process ends by itself. Returns its exit status."""
        return self._process.wait() if self._process else 0

    def stop(self) -> None:
        """Terminate the process and its children; kill them after ten seconds."""
        if self._process is None:
            return
        family = self._process_tree()
        for process in family[:1]:
            process.terminate()  # the parent stops its workers
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            process.kill()
        self._process.wait()
        self._process = None

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _process_tree(self) -> list[psutil.Process]:
        """The process and its children; empty if it has ended."""
        if self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(self._process.pid)
                return [root, *root.children(recursive=True)]
        return []

    def _name(self) -> str:
        return "the application" if self._command is APPLICATION else f"`{' '.join(self._command)}`"

    def _last_line(self) -> str:
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line]
        return f"{lines[-1]} (see {self.log})" if lines else f"no output ({self.log})"
