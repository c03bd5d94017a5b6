"""Generates the reference pages: the help text of every command, and every setting with its comment."""

import json
import subprocess
import sys
from functools import cache

from ladder.levels import Level, levels

WIDTH = 80
# Prints the help of every command of an application as JSON, sub-commands included.
HELP = """
import importlib, json, os, sys
os.environ |= {"COLUMNS": "%d", "TERM": "dumb", "NO_COLOR": "1"}
import typer
from typer.testing import CliRunner

application = importlib.import_module(sys.argv[1]).app
runner = CliRunner()
pages = {}

def collect(command, path):
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            collect(inner, [*path, name])
    if path and not getattr(command, "commands", {}):
        pages[" ".join(path)] = runner.invoke(application, [*path, "--help"], prog_name=sys.argv[2]).output

collect(typer.main.get_command(application), [])
json.dump(pages, sys.stdout)
"""


@cache
def helps(module: str, program: str, level: Level | None = None) -> dict[str, str]:
    """The help text of each command of a program, by command words.

    `level`: the level that the program belongs to. Raises CalledProcessError if it does not start.
    """
    ended = subprocess.run(
        [sys.executable, "-c", HELP % WIDTH, module, program],
        cwd=None if level is None else level.folder,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    pages: dict[str, str] = json.loads(ended.stdout)
    return {
        name: "\n".join(line.rstrip() for line in text.strip().splitlines()) for name, text in pages.items()
    }


def commands() -> str:
    """The page of all commands: the tool's, then the levels', each where it first appears."""
    parts = ["# Commands\n", "The help of each command, as it prints it.\n", "## The tool\n"]
    parts += ["Before installation say `python3 -m ladder` (on Windows `python -m ladder`) for `ladder`.\n"]
    for name, text in helps("ladder.cli", "ladder").items():
        parts.append(_block(f"ladder {name}", text))
    parts += [
        "## A level\n",
        "In a level's folder. A command that a level has is there at all levels above it.\n",
    ]
    shown: dict[str, str] = {}
    for each in (each for each in levels() if each.number):
        new = []
        for name, text in helps("bike_demand.__main__", "python -m bike_demand", each).items():
            if shown.get(name) != text:
                new.append(_block(name, text, "" if name not in shown else f", at level {each.number}"))
                shown[name] = text
        if new:
            parts += [f"### From level {each.number}\n", *new]
    return "\n".join(parts)


def _block(name: str, text: str, suffix: str = "") -> str:
    identity = name.replace(" ", "-") + (suffix.replace(", at ", "-").replace(" ", "-"))
    return f"#### {name}{suffix} {{ #{identity} }}\n\n~~~~ text\n{text}\n~~~~\n"


def settings() -> str:
    """The page of all settings: each level's own params.yaml."""
    parts = ["# Settings\n"]
    parts.append(
        "A level's settings stand in its `params.yaml`, with a comment for each key. Every key has a default,"
        " so keys and sections may be left out. Environment variables override the file: `BIKE_FEED` sets"
        " `feed`, `BIKE_SERVING__PORT` sets `port` of `serving`; a starter with another package has another"
        " prefix. Neither holds for what `dvc.yaml` lists under `params`.\n"
    )
    for each in (each for each in levels() if each.number):
        text = (each.folder / "params.yaml").read_text(encoding="utf-8").rstrip()
        indented = "\n".join(f"    {line}" if line else "" for line in text.split("\n"))
        parts.append(f'=== "Level {each.number}"\n\n    ~~~~ yaml\n{indented}\n    ~~~~\n')
    return "\n".join(parts)
