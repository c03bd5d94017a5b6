"""Runs the tool as a person does, with working copies and reports in a folder of the test's own."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from ladder import ROOT
from ladder.cli import main

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
def ladder(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ladder:
    """Runs `ladder ...` in the repository, in this process, and gives what came of it."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        out, err = StringIO(), StringIO()
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(ROOT)
            for name, value in environment.items():
                patch.setenv(name, value)
            status = main(list(map(str, arguments)))
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def run_ladder(environment: dict[str, str]) -> Ladder:
    """Runs `python -m ladder ...` as a process: for what starts processes itself."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ladder", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=580,  # slow tests have 600
            check=False,
        )

    return run


@pytest.fixture
def week(tmp_path: Path) -> Path:
    """A story of three weeks with a step of growth and a fault, short enough for a test."""
    return story(tmp_path, "2011-10-25", "2011-11-17", units="2011-11-04", growth="2011-11-08")


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """The same in five days, in which level 1 releases once more."""
    return story(tmp_path, "2011-11-12", "2011-11-16", units="2011-11-13", growth="2011-11-14")


def story(folder: Path, start: str, end: str, units: str, growth: str) -> Path:
    path = folder / "week.toml"
    path.write_text(
        'title = "Three weeks"\nsays = "A step, and a day in Fahrenheit."\n'
        f"start = {start}\nend = {end}\n"
        f'[[event]]\nkind = "growth"\nfrom = {growth}\nfactor = 1.6\n'
        f'[[fault]]\nkind = "units"\nfrom = {units}\nto = {units}\n',
        encoding="utf-8",
    )
    return path
