"""`ladder test` itself: what fails is reported, and a run of nothing is no success."""

import re
import shutil
import time
from itertools import pairwise
from pathlib import Path

import pytest

from ladder import testing
from ladder.levels import levels
from ladder.testing import repeated_above
from tests.tool.conftest import Ladder


@pytest.mark.slow
def test_a_run_in_which_nothing_matches_is_no_success(run_ladder: Ladder) -> None:
    done = run_ladder("test", "--only", "1", "tests/test_schema.py", "-k", "no_such_test", "-n", "0")
    assert done.returncode == 1
    assert "No tests matched" in done.stderr


def test_a_run_that_fails_says_where(run_ladder: Ladder) -> None:
    done = run_ladder("test", "--only", "1", "there_is_no_such_file.py", "-n", "0")
    assert done.returncode == 1
    assert "Failed: 1" in done.stderr


def test_failures_are_reported_of_places_tested_side_by_side_too(run_ladder: Ladder) -> None:
    done = run_ladder("test", "-p", "no_such_plugin")
    assert done.returncode == 1
    assert "Failed: 1, 2, 3, 4, tool" in done.stderr


def test_after_ctrl_c_no_level_begins_that_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def run(_: object, cwd: Path, **__: object) -> None:
        begun.append(cwd.name[:6])
        if len(begun) == 1:
            raise KeyboardInterrupt
        time.sleep(0.5)
        raise OSError

    monkeypatch.setattr(testing, "cores", lambda: 1)
    monkeypatch.setattr(testing, "EXTRA_WORKERS", 0)
    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(KeyboardInterrupt):
        testing.run_tests(every=False, only=[], pytest_args=[])
    assert "level3" not in begun


def test_more_arguments_go_to_pytest(run_ladder: Ladder) -> None:
    done = run_ladder("test", "--only", "1", "-n", "0", "tests/test_schema.py", "--collect-only")
    assert done.returncode == 0, done.stderr
    assert "tests/test_schema.py::" in done.stdout


def test_every_test_is_run_at_some_level_and_only_what_is_the_same_above_is_left_to_it() -> None:
    above = repeated_above()
    every = levels()
    assert every[-1].number not in map(int, above)  # the highest runs all of its own
    for level, following in pairwise(every):
        left = above[str(level.number)]
        for name in left:
            file, _, test = name.partition("::")
            here, there = ((each.folder / file).read_text("utf-8") for each in (level, following))
            assert _code(here, test) == _code(there, test)
        files = {
            path.relative_to(level.folder).as_posix() for path in level.folder.glob("tests/**/test_*.py")
        }
        if files:
            assert files - set(left), f"level {level.number} would run nothing"


def test_tests_write_into_memory_if_there_is_room_and_nobody_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(testing, "MEMORY", tmp_path)
    monkeypatch.setattr(testing, "MIN_FREE_BYTES", 0)
    assert testing.scratch_folder() == tmp_path
    monkeypatch.setattr(testing, "MIN_FREE_BYTES", shutil.disk_usage(tmp_path).total)
    assert testing.scratch_folder() is None
    monkeypatch.setattr(testing, "MIN_FREE_BYTES", 0)
    monkeypatch.setattr(testing, "MEMORY", tmp_path / "absent")
    assert testing.scratch_folder() is None
    monkeypatch.setattr(testing, "MEMORY", tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert testing.scratch_folder() is None


def _code(module: str, test: str) -> str:
    """A module's text or, of the test with that name, what is indented below its first line."""
    return (
        module if not test else re.split(r"\n(?=[^\s)])", module.partition(f"\ndef {test}(")[2])[0].rstrip()
    )


@pytest.mark.slow
def test_one_level_alone_is_tested_whole(run_ladder: Ladder) -> None:
    name = repeated_above()["1"][0]
    whole = run_ladder("test", "--only", "1", "-n", "0", "--collect-only")
    assert f"{name}::" in whole.stdout
    default = run_ladder("test", "-n", "0", "--collect-only", "-p", "no:xdist")
    levels_apart = default.stdout.split("== tests of ")
    (first,) = [part for part in levels_apart if part.startswith("level 1")]
    assert f"{name}::" not in first
    assert "repeated at the next level" in first
    test = next(each for each in repeated_above()["1"] if "::" in each)
    assert test in whole.stdout
    assert f"{test}\n" not in first
