"""Working copies: made anew without losing what is somebody's, and without getting stuck."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ladder import ROOT, UserError, workcopy
from ladder.cli import main
from ladder.git import NOBODY, author, git, git_folder, require, run_unchecked
from ladder.lab.machine import new_enough_git
from ladder.levels import Level


def test_a_fresh_folder_replaces_one_that_the_tool_made(tmp_path: Path) -> None:
    folder = workcopy.make_empty(tmp_path / "demo")
    (folder / "old").touch()
    assert [path.name for path in workcopy.make_empty(folder).iterdir()] == [workcopy.MARKER_FILE]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_folder_that_windows_does_not_rename_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workcopy.make_empty(tmp_path / "demo")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match="demo is in use: stop the processes"):
        workcopy.make_empty(folder)


def test_a_replay_in_a_working_copy_has_the_same_folder_of_working_copies(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    script = (
        "from ladder import steps, workcopy; from pathlib import Path; before = workcopy.home();"
        " steps.enter(Path('copy').resolve()); assert workcopy.home() == before, workcopy.home()"
    )
    env = os.environ | {"LADDER_HOME": "copies", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=True)


@pytest.mark.skipif(os.name == "nt", reason="permissions of Unix")
def test_the_copy_of_a_read_only_checkout_can_be_edited(tmp_path: Path) -> None:
    source = tmp_path / "level"
    source.mkdir()
    for name, mode in (("params.yaml", 0o444), ("run.sh", 0o555), (".DS_Store", 0o444)):
        (source / name).touch()
        (source / name).chmod(mode)
    made = workcopy.make(Level(0, "A level", source), tmp_path / "copy")
    modes = {path.name: path.stat().st_mode & 0o700 for path in made.iterdir()}
    assert modes == {"params.yaml": 0o600, "run.sh": 0o700}  # and nothing of the Finder's


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis").touch()
    with pytest.raises(UserError, match="was not created by ladder"):
        workcopy.make_empty(tmp_path / "demo")
    assert (tmp_path / "demo" / "thesis").exists()


def test_a_removal_that_was_cut_off_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workcopy.make_empty(tmp_path / "demo")
    (folder / "big").touch()

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ladder.workcopy.shutil.rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            workcopy.make_empty(folder)
    assert [path.name for path in workcopy.make_empty(folder).iterdir()] == [workcopy.MARKER_FILE]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_repository_of_another_user_is_refused_with_the_reason_of_git(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    for path in (tmp_path, tmp_path / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(UserError, match=r"^[^\n]*dubious ownership[^\n]*safe\.directory[^\n]*$"):
        git(tmp_path, "status")


@pytest.mark.skipif(os.name == "nt", reason="the script is one of a Unix shell")
@pytest.mark.parametrize(("script", "says"), [("", "git was not found: install it"), ("exit 1", "no tools")])
def test_git_that_is_missing_or_broken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    """The second is that of macOS before the developer tools are installed."""
    if script:
        (tmp_path / "git").write_text(f"#!/bin/sh\necho 'xcrun: error: no tools' >&2\n{script}\n")
        (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for use in (require, lambda: git(tmp_path, "init")):
        with pytest.raises(UserError, match=says):
            use()
    assert new_enough_git() is None
    assert author(tmp_path) == NOBODY


@pytest.mark.parametrize("name", ["GIT_CONFIG_COUNT", "GIT_DIR"])
def test_of_git_the_environment_gives_its_configuration_and_no_other_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    git(tmp_path, "init", "--quiet")
    given = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "own.key", "GIT_CONFIG_VALUE_0": "given"}
    for each, value in (given if name in given else {"GIT_DIR": "/nonexistent"}).items():
        monkeypatch.setenv(each, value)
    assert git_folder(tmp_path).resolve() == (tmp_path / ".git").resolve()
    assert run_unchecked(tmp_path, "config", "own.key").stdout.strip() == ("given" if name in given else "")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders cannot be made so there")
def test_pages_go_to_ladder_home_where_the_current_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LADDER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may write anywhere
    monkeypatch.chdir(tmp_path)
    assert main(["diff", "1", "2", "--html"]) == 0
    assert (tmp_path / "home" / "reports" / "diff-1-2.html").is_file()
    assert not (tmp_path / "reports").exists()
