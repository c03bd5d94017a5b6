"""The exact content of a project made from a level: its files, its README, and its origin."""

import re
import tomllib
from pathlib import Path

from jinja2 import Template
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ladder import UserError, __version__
from ladder.levels import Level
from ladder.maturity import HEADING
from ladder.starter import problems
from ladder.starter.rename import name_project
from ladder.workcopy import copy_files

FILE = ".starter.toml"
TEXT = """\
# What this project was made from: `ladder climb` reads it, nothing else does. Where you rename the package
# yourself, change it here as well.
level = {level}
package = "{package}"
version = "{version}"
problem = "{problem}"
"""


class Origin(BaseModel):
    """The level, the name of the package, the version of the template, and the problem if not the level's."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    level: int = Field(ge=0, le=4)
    package: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    version: str
    problem: str = ""

    def text(self) -> str:
        text = TEXT.format(**self.model_dump())
        return text if self.problem else text.removesuffix('problem = ""\n')


def read_origin(text: str) -> Origin:
    """Parse the content of the file. Raises UserError if it is damaged."""
    try:
        return Origin.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        first = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
        where = f": {first[0]}" if first else ""
        raise UserError(f"{FILE}{where} is invalid: restore the file from git") from None


BRANCH = "template"
MESSAGE = "Start the project"  # of the first commit
COMMIT_PREFIX = "Template: "  # prefix of the following commits, before the level's name
IGNORED = "# The feed: data come from outside, they are not code.\n/feed/\n"
# Locks and feeds are compared by digest: no line ending may change on the way.
ATTRIBUTES = "* text=auto eol=lf\n*.png binary\n*.pkl binary\n*.onnx binary\n"


def write(level: Level, package: str, folder: Path, problem: str = "") -> None:
    """Write the project's files into an empty folder.

    Raises UserError if they cannot be formatted, or there is no such problem.
    """
    copy_files(level.folder, folder)
    if problem:
        problems.put(problem, folder)
    _write_readme(folder)
    ignore = folder / ".gitignore"
    ignored = ignore.read_text(encoding="utf-8")
    if "feed/" not in ignored.split():
        ignore.write_text(ignored + IGNORED, encoding="utf-8", newline="\n")
    (folder / ".gitattributes").write_text(ATTRIBUTES, encoding="utf-8", newline="\n")
    name_project(folder, package)
    origin = Origin(level=level.number, package=package, version=__version__, problem=problem)
    (folder / FILE).write_text(origin.text(), encoding="utf-8", newline="\n")


README = Path(__file__).with_name("README.md.j2")
HANDBOOK = "docs/handbook.md"
LOCK_COMMAND = (
    "uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate"
    " --all-extras pyproject.toml --output-file requirements.lock"
)


def _write_readme(folder: Path) -> None:
    """Replace the level's README; those parts of it that do not belong there go to the handbook."""
    path = folder / "README.md"
    title, intro, sections = _parts(path.read_text(encoding="utf-8"))
    sections.pop(HEADING.removeprefix("## "), None)  # about the unchanged level; a project changes
    try_it = sections.pop("Try it", "")
    template = Template(
        README.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    readme = template.render(
        title=title,
        intro=intro,
        try_it=try_it,
        folder=folder,
        lock_command=LOCK_COMMAND,
        handbook=HANDBOOK if sections else "",
    )
    if sections:
        handbook = folder / HANDBOOK
        handbook.parent.mkdir(exist_ok=True)
        text = "\n".join(["# How it works\n", *sections.values()])
        handbook.write_text(text, encoding="utf-8", newline="\n")
    path.write_text(readme, encoding="utf-8", newline="\n")


def _parts(text: str) -> tuple[str, str, dict[str, str]]:
    """Title, the text before the first section, and the sections with their headings, by name."""
    title, _, rest = text.partition("\n")
    intro, *found = re.split(r"(?m)^(?=## )", rest)
    sections = {each.partition("\n")[0].removeprefix("## "): each.rstrip() + "\n" for each in found}
    return title + "\n", intro.strip() + "\n", sections
