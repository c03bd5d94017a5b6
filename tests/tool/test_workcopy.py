"""Working copies: made anew without losing what is somebody's, and without getting stuck."""

import os
from pathlib import Path

import pytest

from ladder import UserError, workcopy
from ladder.cli import main
from ladder.git import git, git_folder, run_unchecked


def test_a_fresh_folder_replaces_one_that_the_tool_made(tmp_path: Path) -> None:
    folder = workcopy.make_empty(tmp_path / "demo")
    (folder / "old").touch()
    assert [path.name for path in workcopy.make_empty(folder).iterdir()] == [workcopy.MARKER_FILE]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


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
