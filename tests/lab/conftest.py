"""Labs of the test's own, and everything they write in a temporary folder."""

from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

from ladder import ROOT
from ladder.cli import main
from ladder.lab import definition


class Done(NamedTuple):
    """What came of a command."""

    status: int
    out: str
    err: str


Ladder = Callable[..., Done]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where labs and progress lie."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LADDER_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(ROOT)
    return folder


@pytest.fixture
def ladder() -> Ladder:
    """Runs `ladder lab ...` in this process."""

    def run(*arguments: str) -> Done:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["lab", *arguments])
        return Done(status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def labs_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for labs, read instead of the real ones."""
    folder = tmp_path / "labs"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(definition, "LABS", folder)
        definition.labs.cache_clear()
        yield folder
    definition.labs.cache_clear()
