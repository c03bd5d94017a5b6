"""Shared fixtures: a temporary project with a feed, and a trained hand-off."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration_only import only_integration

# Tests use the toy problem, so that changing problem/ breaks none of them. The integration tests, run alone,
# use the project's own problem and model: empty leaves it to params.yaml. Workers of pytest-xdist inherit the
# environment, not the arguments.
os.environ.setdefault("BIKE_PROBLEM", "" if only_integration(sys.argv[1:]) else "tests.toy")

from bike_demand.__main__ import main
from tests.feedmaker import copy_params, write_feed

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the slow tests too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: runs only with --all")
    # skl2onnx writes a boolean where protobuf wants an integer; the lock holds protobuf below 7 for it.
    config.addinivalue_line("filterwarnings", "ignore:Field onnx.AttributeProto:DeprecationWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(600))  # on a busy machine
            if not config.getoption("--all"):
                item.add_marker(pytest.mark.skip(reason="slow: give --all"))
    # Where files are tested side by side, the longest must not come last.
    items.sort(key=lambda item: item.path.name not in ("test_flow.py", "test_story.py"))


@dataclass(frozen=True)
class CommandResult:
    """The result of a command: exit status and output."""

    status: int
    out: str
    err: str

    def refusal(self) -> str:
        """The error message, with the violations listed below it."""
        assert self.status == 1, self
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert all(line.startswith("  ") for line in self.err.splitlines()[1:])
        return self.err


Run = Callable[..., CommandResult]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command of the project in the current folder."""

    def call(*argv: object) -> CommandResult:
        capsys.readouterr()
        status = main([str(each) for each in argv])
        out, err = capsys.readouterr()
        return CommandResult(status, out, err)

    return call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a feed of three months, which is also the current folder."""
    monkeypatch.delenv("BIKE_FEED", raising=False)
    monkeypatch.chdir(tmp_path)
    copy_params(tmp_path)
    write_feed(tmp_path / "feed")
    return tmp_path


@pytest.fixture(scope="session")
def handoff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hand-off as training writes it. Copy it before changing anything in it."""
    folder = tmp_path_factory.mktemp("trained")
    copy_params(folder)
    write_feed(folder / "feed")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("BIKE_FEED", raising=False)
        assert main(["ingest"]) == 0
        assert main(["train"]) == 0
    return folder / "state" / "handoff"


@pytest.fixture
def released(project: Path, handoff: Path) -> Path:
    """A project whose model was handed over and put live."""
    shutil.copytree(handoff, project / "state" / "model")
    return project
