"""Runs the steps of a runbook in a working copy: real commands, and manual work as file moves."""

import contextlib
import importlib
import io
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ladder import UserError, process, runbook
from ladder.service import Service
from ladder.workcopy import home

Run = Callable[[str, Path], str]
NOTEBOOK_SEED = 20110101  # the seed of a replay; the notebook itself sets no seed


def run_step(step: runbook.Step, folder: Path, run: Run, service: Service | None = None) -> str:
    """Do one step of a runbook in a project's folder. Returns its output.

    `run` executes a command line in that folder. Raises UserError if a step fails.
    """
    output = ""
    if step.pastes:
        runbook.paste(folder, step.pastes)
    if step.copies:
        runbook.copy(folder, step.copies)
    if step.command:
        output = run(step.command, folder)
    if step.restarts and service is not None:
        service.stop()
        service.start()
    return output


def run_command(command: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command line in a process of its own, as typed by a person, and wait. Returns its output.

    Raises UserError with the last line of output if it fails.
    """
    return _checked(command, *process.run(resolve_command(command), env or environment(), folder))


def _checked(command: str, status: int, output: str) -> str:
    if status:
        *_, last = ["", *filter(str.strip, output.splitlines())]
        raise UserError(f"`{command}` failed with exit status {status}: {last}")
    return output


def resolve_command(command: str) -> list[str]:
    """The command line with its program as a path. Raises UserError if there is no such program."""
    program, *arguments = shlex.split(command)
    path = shutil.which(program, path=environment()["PATH"])
    if path is None:
        raise UserError(f"program not found: {program} (needed for `{command}`)")
    return [path, *arguments]


def environment() -> dict[str, str]:
    """The environment of commands in a working copy: this Python first, no file in the home folder."""
    tools = home() / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # Drop users' own settings: a working copy has its own feed, and must not write to their servers. Compiled
    # code is kept in it despite their settings: hundreds of processes would each compile it again.
    theirs = ("BIKE_", "GIT_", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return env | {
        "PATH": path,
        "LADDER_HOME": str(home()),  # whatever the current folder is
        "IPYTHONDIR": str(tools / "ipython"),
        "JUPYTER_CONFIG_DIR": str(tools / "jupyter"),
        "JUPYTER_DATA_DIR": str(tools / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(tools / "jupyter-runtime"),
        "MPLCONFIGDIR": str(tools / "matplotlib"),
        "XDG_CACHE_HOME": str(tools / "cache"),
        # Levels train side by side: OpenMP threads that busy-wait for each other would cost minutes.
        "OMP_NUM_THREADS": "1",
        # A story stops hundreds of services, none of which has a proxy that polls it.
        "BIKE_SERVING__DRAIN_SECONDS": "0",
    }


def enter(folder: Path) -> None:
    """Turn this process over to a working copy for good: current folder, package, environment."""
    env = environment()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path.insert(0, str(folder))


def run_in_process(command: str, folder: Path) -> str:
    """Run a level's own command without starting an interpreter each day; other commands as processes.

    Raises UserError with the command's last line if it fails.
    """
    match shlex.split(command):
        case ["python", "-m", "bike_demand", *arguments]:
            module = "bike_demand.__main__"
        case ["python", "score.py", *arguments]:
            module = "score"
        case ["jupyter", *_]:
            return run_command(command, folder, environment() | _seeded(folder))
        case _:
            return run_command(command, folder)
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = importlib.import_module(module).main(arguments)
    return _checked(command, status, output.getvalue())


def _seeded(folder: Path) -> dict[str, str]:
    """The environment of a notebook whose random seed is fixed, so that a replay is repeatable: IPython runs
    the files in a profile's folder `startup` before the first cell.
    """
    startup = folder / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    code = f"import numpy\nnumpy.random.seed({NOTEBOOK_SEED})\n"
    (startup / "seed.py").write_text(code, encoding="utf-8")
    return {"IPYTHONDIR": str(folder / ".ipython")}
