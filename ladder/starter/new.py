"""`ladder new`: makes a project from a level, in a git repository of its own."""

import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from ladder import UserError
from ladder.git import author, commit_tree, git, require, store
from ladder.levels import Level
from ladder.output import print_line
from ladder.starter import problems, template
from ladder.starter.rename import CAN_FORMAT, FORMAT, PACKAGE, check_name, run_python
from ladder.world import COMMITTED_FEED
from ladder.world.other_problems import write_sample

SAMPLE = ("2011-01", "2011-02", "2011-03", "2011-04", "2011-05", "2011-06")  # the README's examples use some
NEEDED_TO_DRAFT = ("pandas", "pyarrow", "ruff")  # by the project's own command


def new(
    level: Level,
    given: Path,
    console: Console,
    package: str | None = None,
    feed: Path | None = None,
    *,
    no_feed: bool = False,
    draft: Sequence[str] = (),
    problem: str = "",
) -> None:
    """Create the project in a temporary folder next to `given`, then move it there, so that it is complete.

    `package` defaults to the level's, or is named after the problem or, with `draft`, the folder. `feed` is a
    folder, None for the sample. `draft`: arguments of `problem draft`, a table first; its problem is a
    separate commit, which climbs keep. `problem`: one of those in problems/. Raises UserError if the place is
    taken, the package name is invalid, or the feed or the table cannot be read.
    """
    require()
    if sum((feed is not None, no_feed, bool(draft))) > 1:
        raise UserError("--feed, --no-feed and --data are mutually exclusive")
    if problem and (draft or feed is not None):
        raise UserError("--problem brings its own feed: drop --data and --feed")
    if (problem or draft) and level.number == 0:
        raise UserError("level 0 is a notebook about its own problem: use level 1 to 4")
    destination = _free(given)
    name = package if package is not None else _package(problem or (destination.name if draft else ""))
    try:
        check_name(name)
    except UserError as error:
        raise UserError(f"{error}; give another with --package") from None
    months = [] if no_feed or draft or problem else _months(feed)
    can_draft = all(map(find_spec, NEEDED_TO_DRAFT))
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as scratch:
        made = Path(scratch, "project")
        template.write(level, name, made, problem)
        _commit(made)
        if not (no_feed or draft):
            (made / "feed").mkdir()
        for month in months:
            shutil.copyfile(month, made / "feed" / month.name)
        if problem and not no_feed:
            write_sample(problem, made / "feed")
        if draft and can_draft:
            print_line(console, _drafted(made, name, draft))
        if destination.exists():
            destination.rmdir()
        made.rename(destination)
    count = len(list((destination / "feed").glob("*.csv")))
    what = f"{count} months of a feed in feed/" if count else "no feed"
    if draft:
        what = "its problem is drafted" if can_draft else "its problem is still that of the level"
    print_line(console, f"{given}: {level.name}; {what}; committed on main.")
    print_line(console, "See its README.md for commands and where to make changes.")
    if name != PACKAGE and not CAN_FORMAT:
        print_line(console, f"Once its requirements.lock is installed, format the renamed code: {FORMAT}")
    if draft and not can_draft:
        command = shlex.join(["python", "-m", name, "problem", "draft", *draft])
        print_line(console, f"Once its requirements.lock is installed, draft your problem in it: {command}")


def _drafted(project: Path, package: str, given: Sequence[str]) -> str:
    """Draft the problem with the project's own command, and commit it. Returns the command's output."""
    done = run_python(project, "-m", package, "problem", "draft", *given)
    if done.returncode:
        raise UserError(done.stderr.strip().removeprefix("error: "))
    shutil.rmtree(project / "state")  # a backup of the level's problem, which this project never had
    _introduce(project, package)
    git(project, "add", "--all")
    git(project, *author(project), "commit", "--quiet", "--message", "Draft the problem from a table")
    return re.sub(r"(?m)^The previous problem is in .*\. (?=Next:)", "", done.stdout.rstrip())


def _introduce(project: Path, package: str) -> None:
    """Describe the drafted problem in the README."""
    if (about := problems.introduction_of(project, package)) is not None:
        readme = project / "README.md"
        text = about.put_into(readme.read_text(encoding="utf-8"))
        readme.write_text(text, encoding="utf-8", newline="\n")


def _package(name: str) -> str:
    """What a package is called by default: after a problem or folder; "" for the level's own name."""
    return re.sub(r"\W+", "_", name).lower() or PACKAGE


def _free(destination: Path) -> Path:
    """The absolute path of the new project. Raises UserError if something is there."""
    place = destination.expanduser().absolute()
    if place.exists() and not place.is_dir():
        raise UserError(f"{destination}: a file of that name exists; choose another folder")
    if place.is_dir() and any(place.iterdir()):
        raise UserError(f"{destination}: the folder is not empty; choose another one")
    if place.resolve() == Path.cwd().resolve():
        raise UserError(f"{destination}: the project would replace the current folder; choose one inside it")
    return place


def _months(feed: Path | None) -> list[Path]:
    """The feed's files. Raises UserError if it is not a feed."""
    if feed is None:
        return [COMMITTED_FEED / f"{month}.csv" for month in SAMPLE]
    from ladder.world.feedfile import read_feed  # needs pandas, which the light install has not

    read_feed(feed)  # rather a mistake here than in the project
    return sorted(feed.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].csv"))


def _commit(project: Path) -> None:
    """The first commit, on `main` and on the branch of the template."""
    git(project, "init", "--quiet", "--initial-branch", "main")
    with tempfile.TemporaryDirectory() as scratch:
        tree = store(project, project, Path(scratch))
    commit = commit_tree(project, tree, template.MESSAGE)
    for branch in ("main", template.BRANCH):
        git(project, "update-ref", f"refs/heads/{branch}", commit)
    git(project, "reset", "--quiet")
