"""`ladder new`: a level as a project of one's own, in a git repository of its own."""

import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

from ladder import UserError
from ladder.git import commit_tree, git, require, store
from ladder.levels import Level, level, levels
from ladder.starter import template
from ladder.starter.rename import PACKAGE, check_name
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import read_feed

SAMPLE = ("2011-01", "2011-02", "2011-03", "2011-04", "2011-05", "2011-06")  # the README's examples use some
MESSAGE = "Start the project"


@dataclass(frozen=True)
class Wanted:
    """What somebody wants: `feed` is a folder, None for the sample; with `empty` there is none at all."""

    level: Level
    destination: Path
    package: str
    feed: Path | None = None
    empty: bool = False


def new(wanted: Wanted, console: Console) -> None:
    """Make the project. It is made beside its place and moved there: it is there as a whole or not at all.

    Raises UserError where the place is taken, the package cannot be called so or the feed cannot be read.
    """
    require()
    destination = _free(wanted.destination)
    check_name(wanted.package)
    months = [] if wanted.empty else _months(wanted.feed)
    with _beside(destination) as made:
        template.write(wanted.level, wanted.package, made)
        _commit(made)
        if months:
            (made / "feed").mkdir()
        for month in months:
            shutil.copyfile(month, made / "feed" / month.name)
        if destination.exists():
            destination.rmdir()
        made.rename(destination)
    _say(wanted, len(months), console)


def _free(destination: Path) -> Path:
    """The place, as a whole path. Raises UserError where something lies there."""
    place = destination.expanduser().absolute()
    if place.exists() and not place.is_dir():
        raise UserError(f"{destination}: a file of that name is there; choose another place")
    if place.is_dir() and any(place.iterdir()):
        raise UserError(f"{destination}: the folder is not empty; choose another place")
    if place.resolve() == Path.cwd().resolve():
        raise UserError(f"{destination}: the project would replace the current folder; choose one inside it")
    return place


def _months(feed: Path | None) -> list[Path]:
    """The feed's files. Raises UserError where it is none."""
    if feed is None:
        return [COMMITTED_FEED / f"{month}.csv" for month in SAMPLE]
    read_feed(feed)  # rather a mistake here than in the project
    return sorted(feed.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].csv"))


@contextmanager
def _beside(destination: Path) -> Iterator[Path]:
    """An empty folder beside the destination; gone afterwards, like those that were left by a kill."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    for left in destination.parent.glob(f".{destination.name}.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    made = destination.with_name(f".{destination.name}.new-{uuid.uuid4().hex}")
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _commit(project: Path) -> None:
    """The first commit, on `main` and on the branch of the template."""
    git(project, "init", "--quiet", "--initial-branch", "main")
    with tempfile.TemporaryDirectory() as scratch:
        tree = store(project, project, Path(scratch))
    commit = commit_tree(project, tree, MESSAGE)
    for branch in ("main", template.BRANCH):
        git(project, "update-ref", f"refs/heads/{branch}", commit)
    git(project, "reset", "--quiet")


def _say(wanted: Wanted, months: int, console: Console) -> None:
    feed = f"{months} months of a feed in feed/" if months else "no feed"
    for line in (
        f"{wanted.destination}: {wanted.level.name}; {feed}; committed on main.",
        "README.md in it says what to type, and where to change what.",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def wanted(
    number: int | None, destination: Path | None, package: str | None, feed: Path | None, empty: bool
) -> Wanted:
    """What was given, completed: by asking where the level or the place is missing, else by what is usual.

    Raises UserError where something is missing and nobody can be asked, or does not go together.
    """
    if feed is not None and empty:
        raise UserError("--feed and --no-feed do not go together: give one of them")
    missing = [name for name, value in (("LEVEL", number), ("DEST", destination)) if value is None]
    if missing and not sys.stdin.isatty():
        raise UserError(
            f"no {' and no '.join(missing)}: `ladder new LEVEL DEST`, as in `ladder new 2 demand`"
        )
    if number is None:
        for each in levels():
            typer.echo(f"  {each.number}  {each.name}")
        number = typer.prompt("Level", type=int)
    if destination is None:
        destination = Path(typer.prompt("Folder"))
    if missing and package is None:
        package = typer.prompt("Package", default=PACKAGE)
    if missing and feed is None and not empty:
        given = typer.prompt("Feed (a folder, `sample` or `none`)", default="sample")
        feed, empty = (None if given in ("sample", "none") else Path(given)), given == "none"
    return Wanted(level(number), destination, package or PACKAGE, feed, empty)
