"""Plays the steps of a runbook in a working copy: the commands for real, the hands as files moved."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from data import UserError
from ladder import runbook
from ladder.service import Service
from ladder.workcopy import home

Run = Callable[[str, Path], str]


def perform(step: runbook.Step, folder: Path, run: Run, service: Service | None = None) -> str:
    """Do one step of a runbook in a project's folder; what it printed.

    `run` carries out a command line in that folder. Raises UserError where a step fails.
    """
    output = ""
    if step.pastes:
        runbook.paste(folder, step.pastes)
    if step.copies:
        runbook.copy(folder, step.copies)
    if step.command:
        output = run(step.command, folder)
    if step.restarts and service is not None:
        service.restart()
    return output


def type_in(command: str, folder: Path) -> str:
    """Run a command line as a person types it, as a process of its own, and wait; what it printed.

    Raises UserError with its last line where it fails.
    """
    program, *arguments = shlex.split(command)
    env = environment()
    found = shutil.which(program, path=env["PATH"])
    if found is None:
        raise UserError(f"there is no program `{program}` to run `{command}` with")
    done = subprocess.run(
        [found, *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise UserError(f"`{command}` ended with status {done.returncode}: {lines[-1] if lines else ''}")
    return done.stdout


def environment() -> dict[str, str]:
    """The environment of what runs in a working copy: this Python first, no file in the home folder."""
    tools = home() / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # What somebody set for their own work: a working copy has its own feed, and writes into nobody's server.
    theirs = ("BIKE_", "MLFLOW_TRACKING_URI", "PREFECT_API_URL")
    env = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return env | {
        "PATH": path,
        "IPYTHONDIR": str(tools / "ipython"),
        "JUPYTER_CONFIG_DIR": str(tools / "jupyter"),
        "JUPYTER_DATA_DIR": str(tools / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(tools / "jupyter-runtime"),
        "MPLCONFIGDIR": str(tools / "matplotlib"),
        "XDG_CACHE_HOME": str(tools / "cache"),
        # Levels train side by side: OpenMP threads that wait busily for each other would cost minutes.
        "OMP_NUM_THREADS": "1",
    }
