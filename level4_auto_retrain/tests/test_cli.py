"""The command line as people and programs use it."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from bike_demand.__main__ import app
from tests.conftest import Run


def commands(group: Any) -> Iterator[str]:
    """The commands of the parser, such as `train` and `problem check`."""
    for name, command in group.commands.items():
        yield name
        if hasattr(command, "commands"):
            yield from (f"{name} {each}" for each in commands(command))


COMMANDS = tuple(commands(get_command(app)))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(run: Run, command: str) -> None:
    output = run(*command.split(), "--help")
    assert output.status == 0
    assert f"Example: python -m bike_demand {command}" in output.out


def test_help_names_every_command(run: Run) -> None:
    output = run("--help")
    assert output.status == 0
    assert all(command.split()[0] in output.out for command in (*COMMANDS, "Example:"))


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("fly",),
        ("ingest", "--as-of", "yesterday"),
        ("predict", "in.csv"),
        ("serve", "--port", "-1"),
        ("train", "x"),
        ("reproduce",),
    ],
)
def test_wrong_usage_is_reported_in_one_line_with_status_2(run: Run, argv: tuple[str, ...]) -> None:
    output = run(*argv)
    assert output.status == 2
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.endswith("(see --help)\n")
    assert output.err.count("\n") == 1


def test_ctrl_c_ends_a_command_as_shells_expect(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bike_demand.core.settings.load_settings", pressed)
    output = run("ingest")
    assert output.status == 130
    assert output.err.count("\n") <= 1


def test_missing_training_dependency_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bike_demand.batch", raising=False)
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    output = run("predict", "in.csv", "out.csv")
    assert output.status == 1
    assert "pandas is not installed" in output.err
    assert output.err.count("\n") == 1
