"""Each entry of docs/troubleshooting.md has a message of the code, and messages that point there find one."""

import ast
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ladder import ROOT
from ladder.levels import levels

PAGE = ROOT / "docs" / "troubleshooting.md"
# A message in code font, whose program it is where it is not one of this repository, and the anchor.
HEADING = re.compile(r"^### (`+)(?P<message>.+?)\1(?: \((?P<program>.+)\))? \{ #(?P<anchor>[a-z-]+) \}$")
POINTER = re.compile(r"see docs: troubleshooting, ([a-z-]+)")
OTHER_PROGRAMS = {
    "Python",
    "Pydantic",
    "SQLite",
    "MLflow",
    "DVC",
    "Prefect",
    "git",
    "Windows",
    "PowerShell",
    "macOS",
}
INSTALLED = {
    "MLflow": "mlflow/store mlflow/server",
    "DVC": "dvc",
    "Prefect": "prefect/client prefect/server/orchestration",
}
SHORTEST = 4  # characters of a part that says something


def entries() -> list[re.Match[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("### ")]
    found = [HEADING.match(line) for line in lines]
    assert [line for line, match in zip(lines, found, strict=True) if match is None] == []
    return [match for match in found if match is not None]


def parts(message: str) -> list[str]:
    """What is the same each time: the text between the placeholders."""
    return [part.strip() for part in message.split("…") if len(part.strip()) >= SHORTEST]


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@cache
def messages() -> str:
    """All strings in the code of the tool and of the levels, apart from their tests."""
    packages = [ROOT / "ladder", *(each.folder / "bike_demand" for each in levels() if each.number)]
    return "\0".join(
        text for folder in packages for path in sorted(folder.rglob("*.py")) for text in strings(path)
    )


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["anchor"])
def test_a_message_is_one_that_the_code_has(entry: re.Match[str]) -> None:
    constant = parts(entry["message"])
    assert max(map(len, constant)) >= 12  # else the heading is nothing to search for
    if entry["program"] is None:
        assert [part for part in constant if part not in messages()] == []
    else:
        assert entry["program"] in OTHER_PROGRAMS


@pytest.mark.parametrize("program", INSTALLED)
def test_a_message_of_an_installed_program_is_still_its_message(program: str) -> None:
    packages = Path(sysconfig.get_path("purelib"))
    files = [path for name in INSTALLED[program].split() for path in (packages / name).rglob("*.py")]
    whole = b"\n".join(path.read_bytes() for path in files)
    messages = [entry["message"] for entry in entries() if entry["program"] == program]
    assert messages
    assert [text for text in messages for part in parts(text) if part.encode() not in whole] == []


def test_anchors_are_unique() -> None:
    anchors = [entry["anchor"] for entry in entries()]
    assert len(anchors) == len(set(anchors)) > 30


def test_each_pointer_in_a_message_leads_to_an_entry() -> None:
    pointers = set(POINTER.findall(messages()))
    assert pointers
    assert pointers <= {entry["anchor"] for entry in entries()}
