"""A lab's working copy: creates its starting state, and performs steps in it as participants would."""

import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, count
from pathlib import Path

import ladder
from ladder import ROOT, UserError, process, runbook, workcopy
from ladder.bootstrap import environment_path
from ladder.lab.definition import Action, Change, Lab, LabStep, path_of
from ladder.levels import level
from ladder.service import Service
from ladder.steps import environment, resolve_command

Edits = Mapping[str, Sequence[Change]]


def folder_of(lab: Lab) -> Path:
    """Where participants work on a lab."""
    return workcopy.home() / "lab" / str(lab.number)


def is_prepared(lab: Lab) -> bool:
    """Whether the lab begins at once: it has a starting state, or was begun, or needs none."""
    return not lab.has_folder or folder_of(lab).is_dir() or _start(folder_of(lab).parent, lab).is_dir()


def _start(place: Path, lab: Lab) -> Path:
    return place / f".start-{lab.number}-{_digest(lab)}"


def begin(lab: Lab, port: int) -> Path:
    """Create the lab's folder in its starting state; an existing one is kept, see `name_for_old`.

    Raises UserError if an action of the start fails, or another command is creating one.
    """
    with workcopy.exclusive("lab") as place:
        folder, kept = place / str(lab.number), _start(place, lab)
        if old := name_for_old(lab):
            workcopy.rename(folder, old)
        # Made and copied at other names first, so that after Ctrl-C half of it looks like nothing.
        if not kept.is_dir():
            for outdated in place.glob(f".start-{lab.number}-*"):
                workcopy.remove(outdated)
            try:
                _make(lab, folder, port)  # at the final path, because stores contain absolute paths
                folder.rename(kept)
            finally:
                workcopy.remove(folder)
        part = workcopy.make_empty(place / f".part-{lab.number}")
        shutil.copytree(kept, part, symlinks=True, dirs_exist_ok=True)
        (part / workcopy.MARKER_FILE).touch()  # its time says when the lab began
        part.rename(folder)
    return folder


def name_for_old(lab: Lab) -> Path | None:
    """The name that the lab's folder gets when it is replaced: the first free of `N.old`, `N.old2`, ..."""
    folder = folder_of(lab)
    names = (folder.with_name(f"{folder.name}.old{number}") for number in chain([""], count(2)))
    return next(name for name in names if not name.exists()) if folder.exists() else None


def _make(lab: Lab, folder: Path, port: int) -> None:
    workcopy.make_empty(folder)
    for name, number in lab.start.levels.items():
        workcopy.make(level(number), folder / name)
    for action in lab.start.actions:
        status, output = act(action, folder, port)
        if status:
            last = output.strip().rpartition("\n")[2]
            raise UserError(f"lab {lab.number}: its starting state could not be made: {last}")


def _digest(lab: Lab) -> str:
    """A digest of everything that determines a starting state."""
    made = hashlib.sha256(path_of(lab).read_bytes())
    for number in sorted(set(lab.start.levels.values())):
        source = level(number).folder
        for name in workcopy.own_files(source):
            made.update((source / name).read_bytes())
    return made.hexdigest()[:12]


def act(action: Action, folder: Path, port: int) -> tuple[int, str]:
    """Perform an action in a lab's folder. Returns status and output. Raises UserError if that fails."""
    lab, folder = folder, folder / action.folder
    if action.copies:
        runbook.copy(folder, action.copies)
    for change in action.edits:
        edit(change, folder)
    if action.commits:
        workcopy.commit(folder, action.commits)
    if action.run:
        return run(resolve_command(fill_placeholders(action.run, port, lab)), folder)
    if action.python:
        return run([sys.executable, "-c", action.python], folder)
    return 0, ""


def fill_placeholders(text: str, port: int, folder: Path | None = None) -> str:
    """Text of a lab with the port of its application, and values that its starting state wrote to `lab.json`.

    These are values that differ between copies, like ids; the text has their keys in braces.
    """
    kept = None if folder is None else folder / "lab.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.is_file() else {}
    return runbook.fill_placeholders(text, {"port": port, **known})


