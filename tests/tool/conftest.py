"""Runs the tool as a person does, with working copies and reports in a folder of the test's own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ladder import ROOT

Ladder = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Working copies below tmp_path; nobody's home folder, so that what is written there is seen."""
    (tmp_path / "home").mkdir()
    return {
        **os.environ,
        "LADDER_HOME": str(tmp_path / "ladder"),
        "HOME": str(tmp_path / "home"),
        "COLUMNS": "120",
    }


@pytest.fixture
def ladder(environment: dict[str, str]) -> Ladder:
    """Runs `python -m ladder ...` in the repository and gives what came of it."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ladder", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=280,
            check=False,
        )

    return run


@pytest.fixture
def week(tmp_path: Path) -> Path:
    """A story of three weeks with a step of growth and a fault, short enough for a test."""
    path = tmp_path / "week.toml"
    path.write_text(
        'title = "Three weeks"\nsays = "A step, and a day in Fahrenheit."\n'
        "start = 2011-10-25\nend = 2011-11-17\n"
        '[[event]]\nkind = "growth"\nfrom = 2011-11-08\nfactor = 1.6\n'
        '[[fault]]\nkind = "units"\nfrom = 2011-11-04\nto = 2011-11-04\n',
        encoding="utf-8",
    )
    return path
