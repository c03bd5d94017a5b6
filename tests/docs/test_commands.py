"""Every command on a page exists, with its options."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ladder import ROOT
from ladder.cli import app
from ladder.levels import levels

FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
TOOL = re.compile(r"^(?:python3? -m ladder|(?:mlops-)?ladder)\s+(.*)$")
LEVEL = re.compile(r"^(?:\S*python3?(?:\.exe)? -m )(?:bike_demand|taxi_demand|PACKAGE)\s+(.*)$")
# Asks each command for its help; options are checked before it is printed, and nothing is run.
ASK = """
import json, sys
from typer.testing import CliRunner
from bike_demand.__main__ import app
runner = CliRunner()
for words in json.load(sys.stdin):
    if runner.invoke(app, [*words, "--help"]).exit_code:
        print(" ".join(words))
"""


def pages() -> list[Path]:
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "problems").rglob("README.md")]
    return [*found, *(each.folder / "README.md" for each in levels()), ROOT / "data" / "README.md"]


def lines(page: Path) -> Iterator[str]:
    """What a page shows as code: indented, fenced, or within a sentence."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(FENCE.findall(text))
    for line in (*blocks.splitlines(), *re.findall(r"^(?:    |\t)+(.*)$", text, re.MULTILINE)):
        for part in re.split(r"\s&&\s", line):
            yield part.removeprefix("$ ").strip()
    yield from (each.strip() for each in INLINE.findall(FENCE.sub("", text)))


def words(command: str) -> list[str]:
    """The words of a command without its comment and redirections; what stands for something is kept."""
    found = shlex.split(command, comments=True)
    stop = next((i for i, word in enumerate(found) if word in ("|", ">", ">>", "<", "&", "...")), len(found))
    return [word for word in found[:stop] if not word.startswith(("[", "..."))]


def of(page: Path, pattern: re.Pattern[str]) -> Iterator[list[str]]:
    for line in lines(page):
        if found := pattern.match(line):
            yield words(found[1])


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_of_the_tool_exist_with_their_options(page: Path) -> None:
    runner = CliRunner()
    unknown = [each for each in of(page, TOOL) if each and runner.invoke(app, [*each, "--help"]).exit_code]
    assert unknown == []


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_commands_of_a_level_exist_with_their_options(number: int) -> None:
    """Those of its own page; the pages of docs/ speak of the highest level."""
    folder = levels()[number].folder
    read = [folder / "README.md"] if number < 4 else [folder / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = [each for page in read for each in of(page, LEVEL)]
    assert shown
    ended = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=folder,
        input=json.dumps([each for each in shown if each and each[0] != "COMMAND"]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == ""


def test_a_command_that_does_not_exist_is_noticed() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["demo", "--no-such-option", "--help"]).exit_code != 0
    assert runner.invoke(app, ["nothing", "--help"]).exit_code != 0