def edit(change: Change, folder: Path) -> None:
    """Make the change. Raises UserError unless the old text occurs exactly once in the file."""
    path = folder / change.file
    text = change.new
    if change.old is not None:
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if before.count(change.old) != 1:
            raise UserError(
                f"{change.file}: {change.old.strip()!r} occurs {before.count(change.old)} times, not once"
            )
        text = before.replace(change.old, change.new)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def run(command: Sequence[str], folder: Path, seconds: float | None = None, **more: str) -> tuple[int, str]:
    """Run a command. Returns exit status and output. `more` are environment variables.

    Raises subprocess.TimeoutExpired.
    """
    return process.run(command, _around() | more, folder, seconds)


def _around() -> dict[str, str]:
    """The environment of commands in a lab, in which `python -m ladder` works."""
    return environment() | {"PYTHONPATH": str(Path(ladder.__file__).parent.parent), "PYTHONUTF8": "1"}


def make_ladder_importable() -> bool:
    """Make `python -m ladder` work in any folder, if the environment is the tool's own.

    Returns whether it does; not if the environment is shared and read-only.
    """
    if Path(sys.prefix).resolve() == environment_path().resolve():
        file = Path(sysconfig.get_path("purelib"), "mlops-ladder.pth")
        try:
            # Without an encoding, because Python reads such files in the machine's encoding.
            file.write_text(f"{ROOT}\n")
        except OSError:
            return file.is_file()
    return True


def activation_commands(
    folder: Path, *, importable: bool = True, windows: bool = os.name == "nt"
) -> dict[str, list[str]]:
    """The commands that a terminal needs to work in a folder with the tool's environment, by shell."""
    made = (
        {"PowerShell": [f'cd "{folder}"'], "cmd": [f'cd /d "{folder}"']}
        if windows
        else {"": [f'cd "{folder}"']}
    )
    if (prefix := Path(sys.prefix)) != Path(sys.base_prefix):
        scripts = {"PowerShell": "Scripts/Activate.ps1", "cmd": "Scripts/activate.bat", "": "bin/activate"}
        calls = {"PowerShell": "& ", "cmd": "", "": "source "}
        for shell, commands in made.items():
            commands.append(f'{calls[shell]}"{prefix / scripts[shell]}"')
    if not importable:
        variable = {"PowerShell": f'$env:PYTHONPATH="{ROOT}"', "cmd": f'set "PYTHONPATH={ROOT}"'}
        for shell, commands in made.items():
            commands.append(variable.get(shell, f'export PYTHONPATH="{ROOT}"'))
    return made


@contextmanager
def run_solution(
    lab: Lab,
    folder: Path,
    port: int,
    before: Callable[[LabStep], None] = lambda _: None,
    without: Sequence[str] = (),
    instead: Edits | None = None,
) -> Iterator[None]:
    """Perform all steps in a fresh copy, except those left out, some with other edits.

    Commands in a second terminal run until the end of the context. Raises UserError for a step whose command
    does not end as expected.
    """
    with ExitStack() as terminals:
        for number, step in enumerate(lab.steps, start=1):
            if step.id and step.id in without:
                continue
            before(step)
            if step.background:
                terminals.enter_context(_terminal(step, folder, port, number))
                continue
            other = (instead or {}).get(step.id) if step.id else None
            if other is not None:
                step = step.model_copy(update={"edits": other, "python": None})
            _do(lab, number, step, folder, port)
        yield


def _terminal(step: LabStep, folder: Path, port: int, number: int) -> Service:
    """A second terminal, in which a command keeps running."""
    command = resolve_command(fill_placeholders(step.run or "", port))
    probe = "/live" if " serve" in (step.run or "") else None
    made = Service(folder, folder / "state" / f"step-{number}.log", port, _around(), command, probe)
    made.start()
    return made


def _do(lab: Lab, number: int, step: LabStep, folder: Path, port: int) -> None:
    status, output = act(step, folder, port)
    where = f"lab {lab.number}, step {number}"
    if bool(status) != step.fails:
        raise UserError(f"{where}: `{step.run}` failed with exit status {status}: {output.strip()[-600:]}")
    if step.shows and not re.search(step.shows, output, re.MULTILINE):
        raise UserError(f"{where}: {step.shows!r} is not in its output: {output.strip()[-600:]}")
