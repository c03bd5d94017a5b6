"""The command line as a person meets it: help, mistakes."""

from pathlib import Path

import pytest

from ladder import maturity
from ladder.cli import main
from tests.tool.conftest import Ladder


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "compare",
        "diff",
        "new",
        "climb",
        "test",
        "run",
        "up",
        "feed simulate",
        "feed import",
        "feed fetch",
        "feed publish",
    ],
)
def test_every_command_has_help_with_an_example(ladder: Ladder, command: str) -> None:
    done = ladder(*command.split(), "--help")
    assert done.returncode == 0
    assert f"ladder {command}" in done.stdout.split("Example")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "No such command"),
        (["run"], "Missing argument"),
        (["run", "7"], "less than or equal to 4"),
        (["up", "0"], "level 0 has no services"),
        (["demo", "--scenario", "nonsense"], "no scenario nonsense: choose one of "),
        (["demo", "--feed", "not-there"], "no such folder"),
        (["test", "--only", "9"], "no tests called 9"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(ladder: Ladder, arguments: list[str], says: str) -> None:
    done = ladder(*arguments)
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FileExistsError(17, "File exists", "a.md"), "error: a.md: File exists; choose another path\n"),
        (ConnectionRefusedError(111, "Connection refused"), "error: Connection refused\n"),
    ],
)
def test_another_path_is_advised_only_where_a_path_is_the_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError, says: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(maturity, "show", fails)
    assert main(["maturity"]) == 1
    assert capsys.readouterr().err == says


def test_what_is_redirected_is_utf_8_in_any_locale(
    run_ladder: Ladder, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["PYTHONIOENCODING"] = "cp1252"  # of a pipe or file on Windows
    (tmp_path / "größe").mkdir()
    done = run_ladder("assess", tmp_path / "größe")
    assert (done.returncode, done.stderr) == (0, "")
    assert "größe" in done.stdout


def test_a_scenario_without_a_period_is_no_story(ladder: Ladder, tmp_path: Path) -> None:
    path = tmp_path / "idea.toml"
    path.write_text('title = "An idea"\nsays = "Nothing yet."\n', encoding="utf-8")
    done = ladder("demo", "--scenario", str(path))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "it has no `start` and `end`; a story needs both" in done.stderr
