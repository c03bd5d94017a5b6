"""A copy of the project as a team has it: a git repository with its code committed, and a feed next to it."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.feedmaker import MONTHS, copy_params, write_feed

ROOT = Path(__file__).parents[1]
# Of the folders: people have such paths, and each of these characters means something to one of the tools.
NAME = "a project, #1 of 50%20 [grün] & 'so on'; a=b"
FILES = (
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
    "dvc.yaml",
    "pyproject.toml",
    "requirements.lock",
)


def make_copy(folder: Path, months: Iterable[str] = MONTHS, **params: str) -> Path:
    """Make it in the folder; the folder. `params` are settings to change, by their key in params.yaml."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    copy_params(folder)
    shutil.copytree(
        ROOT / "bike_demand", folder / "bike_demand", ignore=shutil.ignore_patterns("__pycache__")
    )
    put_toy(folder)
    # No server that happens to run on this machine is to take part.
    change_params(folder, **({"api": '""'} | params))
    write_feed(folder / "feed", months)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / ".git" / "info" / "exclude").write_text("/feed/\n", encoding="utf-8")
    commit(folder)
    return folder


def put_toy(folder: Path) -> None:
    """Put the toy in the place of the copy's problem. Its processes are to have no BIKE_PROBLEM."""
    problem = folder / "bike_demand" / "problem"
    shutil.rmtree(problem)
    problem.mkdir()
    shutil.copy(ROOT / "tests" / "toy" / "__init__.py", problem)


def change_params(folder: Path, **values: str) -> None:
    """Set each key, wherever it stands in params.yaml, to the value."""
    path = folder / "params.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    for key, value in values.items():
        (at,) = [number for number, line in enumerate(lines) if line.strip().startswith(f"{key}:")]
        lines[at] = f"{lines[at][: lines[at].index(key)]}{key}: {value}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def commit(folder: Path) -> None:
    """Commit all there is."""
    git(folder, "add", "--all")
    who = ("-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    git(folder, *who, "commit", "--quiet", "--message", "As it is")


def git(folder: Path, *arguments: str) -> str:
    """What git says in the folder."""
    settings = ("-c", "core.autocrlf=false")
    return subprocess.run(
        ["git", *settings, *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
