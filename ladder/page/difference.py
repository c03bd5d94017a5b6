"""The page of two levels side by side: a single self-contained HTML file."""

import os
from pathlib import Path

from markupsafe import Markup

from ladder import ROOT, practices
from ladder.difference import KINDS, MARKS, WORDS, Difference, File
from ladder.output import save
from ladder.page import code, environment, text


def write(found: Difference, path: Path) -> None:
    """Write the page to `path` atomically.

    Raises UserError if that is a folder, OSError if it cannot be written.
    """
    save(render(found, path.parent), path)


def render(found: Difference, folder: Path) -> str:
    """The complete page; `folder` is its future place, to which links to the files are relative."""
    return (
        environment()
        .get_template("difference.html.j2")
        .render(
            found=found,
            parts=found.parts(),
            kinds=KINDS,
            marks=MARKS,
            words=WORDS,
            style=Markup(text("base.css") + text("code.css")),
            side_by_side=code.side_by_side,
            anchor=anchor,
            proof=practices.proof_of,
            listing=code.listing,
            address=lambda path: _address(path, folder),
            root=ROOT,
        )
    )


def anchor(file: File) -> str:
    """The file's name in the page, the same in each page that has it."""
    return "file-" + "".join(each if each.isalnum() else "-" for each in file.name)


def _address(path: Path, folder: Path) -> str:
    """The relative link from the page to a file, or its absolute address if there is none."""
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.as_uri()
