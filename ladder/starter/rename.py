"""Renames a copied level: its package, and everything named after it."""

import importlib.util
import keyword
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from subprocess import CompletedProcess

from ladder import UserError
from ladder.levels import levels
from ladder.workcopy import own_files

PACKAGE = "bike_demand"
FOLDERS = {"build", "dist", "docs", "feed", "handoff", "live", "state", "tests"}  # the project's own
LINE = 110
MAX_LENGTH = 40
CAN_FORMAT = importlib.util.find_spec("ruff") is not None  # the light install has no ruff, which is 24 MB
FORMAT = "ruff check --select I --fix . && ruff format ."


def check_name(name: str, *, exists: bool = False) -> None:
    """Raises UserError for an invalid package name. `exists`: a project has it, so it may be installed."""
    if name == PACKAGE:
        return
    what = f"the package cannot be called {name}"
    if not re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z_][A-Za-z0-9_]*", name):
        raise UserError(f"{what}: use ASCII letters, digits and _, no digit first, as in taxi_demand")
    if len(name) > MAX_LENGTH:
        raise UserError(f"{what}: it has more than {MAX_LENGTH} characters")
    if keyword.iskeyword(name):
        raise UserError(f"{what}: it is a Python keyword")
    if name.lower() in FOLDERS:
        raise UserError(f"{what}: the project has a folder of that name for something else")
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        raise UserError(f"{what}: Python's standard library has a module of that name")
    if not exists and _is_installed(name):
        raise UserError(f"{what}: an installed package has that name")
    if used := _used(name):
        raise UserError(f"{what}: the name is already used in its code ({used})")


def _is_installed(name: str) -> bool:
    """Whether Python has such a module elsewhere than in the current folder, which `python -m` searches."""
    elsewhere = [each for each in sys.path if Path(each or ".").resolve() != Path.cwd()]
    return name in sys.modules or PathFinder.find_spec(name, elsewhere) is not None


def run_python(project: Path, *arguments: str, python: str = sys.executable) -> CompletedProcess[str]:
    """Run code of a project, which prints in UTF-8 on every system; nothing is left behind."""
    return subprocess.run(
        [python, "-B", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def dashed(name: str) -> str:
    """The name of the distribution, image and registered model of such a package."""
    return re.sub("_+", "-", name).strip("-").lower()


def name_project(folder: Path, name: str) -> None:
    """Name a copied level: package, distribution, image, registered model, metrics, events, variables."""
    others = {
        rf"\b{PACKAGE}_": f"{name}_",
        rf"\b{dashed(PACKAGE)}\b": dashed(name),
        r"\bBIKE_": f"{name.upper()}_",
    }
    _rename(folder, PACKAGE, name, others)


def rename_package(folder: Path, old: str, name: str) -> None:
    """Rename the package in a folder that holds a whole project, and nothing that others may know."""
    _rename(folder, old, name, {})


def _rename(folder: Path, old: str, name: str, others: Mapping[str, str]) -> None:
    if name == old or not (folder / old).is_dir():
        return
    names = {rf"(?<![\w-]){old}(?![\w-])": name, **others}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if b"\0" not in content:
            text = content.decode("utf-8")
            for pattern, word in names.items():
                text = re.sub(pattern, word, text)
            path.write_bytes(text.encode("utf-8"))
    (folder / old).rename(folder / name)
    _format(folder)
    _allow_longer_lines(folder, len(name) > len(PACKAGE))


def _used(name: str) -> str:
    """A file that imports the package itself and uses the new name for something else; "" if none."""
    for level in levels():
        for path in own_files(level.folder):
            if path.suffix == ".py":
                text = (level.folder / path).read_text(encoding="utf-8")
                if re.search(rf"(?m)^\s*import {PACKAGE}\b", text) and re.search(rf"\b{name}\b", text):
                    return path.as_posix()
    return ""


def _allow_longer_lines(folder: Path, needed: bool) -> None:
    """Comments and texts are not wrapped by a formatter, so allow the longer lines of a longer name."""
    path = folder / "pyproject.toml"
    text = re.sub(r"\[tool\.ruff\.lint\.pycodestyle\]\n.*\n\n", "", path.read_text(encoding="utf-8"))
    files = (each.read_text(encoding="utf-8") for each in folder.rglob("*.py"))
    longest = max(len(line) for each in files for line in each.splitlines())
    if needed and longest > LINE:
        own = (
            f"[tool.ruff.lint.pycodestyle]\nmax-line-length = {longest} # of texts; code wraps at {LINE}\n\n"
        )
        text = text.replace("[tool.mypy]\n", f"{own}[tool.mypy]\n", 1)
    path.write_text(text, encoding="utf-8", newline="\n")


def _format(folder: Path) -> None:
    """Wrap and sort again: the order of imports and the length of lines depend on the name."""
    if not CAN_FORMAT:
        return
    common = ["--quiet", "--no-cache", "--config", "pyproject.toml", "."]
    for command in (["check", "--select", "I", "--fix"], ["format"]):
        done = run_python(folder, "-m", "ruff", *command, *common)
        if done.returncode:
            raise UserError(
                f"the renamed code could not be formatted: {(done.stderr or done.stdout).strip()}"
            )
