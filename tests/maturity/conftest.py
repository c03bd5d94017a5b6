"""What the proofs share: the feed, one release by hand at level 0 and one at level 1, and small tools.

Releases are played once for all tests of this folder. Tests never change them: they work on copies.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import onnxruntime
import pandas as pd
import pytest

from ladder import users, workcopy
from ladder.levels import level
from ladder.runbook import Role, Runbook, Step, load
from ladder.service import Service
from ladder.steps import environment, run_command, run_step
from ladder.world import COMMITTED_FEED
from ladder.world.faults import as_requested
from ladder.world.feedfile import INPUTS, read_feed, write_feed
from ladder.world.scenario import Units

RELEASED = pd.Timestamp("2011-10-01")  # labels from this day on were not known at the releases
MAILED = {"export": "export.csv", "mail": "handoff", "send": "predictions.csv"}
OLD = "2011-03-01"  # the day that a badly chosen training ends with


def before(frame: pd.DataFrame, end: pd.Timestamp | str) -> pd.DataFrame:
    """The feed's rows before a date."""
    return frame[frame["timestamp"] < pd.Timestamp(end)].reset_index(drop=True)


def between(frame: pd.DataFrame, first: str, end: str) -> pd.DataFrame:
    """The feed's rows from a date on and before another."""
    return before(frame[frame["timestamp"] >= pd.Timestamp(first)], end)


def same_rows(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Fails unless rows that a level ingested are those of a feed, whatever types it stores them as."""
    pd.testing.assert_frame_equal(
        found.astype(expected.dtypes.to_dict()).reset_index(drop=True), expected.reset_index(drop=True)
    )


def ingested(folder: Path) -> pd.DataFrame:
    """The rows of the months that a level ingested into a folder."""
    months = sorted(folder.glob("[0-9][0-9][0-9][0-9]-[01][0-9].parquet"))
    return pd.concat([pd.read_parquet(path) for path in months], ignore_index=True)


def in_fahrenheit(rows: pd.DataFrame) -> pd.DataFrame:
    """The requests for these hours while the weather station reports Fahrenheit; no counts."""
    first, last = (rows["timestamp"].iloc[number].date() for number in (0, -1))
    return as_requested(rows, [Units.model_validate({"kind": "units", "from": first, "to": last})])


def error(predictions: pd.Series, rows: pd.DataFrame) -> float:
    """Mean absolute error, in bikes an hour."""
    return float((predictions - rows["count"]).abs().mean())


def tree(folder: Path) -> dict[str, str]:
    """Every file in the folder, and the digest of what it holds."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not {".git", "__pycache__"} & set(path.relative_to(folder).parts)
    }


def copied(folder: Path, target: Path) -> Path:
    """A copy to break things in."""
    return shutil.copytree(folder, target)


def edit(path: Path, old: str, new: str) -> None:
    """Change the one place in a text file that reads `old`."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name}: {old!r} stands there {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def step(book: Runbook, name: str) -> Step:
    """The step of that name, of a release, of each day or of use."""
    return next(each for each in (*book.daily, *book.release, *book.predict) if each.id == name)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a working copy; returns its output."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def seal(handoff: Path, model: bytes) -> None:
    """Put another model into a hand-off, with a manifest, golden rows and checksums that fit it."""
    manifest = json.loads((handoff / "model.json").read_text(encoding="utf-8"))
    manifest["version"] = hashlib.sha256(model).hexdigest()[:12]
    golden = json.loads((handoff / "golden.json").read_text(encoding="utf-8"))
    rows = pd.DataFrame([each["request"] for each in golden])
    times = pd.to_datetime(rows["timestamp"]).dt
    rows = rows.assign(hour=times.hour, weekday=times.weekday)[[each["name"] for each in manifest["inputs"]]]
    (predicted,) = onnxruntime.InferenceSession(model).run(None, {"features": rows.to_numpy("float32")})
    for each, prediction in zip(golden, predicted[:, 0].tolist(), strict=True):
        each["prediction"] = prediction
    contents = {
        "model.onnx": model,
        "model.json": json.dumps(manifest).encode(),
        "golden.json": json.dumps(golden).encode(),
    }
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    for name, content in (contents | {"SHA256SUMS": sums.encode()}).items():
        (handoff / name).write_bytes(content)


@pytest.fixture(scope="package", autouse=True)
def _all_in_one_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is written outside the temporary folder, by the levels' own tests neither."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LADDER_HOME", str(folder))
        patch.setenv("PYTEST_DEBUG_TEMPROOT", str(folder))
        patch.delenv("BIKE_FEED", raising=False)
        yield


@pytest.fixture(scope="package", autouse=True)
def _nobody_elses_store() -> Iterator[None]:
    """The proofs read MLflow's stores themselves: as the levels do, without reporting it to anybody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("DO_NOT_TRACK", "true")
        patch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        patch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="package")
def clean() -> pd.DataFrame:
    """What really happened."""
    return read_feed(COMMITTED_FEED)


@pytest.fixture(scope="package")
def october(clean: pd.DataFrame) -> pd.DataFrame:
    """The month after the releases."""
    return between(clean, "2011-10-01", "2011-11-01")


# ---- level 0


@dataclass(frozen=True)
class Desks:
    """Level 0 as it is worked: a desk for each role, and only what is mailed passes from one to another."""

    scientist: Path
    data_engineer: Path
    software_engineer: Path
    book: Runbook

    def of(self, role: Role) -> Path:
        desks: dict[Role, Path] = {
            "data scientist": self.scientist,
            "data engineer": self.data_engineer,
            "software engineer": self.software_engineer,
        }
        return desks[role]

    def do(self, name: str) -> str:
        """Do a step at its person's desk, and mail its result to the next person; returns the output."""
        chosen = step(self.book, name)
        output = run_step(chosen, self.of(chosen.who), run_command)
        if chosen.gives_to is not None:
            source = self.of(chosen.who) / MAILED[name]
            target = self.of(chosen.gives_to) / MAILED[name]
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)
        return output

    def forecast(self, rows: pd.DataFrame) -> pd.Series:
        """The rows scored as on any day: saved as a CSV, the script run, its file mailed."""
        output = users.predict_from_file(rows[INPUTS], self.data_engineer, partial(self.do, "score"))
        assert None not in output
        self.do("send")
        return pd.Series(output, dtype=float)

    def copied(self, target: Path) -> "Desks":
        """Copies of all desks to break things on."""
        return Desks(
            copied(self.scientist, target / "scientist"),
            copied(self.data_engineer, target / "data-engineer"),
            copied(self.software_engineer, target / "application"),
            self.book,
        )


@pytest.fixture(scope="package")
def unreleased(tmp_path_factory: pytest.TempPathFactory, clean: pd.DataFrame) -> Desks:
    """The desks before a release: new months are published, and the mail of last time lies there."""
    folder = tmp_path_factory.mktemp("level0")
    whole = workcopy.make(level(0), folder / "whole")
    desks = Desks(folder / "scientist", folder / "data-engineer", folder / "application", load(whole))
    for role in (desks.scientist, desks.data_engineer, desks.software_engineer):
        role.mkdir()
    shutil.copy2(whole / "demand.ipynb", desks.scientist)
    copied(whole / "handoff", desks.scientist / "handoff")
    copied(whole / "handoff", desks.data_engineer / "handoff")
    for name in ("score.py", "day.csv"):
        shutil.copy2(whole / name, desks.data_engineer)
    write_feed(before(clean, RELEASED), desks.data_engineer / "feed")
    return desks


@pytest.fixture(scope="package")
def desks(unreleased: Desks, tmp_path_factory: pytest.TempPathFactory) -> Desks:
    """The desks after one release by the runbook."""
    released = unreleased.copied(tmp_path_factory.mktemp("released"))
    for each in released.book.release:
        released.do(each.id)
    return released


@pytest.fixture(scope="package")
def shown(
    desks: Desks, october: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Desks, pd.Series]:
    """The desks after a month of use, and what users were shown for its hours."""
    used = desks.copied(tmp_path_factory.mktemp("used"))
    return used, used.forecast(october)


@pytest.fixture(scope="package")
def repeated(desks: Desks, tmp_path_factory: pytest.TempPathFactory) -> Desks:
    """The notebook run a second time on the same export, and its result mailed; not yet installed."""
    again = desks.copied(tmp_path_factory.mktemp("repeated"))
    again.do("explore")
    again.do("mail")
    return again


@pytest.fixture(scope="package")
def careless(desks: Desks, clean: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Desks:
    """A month pasted twice, one in Fahrenheit, other settings in the notebook: and it ran to its end."""
    tried = desks.copied(tmp_path_factory.mktemp("careless"))
    feed = tried.data_engineer / "feed"
    september = clean["timestamp"].between("2011-09-01", "2011-09-30T23:00:00")
    fahrenheit = (clean["temp_c"] * 9 / 5 + 32).round(2)
    write_feed(before(clean.assign(temp_c=clean["temp_c"].mask(september, fahrenheit)), RELEASED), feed)
    shutil.copy2(feed / "2011-08.csv", feed / "2011-08 (1).csv")  # as browsers name a second download
    (feed / "NOTICE.txt").write_text("From September on temp_c is in Fahrenheit.\n", encoding="utf-8")
    edit(tried.scientist / "demand.ipynb", "max_iter=100", "max_iter=20")
    tried.do("export")
    tried.do("explore")
    return tried


# ---- level 1


@dataclass(frozen=True)
class Release:
    """Level 1 after a release by its runbook, with the service that answers with the model."""

    folder: Path
    service: Service
    book: Runbook
    output: dict[str, str]

    @property
    def version(self) -> str:
        """The version of the model that answers."""
        return str(httpx.get(f"{self.service.url}/model").json()["version"])

    def copied(self, target: Path) -> Path:
        """A copy of the project to break things in."""
        return copied(self.folder, target)


@pytest.fixture(scope="package")
def release(clean: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """One release by the runbook. Ask the service, but do not change it or the folder."""
    folder = workcopy.make(level(1), tmp_path_factory.mktemp("level1") / "project")
    write_feed(before(clean, RELEASED), folder / "feed")
    book = load(folder)
    with Service(folder, folder / "state" / "service.log", env=environment()) as service:
        steps = (*book.daily, *book.release)
        output = {each.id: run_step(each, folder, run_command, service) for each in steps}
        yield Release(folder, service, book, output)


@dataclass(frozen=True)
class Trial:
    """A project in which another training was tried, and what that training printed."""

    folder: Path
    output: str


@pytest.fixture(scope="package")
def trial(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A second training: smaller trees, and on the first two months only."""
    folder = release.copied(tmp_path_factory.mktemp("trial") / "project")
    edit(folder / "params.yaml", "params: {}", "params: {max_leaf_nodes: 15}")
    return Trial(folder, run_command(f"{step(release.book, 'train').command} --as-of {OLD}", folder))
