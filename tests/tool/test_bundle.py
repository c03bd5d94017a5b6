"""A bundle has what a laptop without a network needs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ladder import ROOT, UserError, bootstrap, git
from ladder.bundle import PATCH_RELEASES, PYTHONS, SYSTEMS, fetch, targets, without_markers
from ladder.cli import app
from ladder.locks import entries

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
BLANK = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": "",
}
BLANK |= {"PIP_FIND_LINKS": "", "UV_INDEX_URL": "http://127.0.0.1:9/simple", "UV_OFFLINE": "1"}


def test_every_kind_of_laptop_gets_one_version_of_a_package_with_its_hashes() -> None:
    for target in targets(tuple(SYSTEMS), PYTHONS):
        for release in PATCH_RELEASES:
            here = target.environment(release)
            fitting = [
                (requirement.name, entry)
                for requirement, entry in without_markers(LOCK)
                if requirement.marker is None or requirement.marker.evaluate(here)
            ]
            assert len({name for name, _ in fitting}) == len(fitting) > 250
            assert all(re.fullmatch(r"\S+==\S+( --hash=sha256:[0-9a-f]{64})+", entry) for _, entry in fitting)
    names = {requirement.name for requirement, _ in without_markers(LOCK)}
    windows = targets(["windows"], ["3.12"])[0].environment(0)
    assert (
        {"pywin32", "pandas"}
        <= {
            each.name
            for each, _ in without_markers(LOCK)
            if each.marker is None or each.marker.evaluate(windows)
        }
        <= names
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--for", "beos"], "beos"), (["--python", "3.10"], "3.10"), ([], "new or empty")],
)
def test_what_cannot_be_bundled_is_refused(tmp_path: Path, arguments: list[str], named: str) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    done = CliRunner().invoke(app, ["bundle", str(tmp_path), *arguments])
    assert named in str(done.exception)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_without_for_only_a_processor_that_has_wheels_is_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(UserError, match=r"riscv64.*--for linux"):
        targets()
    assert targets(["linux"])


@pytest.mark.slow  # fetches them
@pytest.mark.parametrize("broken", [False, True])
def test_packages_are_taken_from_the_folder_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """The set-up's own installation, with a lock of four packages, one of them published as source alone."""
    # `packaging` is needed by `wheel`, which builds the one that is published as source.
    names = ("uv==", "typing-extensions==", "antlr4-python3-runtime==", "packaging==")
    text = "".join(lines for head, lines in entries(LOCK) if head.startswith(names))
    lock, wheels, venv = tmp_path / "requirements.lock", tmp_path / "wheels", tmp_path / ".venv"
    lock.write_text(text, encoding="utf-8")
    (laptop,) = targets()
    fetch(lock, laptop, wheels)
    if broken:
        (wheel,) = wheels.glob("typing_extensions-*.whl")
        with wheel.open("ab") as file:
            file.write(b"more")
    for name, path in (("LOCK", lock), ("WHEELS", wheels)):
        monkeypatch.setattr(bootstrap, name, path)
    for name, value in BLANK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UV_NO_CACHE", "1")
    bootstrap._make_venv(venv)
    if broken:
        with pytest.raises(bootstrap.SetupError, match="hash"):
            bootstrap._install(venv)
    else:
        bootstrap._install(venv)
        assert next(venv.rglob("antlr4/__init__.py")).is_file()


def test_a_relative_path_is_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ladder.bundle.fetch", lambda _lock, _target, wheels: wheels.mkdir())
    done = CliRunner().invoke(app, ["bundle", "stick", "--python", "3.11"])
    assert done.exception is None
    assert (tmp_path / "stick" / "README.md").is_file()
    assert [each.name for each in tmp_path.iterdir()] == ["stick"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_bundle_installs_and_runs_with_the_network_off(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bundle", str(tmp_path / "bundle")])
    assert done.exception is None, done.output
    folder = tmp_path / "moved to a laptop"
    shutil.move(tmp_path / "bundle", folder)
    assert git.git(folder, "remote").strip() == ""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = next(path for path in (tmp_path / "bare").glob("*/python*") if path.stem == "python")
    # Without a network at all where a process may give up its own (Linux, as root).
    off = ["unshare", "--net"] if shutil.which("unshare") and os.geteuid() == 0 else []
    ended = subprocess.run(
        [*off, str(python), "-m", "ladder", "diff", "1", "2"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        | BLANK
        | {"UV_NO_CACHE": "1", "PIP_NO_CACHE_DIR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (folder / ".venv").is_dir()
