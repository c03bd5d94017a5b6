"""Every command on a page exists, with its options."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from ladder import ROOT
from ladder.cli import app
from ladder.levels import levels
from tests.docs.terminal import PAGES, blocks

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


def lines(page: str) -> Iterator[str]:
    """What a page shows as code: indented, fenced, or within a sentence."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in blocks(text):
        for line in block.text.splitlines():
            yield from (part.strip() for part in re.split(r"\s&&\s", line))
    yield from (each.strip() for each in INLINE.findall(FENCE.sub("", text)))


def words(command: str) -> list[str]:
    """The words of a command without its comment and redirections; what stands for something is kept."""
    found = shlex.split(command, comments=True)
    stop = next((i for i, word in enumerate(found) if word in ("|", ">", ">>", "<", "&", "...")), len(found))
    return [word for word in found[:stop] if not word.startswith(("[", "..."))]


def of(page: str, pattern: re.Pattern[str]) -> Iterator[list[str]]:
    for line in lines(page):
        if found := pattern.match(line):
            yield words(found[1])


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_tool_exist_with_their_options(page: str) -> None:
    runner = CliRunner()
    unknown = [each for each in of(page, TOOL) if each and runner.invoke(app, [*each, "--help"]).exit_code]
    assert unknown == []


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_commands_of_a_level_exist_with_their_options(number: int) -> None:
    """Those of its own page; the pages of docs/ speak of the highest level."""
    folder = levels()[number].folder
    read = [f"{folder.name}/README.md", *(page for page in PAGES if number == 4 and page.startswith("docs/"))]
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
