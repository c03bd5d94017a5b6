"""What the tests share: a project in a folder of its own, with a feed, and a model trained on it."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.integration_only import only_integration

# Tests use the toy problem, so that changing problem/ breaks none of them. The integration tests, run alone,
# use the project's own problem and model: empty leaves it to params.yaml. Workers of pytest-xdist inherit the
# environment, not the arguments.
os.environ.setdefault("BIKE_PROBLEM", "" if only_integration(sys.argv[1:]) else "tests.toy")

from bike_demand.__main__ import main
from tests.feedmaker import copy_params, write_feed
from tests.project_copy import NAME, make_copy
from tests.registry import copy_state, copy_store, make_store, put_live, train_handoffs

ROOT = Path(__file__).parents[1]
ENVIRONMENT = (  # would override settings
    "BIKE_FEED",
    "BIKE_ENVIRONMENTS__PRODUCTION__DATABASE",
    "BIKE_ENVIRONMENTS__TEST__DATABASE",
    "BIKE_SERVING__KEYS",
    "MLFLOW_TRACKING_URI",
    "PREFECT_API_URL",
)
COPY_ENVIRONMENT = (*ENVIRONMENT, "BIKE_PROBLEM")  # a copy has the toy in the place of the problem


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
        """The one line on stderr of a command that refused; fails otherwise."""
        assert self.status == 1, self
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        return self.err


Run = Callable[..., CommandResult]
Make = Callable[[], object]


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
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    copy_params(tmp_path)
    write_feed(tmp_path / "feed")
    return tmp_path


@pytest.fixture(scope="session")
def handoffs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model as training writes it, and its holdout model. Copy one before changing anything in it."""
    folder = tmp_path_factory.mktemp("trained")
    copy_params(folder)
    write_feed(folder / "feed")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        return train_handoffs(folder / "feed", folder)


@pytest.fixture(scope="session")
def handoff(handoffs: tuple[Path, Path]) -> Path:
    """A model as training writes it. Copy it before changing anything in it."""
    return handoffs[0]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database of runs and models. To copy it takes milliseconds, to make one seconds."""
    folder = tmp_path_factory.mktemp("store")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return make_store(ROOT / "params.yaml")


@pytest.fixture
def stored(project: Path, empty_store: Path) -> Path:
    """A project whose database of runs and models was made already."""
    copy_store(empty_store, project)
    return project


@contextlib.contextmanager
def project_in(folder: Path, empty_store: Path) -> Iterator[None]:
    """Inside, the current folder is a project like `stored`; many tests can have a copy of what is made."""
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        copy_params(folder)
        write_feed(folder / "feed")
        copy_store(empty_store, folder)
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Callable[[Make], Path]:
    """Runs a function in a project like `stored`, once for all tests; gives the project's folder."""

    @cache
    def once(make: Make) -> Path:
        folder = tmp_path_factory.mktemp("prepared")
        with project_in(folder, empty_store):
            make()
        return folder

    return once


@pytest.fixture
def prepare(project: Path, prepared: Callable[[Make], Path]) -> Callable[[Make], None]:
    """Gives the project what a function makes in one: a copy of it takes milliseconds, to register a model
    half a second.
    """

    def copied(make: Make) -> None:
        made = prepared(make)
        copy_state(made, project)
        shutil.copytree(made, project, ignore=lambda *_: ["state"], dirs_exist_ok=True)

    return copied


@pytest.fixture(scope="session")
def released_template(tmp_path_factory: pytest.TempPathFactory, empty_store: Path, handoff: Path) -> Path:
    folder = tmp_path_factory.mktemp("released")
    with project_in(folder, empty_store):
        put_live(handoff)
    return folder


@pytest.fixture
def released(project: Path, released_template: Path) -> Path:
    """A project with a registered model that is live."""
    copy_state(released_template, project)
    return project


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project in which nothing was trained yet; the current folder."""
    folder = make_copy(tmp_path / NAME)
    for name in COPY_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder
