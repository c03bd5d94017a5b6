"""`ladder feed`: simulates, imports, fetches or publishes the operator's feed."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from ladder.world.scenario import Scenario

app = typer.Typer(no_args_is_help=True, help="The operator's feed: a folder with one CSV a month.")

Out = Annotated[
    Path | None, typer.Option(help="Folder for the feed.", show_default="a folder in .ladder/feeds")
]
ScenarioName = Annotated[
    str | None,
    typer.Option("--scenario", help="A scenario of data/scenarios, by name, or the path of a TOML file."),
]


@app.command()
def simulate(
    seed: Annotated[
        int | None, typer.Option(help="Random seed.", show_default="that of the committed feed", min=0)
    ] = None,
    scenario: ScenarioName = None,
    start: Annotated[
        datetime, typer.Option(help="First month.", formats=["%Y-%m"], show_default="2011-01")
    ] = datetime(2011, 1, 1),
    months: Annotated[int, typer.Option(help="How many months.", min=1)] = 24,
    out: Out = None,
) -> None:
    """Simulate a clean feed: what really happened, with the events of a scenario but not its faults.

    Example: ladder feed simulate --scenario growth --months 18
    """
    from ladder.world import simulator

    story = _scenario(scenario)
    folder = out or _default(f"simulated-{story.name}" if story else "simulated")
    seed = simulator.DEFAULT_SEED if seed is None else seed
    _write(simulator.simulate(story, seed=seed, start=f"{start:%Y-%m}", months=months), folder)


@app.command()
def problem(
    name: Annotated[str, typer.Argument(help="energy-load or customer-churn.")],
    until: Annotated[datetime, typer.Option(help="The feed ends before this date.", formats=["%Y-%m-%d"])],
    event: Annotated[
        datetime | None, typer.Option(help="Date of the event (default: none).", formats=["%Y-%m-%d"])
    ] = None,
    fault: Annotated[
        datetime | None, typer.Option(help="First day of the fault (default: none).", formats=["%Y-%m-%d"])
    ] = None,
    days: Annotated[int, typer.Option(help="Duration of the fault in days.", min=1, max=3650)] = 7,
    out: Out = None,
) -> None:
    """The feed of another problem, with its event and its fault.

    Example: ladder feed problem energy-load --until 2023-09-01 --event 2023-07-10
    """
    from ladder.world.other_problems import write

    folder = out or _default(name)
    happens, begins = (None if each is None else each.date() for each in (event, fault))
    months = write(name, folder, until.date(), happens, begins, days)
    typer.echo(f"{folder}: {months} months, until {until:%Y-%m-%d}")


@app.command(name="import")
def import_(
    hour_csv: Annotated[Path, typer.Argument(help="hour.csv of the UCI Bike Sharing data set.")],
    out: Out = None,
) -> None:
    """Turn the real data, hour.csv of the UCI Bike Sharing data set, into a feed.

    Example: ladder feed import hour.csv
    """
    from ladder.world.uci import read_uci

    _write(read_uci(hour_csv), out or _default("uci"))


@app.command()
def fetch(out: Out = None) -> None:
    """Fetch the real data from OpenML (needs a network) and turn it into a feed.

    Example: ladder feed fetch
    """
    from ladder.world.openml import fetch_openml_feed

    _write(fetch_openml_feed(), out or _default("openml"))


@app.command()
def publish(
    until: Annotated[
        datetime,
        typer.Option(help="The feed ends before this date.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    ],
    scenario: ScenarioName = None,
    feed: Annotated[
        Path | None,
        typer.Option(help="A clean feed.", show_default="the committed feed, or the world of the scenario"),
    ] = None,
    out: Out = None,
) -> None:
    """Publish the feed up to a date, with a scenario's reporting faults applied.

    Example: ladder feed publish --until 2012-05-12 --scenario units
    """
    import pandas as pd

    from ladder.world.clean import published_feed

    story = _scenario(scenario)
    folder = out or _default(f"published-{story.name}" if story else "published")
    frame = published_feed(story, pd.Timestamp(until), folder, feed)
    if feed is not None and story is not None and story.events:
        kinds = ", ".join(event.kind for event in story.events)
        typer.echo(f"Skipped, because events need the simulator: {kinds}")
    _write(frame, folder)


def _default(name: str) -> Path:
    """The default folder of a feed: next to the working copies, relative to the current folder."""
    from ladder.workcopy import home

    folder = home() / "feeds" / name
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _scenario(name: str | None) -> "Scenario | None":
    from ladder.world.scenario import load_scenario

    return load_scenario(name) if name else None


def _write(frame: "pd.DataFrame", folder: Path) -> None:
    from ladder.world.feedfile import write_feed

    write_feed(frame, folder)
    first, last = frame["timestamp"].iloc[0], frame["timestamp"].iloc[-1]
    typer.echo(f"{folder}: {len(frame):,} rows, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}")
