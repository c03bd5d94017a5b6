"""The `python` that a replay's commands find."""

import os
import shlex
import socket
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import psutil

from ladder import ROOT
from ladder.warm import handover

# What a training, its stages and the service of a test environment import, but for ONNX Runtime, which
# starts a thread.
LIBRARIES = (
    "sklearn.ensemble",
    "skl2onnx",
    "matplotlib.backends.backend_svg",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "dvc.cli.parser",
    "dvc.repo",
    "fastapi",
    "uvicorn",
)
MODULES = ("bike_demand", "bike_demand.stages", "dvc")  # what is forked; a measurement of memory must not be
CAN = sys.platform == "linux"
_ONE_THREAD = {  # the settings of NumPy and pyarrow for it; a process with threads is not to be forked
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class WarmPython:
    """While it is open, `sys.executable` of this process is a Python that forks."""

    def __init__(self, folder: Path, libraries: Sequence[str] = LIBRARIES) -> None:
        self._folder, self._libraries = folder, libraries
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "WarmPython":
        if not CAN:
            return self
        script = _write_script(self._folder, sys.executable)
        address = f"\0ladder-{uuid.uuid4().hex}"  # abstract socket, which disappears with its server
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()  # who comes before the libraries are imported waits
            self._server = subprocess.Popen(
                [sys.executable, "-m", "ladder.warm.server", str(listener.fileno()), *self._libraries],
                cwd=ROOT,
                env=os.environ | _ONE_THREAD,
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(),),
            )
        self.cold, self._address_before = sys.executable, os.environ.get(handover.ADDRESS)
        os.environ[handover.ADDRESS] = address[1:]
        sys.executable = str(script)
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is None:
            return
        sys.executable = self.cold
        del os.environ[handover.ADDRESS]
        if self._address_before is not None:
            os.environ[handover.ADDRESS] = self._address_before
        assert self._server.stdin is not None
        self._server.stdin.close()  # by which it knows
        self._server.wait()
        self._server = None

    def cpu_seconds(self) -> float:
        """What it and all that was forked and has ended used, user and system, until it is closed."""
        if self._server is None:
            return 0.0
        return sum(psutil.Process(self._server.pid).cpu_times()[:4])


def _write_script(folder: Path, cold: str) -> Path:
    """Write `python` to that folder: it hands over what can be forked, and runs `cold` for all else."""
    known = " | ".join(shlex.quote(f"-m {module}") for module in MODULES)
    python = shlex.quote(cold)
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "python"
    half = folder / f".python.{os.getpid()}"
    hand_over = f"{python} -ISE {shlex.quote(handover.__file__)}"
    half.write_text(
        f'#!/bin/sh\ncase "$1 $2" in {known}) exec {hand_over} {python} "$@" ;; esac\nexec {python} "$@"\n',
        encoding="utf-8",
    )
    half.chmod(0o755)
    half.replace(script)
    return script
