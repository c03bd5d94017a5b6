"""Tiny projects to assess: names and contents of files."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from ladder.assess.answers import FILE, parse
from ladder.assess.judge import Assessment, Judged, assess
from ladder.assess.rules import rules
from ladder.assess.tree import read_tree
from ladder.practices import every_row

TRAIN = "from sklearn.linear_model import Ridge\n\n\ndef train(x, y):\n    return Ridge().fit(x, y)\n"
TESTS = "".join(f"def test_{name}():\n    assert f({name!r})\n\n\n" for name in "abc")


def workflow(*steps: str, on: str = "push", job: str = "") -> str:
    """A workflow of GitHub with one job of these steps, each one line of YAML (or a command)."""
    listed = [each if each.startswith(("uses:", "{")) else f"run: {each}" for each in steps]
    head = f"on: {on}\n" if "\n" not in on else on
    return f"{head}jobs:\n  job:\n{job}    runs-on: ubuntu-latest\n    steps:\n" + "".join(
        f"    - {each}\n" for each in listed
    )


def make(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a project."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(content), encoding="utf-8")
    return folder


def assessed(folder: Path, files: Mapping[str, str] | None = None, sub: str | None = None) -> Assessment:
    """Write a project and assess it, with the answers it has."""
    tree = read_tree(make(folder, files or {}), sub)
    return assess(tree, parse(tree.files.get(FILE, ""), FILE, rules()), every_row())


def practice(folder: Path, files: Mapping[str, str], name: str) -> Judged:
    """What is found of one practice."""
    return assessed(folder, files).practices[name]
