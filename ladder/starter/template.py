"""What a project made from a level consists of: the template's state, to the byte."""

import shutil
from pathlib import Path

from ladder import __version__
from ladder.levels import Level
from ladder.starter import readme
from ladder.starter.mark import FILE, Mark
from ladder.starter.rename import rename
from ladder.workcopy import own_files

BRANCH = "template"
IGNORED = "# The feed: data come from outside, they are not code.\n/feed/\n"
# Locks and feeds are compared by digest: no line ending may change on the way.
ATTRIBUTES = "* text=auto eol=lf\n*.png binary\n*.pkl binary\n*.onnx binary\n"


def mark_of(level: Level, package: str) -> Mark:
    """What a project made now says of itself."""
    return Mark(level.number, package, __version__)


def write(level: Level, package: str, folder: Path) -> None:
    """Write the project's files into an empty folder. Raises UserError where they cannot be formatted."""
    for name in own_files(level.folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(level.folder / name, folder / name)
    readme.write(folder)
    ignore = folder / ".gitignore"
    ignored = ignore.read_text(encoding="utf-8")
    if "feed/" not in ignored.split():
        ignore.write_text(ignored + IGNORED, encoding="utf-8", newline="\n")
    (folder / ".gitattributes").write_text(ATTRIBUTES, encoding="utf-8", newline="\n")
    rename(folder, package)
    (folder / FILE).write_text(mark_of(level, package).text(), encoding="utf-8", newline="\n")
