"""The development container opens with a Python that the tool runs on, and with its environment made."""

import json
import re

from typer.testing import CliRunner

from ladder import ROOT
from ladder.bundle import PYTHONS
from ladder.cli import app

CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def test_its_python_is_one_that_the_tool_runs_on() -> None:
    (version,) = re.findall(r"^python:(\d+\.\d+)-", CONTAINER["image"])
    assert version in PYTHONS


def test_its_environment_is_made_by_the_tool() -> None:
    command = re.fullmatch(r"python3 -m ladder (.*)", CONTAINER["onCreateCommand"])
    assert command is not None
    assert CliRunner().invoke(app, command[1].split()).exit_code == 0
