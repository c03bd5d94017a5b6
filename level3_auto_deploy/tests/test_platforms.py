"""Machines as people have them: accounts without a name or home, folders of other users, odd paths."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bike_demand.core.errors import UserError
from bike_demand.training import pipeline
from bike_demand.training.revision import current_revision
from tests.conftest import ROOT, Run
from tests.project_copy import commit, git

NO_ENTRY = """
import pwd

def unknown(uid):
    raise KeyError(uid)

pwd.getpwuid = unknown
"""
ACCOUNT = """
import getpass, os
import bike_demand
print(os.path.expanduser("~"), getpass.getuser(), sep="\\n")
"""


def python(code: str, folder: Path, **environment: str) -> str:
    """What a new process prints that runs the code in the folder, without the account's variables."""
    account = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    env = {name: value for name, value in os.environ.items() if name not in account}
    env |= {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(os.name != "posix", reason="a user is always entered there")
@pytest.mark.parametrize("given", [{}, {"HOME": "/nonexistent"}], ids=["no home", "a home that is not there"])
def test_user_without_passwd_entry_gets_name_and_home(tmp_path: Path, given: dict[str, str]) -> None:
    home, name = python(NO_ENTRY + ACCOUNT, tmp_path, **given).splitlines()
    assert Path(home) == tmp_path / "state"
    assert name == str(os.getuid())


def test_an_account_keeps_its_own_name_and_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    given = {"HOME": str(home), "USERPROFILE": str(home), "USERNAME": "somebody", "LOGNAME": "somebody"}
    assert python(ACCOUNT, tmp_path, **given).splitlines() == [str(home), "somebody"]


def test_git_hook_variables_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "bike_demand").mkdir()
    (tmp_path / "bike_demand" / "file").touch()
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    code = "from bike_demand.training.revision import current_revision; print(current_revision().commit)"
    elsewhere = str(tmp_path / "elsewhere" / ".git")
    out = python(code, tmp_path, GIT_DIR=elsewhere, GIT_INDEX_FILE=f"{elsewhere}/index", PYTHONSAFEPATH="1")
    assert out.strip() == git(tmp_path, "rev-parse", "HEAD").strip()


def test_a_repository_of_another_user_is_refused_with_the_reason_of_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert current_revision() is None  # no commit yet
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(UserError, match=r"dubious ownership.*safe\.directory"):
        current_revision()


@pytest.mark.skipif(os.name != "posix", reason="an environment has python.exe there")
def test_stages_use_project_interpreter_without_python_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = tmp_path / "bin"
    only.mkdir()
    (only / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    (only / "python3").chmod(0o755)
    project = tmp_path / "project"
    project.mkdir()
    pipeline.run_dvc("init", "--no-scm", folder=project)
    # Another Python on the PATH would have no DVC.
    stage = '{cmd: \'python -c "import dvc, pathlib; pathlib.Path(\\"made\\").touch()"\', outs: [made]}'
    (project / "dvc.yaml").write_text(f"stages: {{it: {stage}}}\n", encoding="utf-8")
    monkeypatch.setattr(sys, "executable", str(only / "python3"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    pipeline.run_dvc("repro", folder=project)
    assert (project / "made").exists()


def test_the_traceback_of_a_stage_that_broke_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.run_dvc("init", "--no-scm", folder=tmp_path)
    (tmp_path / "own.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text("stages: {it: {cmd: python own.py}}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"failed to reproduce 'it'.*python own\.py"):
        pipeline.run_dvc("repro", folder=tmp_path)
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


@pytest.mark.parametrize("character", ["?", "{", "}"])
def test_a_character_that_the_tools_do_not_take_is_named_before_anything_is_made(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    folder = project / f"a{character}b"
    folder.mkdir()
    (folder / "params.yaml").write_text('flow: {api: ""}\n', encoding="utf-8")
    monkeypatch.chdir(folder)
    output = run("train")
    assert output.status == 1
    assert repr(character) in output.err
    assert [each.name for each in folder.iterdir()] == ["params.yaml"]
