"""The command line of the tool: one function for each command, the work is done elsewhere."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer.exceptions import TyperException

from data import UserError
from ladder import feed

app = typer.Typer(
    name="ladder",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="One model, five ways to ship it: run, replay and compare the levels of the MLOps maturity model.",
)
app.add_typer(feed.app, name="feed", help="The operator's feed: simulate, import, fetch or publish it.")

INTERRUPTED = 130

LevelNumber = Annotated[int, typer.Argument(metavar="LEVEL", min=0, max=4, help="0 to 4")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin with a new working copy.")]


@app.command()
def demo(
    scenario: Annotated[str, typer.Option(help="A scenario with a period, by name or path.")] = "short",
    feed: Annotated[
        Path | None, typer.Option(help="A clean feed of your own, such as `ladder feed import` makes.")
    ] = None,
    level: Annotated[list[int] | None, typer.Option(help="Only this level; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="Where compare.json goes.")] = Path("reports"),
) -> None:
    """Every level lives through a short story; a table says what came of it.

    Example: ladder demo
    """
    from ladder.demo import demo as run_demo

    run_demo(scenario, feed, level or [], out, Console())


@app.command()
def run(level: LevelNumber) -> None:
    """One life cycle of one level, step by step: who does it, the command, how long it took.

    Example: ladder run 1
    """
    from ladder.cycle import run as run_cycle

    run_cycle(level, Console())


@app.command()
def up(
    level: LevelNumber,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the application; a free one if not given.")
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Day 0: without any model.")] = False,
    story: Annotated[
        bool, typer.Option("--story", help="Let days pass: users ask, and the level does what it does.")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(min=0.5, max=600, metavar="SECONDS", help="Of a day of the story; 8 if not given."),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="Of the story: a scenario with a period, by name or path.")
    ] = None,
) -> None:
    """Start what a level runs, on loopback, until Ctrl-C.

    Example: ladder up 1 --port 8000
    """
    from ladder.up import up as start_level

    for name, value in (("--scenario", scenario), ("--speed", speed)):
        if value is not None and not story:
            raise UserError(f"{name} is of a story: give --story, too")
    seconds = (speed or 8.0) if story else None
    start_level(level, port, Console(), empty=empty, scenario=scenario, seconds=seconds)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="The slow ones too.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these: a level's number, or `tool`; may be repeated.")
    ] = None,
) -> None:
    """Every test: each level's own, in its folder, and those that hold across levels. More goes to pytest.

    Example: ladder test --only 1 -k ingest
    """
    from ladder.testing import run_tests

    raise typer.Exit(run_tests(every, only or [], context.args))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. A user's mistake is one line on stderr and status 1 (usage: 2)."""
    try:
        status = typer.main.get_command(app)(
            args=list(sys.argv[1:] if argv is None else argv), prog_name="ladder", standalone_mode=False
        )
        if status == INTERRUPTED:  # typer's word for Ctrl-C
            print("stopped", file=sys.stderr)
        return status if isinstance(status, int) else 0
    except TyperException as error:  # a mistake in the command line
        message, context = error.format_message(), getattr(error, "ctx", None)
        if not message.strip():  # no command was given, and the help was shown
            return 2
        hint = f" (see `{context.command_path} --help`)" if context else ""
        print(f"error: {message}{hint}", file=sys.stderr)
        return error.exit_code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a place that cannot be read or written: nothing a traceback would explain
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}; choose another place", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
