"""HTML pages, each a single self-contained file."""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from ladder import UserError

HERE = Path(__file__).parent


@cache
def environment() -> Environment:
    """The environment of all templates."""
    made = Environment(
        loader=PackageLoader("ladder.page"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = lambda text: Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text))))
    return made


def text(name: str) -> str:
    """The content of a file of this package."""
    return (HERE / name).read_text(encoding="utf-8")


def save(content: str, path: Path) -> None:
    """Write a text, in one piece or not at all. Raises UserError if there is a folder of that name."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the file a name in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(
        content, encoding="utf-8", errors="replace", newline="\n"
    )  # names of files may be no text
    part.replace(path)
