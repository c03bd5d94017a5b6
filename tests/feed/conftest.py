"""What the tests of the feed share: the committed feed, and a way to run a command as a user would."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from ladder.feed import app
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import read_feed


@pytest.fixture(scope="session")
def committed() -> pd.DataFrame:
    return read_feed(COMMITTED_FEED)


@pytest.fixture
def run_feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "RunFeed":
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LADDER_HOME", ".ladder")
    return RunFeed()


class RunFeed:
    """`ladder feed ...` in an empty folder."""

    def __call__(self, *arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])
