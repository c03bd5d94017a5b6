"""`ladder test` itself: what fails is reported, and a run of nothing is no success."""

from tests.tool.conftest import Ladder


def test_a_run_in_which_nothing_matches_is_no_success(ladder: Ladder) -> None:
    done = ladder("test", "--only", "1", "-k", "there_is_no_such_test", "-n", "0")
    assert done.returncode == 1
    assert "No test was run" in done.stderr


def test_a_run_that_fails_says_where(ladder: Ladder) -> None:
    done = ladder("test", "--only", "1", "there_is_no_such_file.py", "-n", "0")
    assert done.returncode == 1
    assert "Failed: 1" in done.stderr


def test_more_arguments_go_to_pytest(ladder: Ladder) -> None:
    done = ladder("test", "--only", "1", "-n", "0", "tests/test_schema.py", "--collect-only")
    assert done.returncode == 0, done.stderr
    assert "tests/test_schema.py::" in done.stdout
