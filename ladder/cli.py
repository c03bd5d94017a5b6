"""The command line of the tool: one thin function per command."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from ladder import UserError, __version__, feed
from ladder.output import console, print_line

app = typer.Typer(
    name="ladder",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="One model, five ways to ship it: run, replay and compare the levels of the MLOps maturity model.",
)
app.add_typer(feed.app, name="feed", help="The operator's feed: simulate, import, fetch or publish it.")

INTERRUPTED, TERMINATED = 130, 143

LevelNumber = Annotated[int, typer.Argument(metavar="LEVEL", min=0, max=4, help="0 to 4")]

Scenario = Annotated[str, typer.Option(help="Scenario to replay: a name, or a TOML file with a period.")]
CleanFeed = Annotated[
    Path | None, typer.Option(help="Replay on this feed instead of a simulated one (see `feed import`).")
]
Out = Annotated[
    Path | None, typer.Option(help="Folder for compare.json and compare.html.", show_default="reports")
]


@app.command()
def demo(
    scenario: Scenario = "short",
    feed: CleanFeed = None,
    level: Annotated[list[int] | None, typer.Option(help="Only this level; may be repeated.")] = None,
    out: Out = None,
) -> None:
    """Replay a story of twelve weeks at every level and compare the results.

    Example: ladder demo
    """
    from ladder.compare.command import Options, compare

    compare(Options(scenario, "demo", out or _reports(), feed, levels=tuple(level or ())), console())


@app.command()
def compare(
    scenario: Scenario = "default",
    feed: CleanFeed = None,
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day (default: the scenario's)."),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (default: the scenario's)."),
    ] = None,
    levels: Annotated[list[str] | None, typer.Option(help="Only these levels, like 0,3,4.")] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="How long people take: a file like data/people.yaml.", show_default="that file"),
    ] = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print compare.json and nothing else.")] = False,
    same_dates: Annotated[bool, typer.Option(help="Replay again with the same release dates.")] = True,
) -> None:
    """Replay the long story at every level, to measure what each practice costs and saves.

    Example: ladder compare --levels 0,3,4 --from 2012-01-01 --to 2012-06-30
    """
    from ladder.compare import command
    from ladder.runbook import PEOPLE

    out = out or _reports()
    options = command.Options(
        scenario,
        "compare",
        out,
        feed,
        start.date() if start else None,
        end.date() if end else None,
        tuple(_numbers(levels or ())),
        people or PEOPLE,
        same_dates,
    )
    command.compare(options, console(stderr=as_json))
    if as_json:
        sys.stdout.write((out / "compare.json").read_text(encoding="utf-8"))


def _reports() -> Path:
    """The default folder of pages: `reports` in the current folder, if that is writable."""
    from ladder.workcopy import home

    return (Path() if os.access(Path.cwd(), os.W_OK) else home()) / "reports"


def _numbers(given: Sequence[str]) -> Iterator[int]:
    """The levels of options like `0,3,4`. Raises UserError for anything but numbers."""
    for part in ",".join(given).split(",") if given else ():
        if not part.strip().isdecimal():
            raise UserError(f"--levels: {part.strip()!r} is not a level: give numbers like 0,3,4")
        yield int(part)


@app.command()
def diff(
    first: Annotated[int, typer.Argument(metavar="A", min=0, max=4, help="A level, 0 to 4.")],
    second: Annotated[int, typer.Argument(metavar="B", min=0, max=4, help="The level to compare it with.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Only these: files, folders or patterns in a level's folder."),
    ] = None,
    changes: Annotated[bool, typer.Option("--changes", help="Also print diffs, as with FILE.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Side by side, as reports/diff-A-B.html.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where the page goes; implies --html.")] = None,
) -> None:
    """What level B adds to level A, changes and carries over, by practice.

    Example: ladder diff 2 3 bike_demand/flows.py
    """
    from ladder.difference import between, show

    found = between(first, second, files or ())
    if html or out is not None:
        from ladder.page.difference import write

        path = out or _reports() / f"diff-{first}-{second}.html"
        write(found, path)
        print_line(console(), f"{found.counts()}. The page is {path}")
        return
    show(found, console(), changes=changes or bool(files), chosen=bool(files))


@app.command()
def run(level: LevelNumber) -> None:
    """One life cycle of one level, step by step: who does it, the command, how long it took.

    Example: ladder run 1
    """
    from ladder.cycle import run as run_cycle

    run_cycle(level, console())


@app.command()
def up(
    level: LevelNumber,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the application; a free one if not given.")
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Start without releasing a model first.")] = False,
    story: Annotated[bool, typer.Option("--story", help="Replay a story, a few seconds a day.")] = False,
    speed: Annotated[
        float | None,
        typer.Option(min=0.5, max=600, metavar="SECONDS", help="Wall seconds per story day (default: 4)."),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="Scenario for --story: a name, or a TOML file with start and end.")
    ] = None,
) -> None:
    """Start what a level runs, on loopback, until Ctrl-C.

    Example: ladder up 1 --port 8000
    """
    from ladder.up import up as start_level

    for name, value in (("--scenario", scenario), ("--speed", speed)):
        if value is not None and not story:
            raise UserError(f"{name} requires --story")
    seconds = (speed or 4.0) if story else None
    start_level(level, port, console(), empty=empty, scenario=scenario, seconds=seconds)


@app.command()
def new(
    level: LevelNumber,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="A folder that is new or empty.")],
    package: Annotated[str | None, typer.Option(metavar="NAME", help="Name of its Python package.")] = None,
    problem: Annotated[
        str, typer.Option(metavar="NAME", help="Use this problem instead: energy-load or customer-churn.")
    ] = "",
    feed: Annotated[
        Path | None,
        typer.Option(help="Folder to copy the feed from (default: half a year of the committed feed)."),
    ] = None,
    no_feed: Annotated[bool, typer.Option("--no-feed", help="Without any feed.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own table, from which its problem and feed are drafted."),
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the event time.")] = None,
    time_of_day: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The time of day, if --time has only dates.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column that identifies the customer, station, ...")
    ] = None,
    label_delay: Annotated[
        str | None, typer.Option(metavar="30d", help="How long after the event time the label is known.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of times with UTC offsets, like Europe/Berlin.")
    ] = None,
) -> None:
    """Make a level a project of your own.

    Example: ladder new 2 ../churn --package churn --data customers.csv --label left
    """
    from ladder.levels import level as level_of
    from ladder.starter.new import new as make

    options = {"--label": label, "--time": time, "--time-of-day": time_of_day, "--key": key}
    options |= {"--label-delay": label_delay, "--timezone": timezone}
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    if (data is None) != (label is None) or (given and data is None):
        raise UserError(
            f"--data and --label must be given together; {', '.join(list(options)[1:])} need both"
        )
    draft = [] if data is None else [str(data.absolute()), *given]
    make(level_of(level), dest, console(), package, feed, no_feed=no_feed, draft=draft, problem=problem)


@app.command()
def climb(
    dest: Annotated[Path, typer.Argument(help="The project's folder.")] = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    same_level: Annotated[
        bool, typer.Option("--same-level", help="Update to the newest template of the same level.")
    ] = False,
) -> None:
    """Take a project that `ladder new` made one level up: a merge, on a new branch.

    Exits with 1 if conflicts are left.

    Example: ladder climb ../taxi-demand --dry-run
    """
    from ladder.starter.climb import climb as take_up

    if not take_up(dest, console(), same_level=same_level, dry_run=dry_run):
        raise typer.Exit(1)


@app.command()
def maturity(
    level: Annotated[int | None, typer.Argument(min=0, max=4, help="0 to 4; all if not given.")] = None,
) -> None:
    """The maturity model row by row: the test that proves it here, and its last result.

    Example: ladder maturity 3
    """
    from ladder.maturity import show

    show(level, console())


@app.command()
def assess(
    path: Annotated[Path, typer.Argument(help="A project's folder.")] = Path(),
    sub: Annotated[
        str | None, typer.Option("--path", metavar="FOLDER", help="Assess only this folder of a monorepo.")
    ] = None,
    rev: Annotated[str | None, typer.Option(metavar="COMMIT", help="Assess this commit.")] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask on the terminal what files cannot show, and save the answers.")
    ] = False,
    answers: Annotated[
        Path | None, typer.Option(help="Answers file.", show_default="maturity-answers.yaml in the project")
    ] = None,
    questions: Annotated[bool, typer.Option("--questions", help="Print an empty answers file.")] = False,
    every: Annotated[bool, typer.Option("--rows", help="Print every row with its evidence.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a page.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write Markdown; - prints it.")
    ] = None,
    min_level: Annotated[int | None, typer.Option(min=0, max=4, help="Exit with 1 below this level.")] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="OLD.json", help="Show changes since an earlier --json report.")
    ] = None,
) -> None:
    """Where a project stands in the maturity model, with evidence, and what the next level takes.

    Executes no project code.

    Example: ladder assess ../taxi-demand --html reports/assessment.html
    """
    from ladder.assess import command

    if questions:
        command.questions(console())
        return
    if as_json and markdown == Path("-"):
        raise UserError("--json and --markdown - both want standard output; choose one")
    options = command.Options(
        path,
        sub=sub,
        rev=rev,
        ask=ask,
        answers=answers,
        json=as_json,
        markdown=markdown,
        html=html,
        min_level=min_level,
        old=compare,
        every=every,
    )
    if not command.run(options, console(stderr=as_json)):
        raise typer.Exit(1)


@app.command()
def bundle(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    system: Annotated[
        list[str] | None,
        typer.Option("--for", help="linux, macos or windows; may be repeated.", show_default="this system"),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(help="3.11, 3.12 or 3.13; may be repeated.", show_default="this version"),
    ] = None,
) -> None:
    """Put this repository and all packages into one folder, to be copied to laptops without a network.

    Example: ladder bundle /media/stick/mlops-ladder --for windows --for macos --python 3.12
    """
    from ladder import bundle

    bundle.bundle(folder, bundle.targets(system or (), python or ()), console())


@app.command()
def lab(
    number: Annotated[
        int | None, typer.Argument(metavar="N", min=0, help="Number of the lab; without it, all are listed.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the criteria.")] = False,
    hint: Annotated[bool, typer.Option("--hint", help="Show a hint, each time a more concrete one.")] = False,
    solve: Annotated[
        bool, typer.Option("--solve", help="Apply the solution in a fresh copy (needs a pass, or --yes).")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --solve: even if you have not passed.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Start over; your copy is kept next to it.")] = False,
    prepare: Annotated[bool, typer.Option("--prepare", help="Create every lab's starting state.")] = False,
) -> None:
    """The workshop's labs. Status of a check: 0 passed, 1 incomplete, 2 the checker failed.

    Example: ladder lab 1
    """
    from ladder.lab import command

    chosen = [name for name, given in (("--check", check), ("--hint", hint), ("--solve", solve)) if given]
    chosen += [name for name, given in (("--reset", reset), ("--prepare", prepare)) if given]
    if len(chosen) > 1 or (number is None and chosen not in ([], ["--prepare"])):
        raise typer.BadParameter(f"{' and '.join(chosen)}: use only one of them, with a lab number")
    if prepare:
        command.prepare(console())
    elif number is None:
        command.overview(console())
    elif check:
        raise typer.Exit(command.run_check(number, console()))
    elif hint:
        command.hint(number, console())
    elif solve:
        raise typer.Exit(command.solve(number, console(), yes=yes))
    elif reset:
        command.reset(number, console())
    else:
        command.show(number, console())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Include slow tests.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="A level's number, or `tool`; repeatable.")] = None,
) -> None:
    """Every test: each level's own, in its folder, and those that hold across levels.

    Further arguments are passed to pytest.

    Example: ladder test --only 1 -k ingest
    """
    from ladder.testing import run_tests

    raise typer.Exit(run_tests(every, only or [], context.args))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. User errors are one line on stderr, status 1 (usage: 2)."""
    for stream in (sys.stdout, sys.stderr):  # on Windows a pipe or file has the system's old encoding
        if isinstance(stream, TextIOWrapper) and not stream.isatty():
            stream.reconfigure(encoding="utf-8", errors="replace")
    if threading.current_thread() is threading.main_thread():  # by an exception, so that services are stopped
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        status = typer.main.get_command(app)(
            args=list(sys.argv[1:] if argv is None else argv), prog_name="ladder", standalone_mode=False
        )
        if status == INTERRUPTED:  # typer's status after Ctrl-C
            print("stopped", file=sys.stderr)
        return status if isinstance(status, int) else 0
    except TyperException as error:  # a mistake in the command line
        message, context = error.format_message().replace("Value error, ", ""), getattr(error, "ctx", None)
        if not message.strip():  # no command was given, and the help was shown
            return 2
        hint = f" (see `{context.command_path} --help`)" if context else ""
        print(f"error: {message}{hint}", file=sys.stderr)
        return error.exit_code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if str(error.name).startswith("ladder"):
            raise
        print(
            f"error: this command needs {error.name}: python -m pip install"
            f" 'PATH/TO/mlops_ladder-{__version__}-py3-none-any.whl[all]'",
            file=sys.stderr,
        )
        return 1
    except OSError as error:  # a place that cannot be read or written: nothing a traceback would explain
        where = f"{error.filename}: " if error.filename else ""
        what_to_do = "; choose another path" if error.filename else ""
        print(f"error: {where}{error.strerror or error}{what_to_do}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
