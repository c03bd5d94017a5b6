"""Replaces the problem of a copied level by another one, with everything that names it."""

import json
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ladder.starter.rename import PACKAGE, run_python
from ladder.workcopy import copy_files
from ladder.world.other_problems import folder_of

# Of tests/problem, the modules that hold for any problem (test_domain.py, because domain.py is replaced).
ANY_PROBLEM = ("__init__.py", "samples.py", "test_contract.py", "test_domain.py")


@dataclass(frozen=True)
class Introduction:
    """The parts of a README about a problem: a request is an example row, an outcome reports its label.

    `months`: those of the project's feed; empty if it has none there.
    """

    name: str
    title: str
    description: str
    request: dict[str, Any]
    outcome: dict[str, Any]
    months: Sequence[str] = ()

    def put_into(self, readme: str) -> str:
        """The README of a level, about this problem."""
        _title, _description, rest = readme.split("\n\n", 2)
        described = "\n".join(textwrap.wrap(self.description, 118))
        # In single quotes of a shell.
        request = json.dumps(self.request, indent=2).replace("'", "\\u0027").replace("\n", "\n      ")
        label = list(self.outcome)[-1]
        identity = ", ".join(f'"{name}"' for name in self.outcome if name != label)
        rest = re.sub(r"--data '\{.*?\}'", lambda _: f"--data '{request}'", rest, flags=re.DOTALL)
        rest = rest.replace('[{"timestamp", "count"}]', f'[{{{identity}, "{label}"}}]')
        rest = rest.replace('"timestamp", "prediction"', f'{identity}, "prediction"')
        year = str(next(iter(self.outcome.values())))[:4]  # of its event time
        first, *others = self.months or (f"{year}-01", f"{year}-02")
        months = {"2011-01": first, "2011-02": others[0] if others else first}
        rest = re.sub("2011-0[12]", lambda found: months[found[0]], rest)
        rest = re.sub(r"(models:/|#/models/)[\w-]+", rf"\g<1>{self.name}", rest)
        return f"# {self.title}\n\n{described}\n\n{rest}"


def put(name: str, project: Path) -> None:
    """Install a problem, its tests, settings and README in place of a copied level's."""
    folder = folder_of(name)
    shutil.rmtree(project / PACKAGE / "problem")
    copy_files(folder / "problem", project / PACKAGE / "problem")
    tests = project / "tests" / "problem"
    for path in tests.iterdir():
        if path.name not in ANY_PROBLEM:
            path.unlink()
    copy_files(folder / "tests", tests)
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    changes = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    params.write_text(with_settings(text, changes), encoding="utf-8", newline="\n")
    readme = project / "README.md"
    text = introduction(name).put_into(readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8", newline="\n")


def introduction(name: str) -> Introduction:
    """Parse a problem's README: title, first paragraph, and the two blocks of JSON."""
    text = (folder_of(name) / "README.md").read_text(encoding="utf-8")
    title, description, *_ = text.split("\n\n")
    request, outcome = re.findall(r"(?ms)^```json\n(.*?)^```", text)
    described = " ".join(description.split())
    return Introduction(name, title.removeprefix("# "), described, json.loads(request), json.loads(outcome))


def introduction_of(project: Path, package: str) -> Introduction | None:
    """From the problem of a project; None if its code does not run here, because packages are missing."""
    script = (
        f"import json; from {package}.problem import PROBLEM as p; request = dict(p.example);"
        " outcome = {name: request[name] for name in (p.time, *p.keys)} | dict(p.example_label);"
        " print(json.dumps([p.name, p.title, p.description, request, outcome]))"
    )
    done = run_python(project, "-c", script)
    months = sorted(path.stem for path in (project / "feed").glob("[0-9]*-[0-9]*.csv"))
    if done.returncode:
        return None
    return Introduction(*[*json.loads(done.stdout.splitlines()[-1]), months])  # the problem may print, too


def with_settings(text: str, changes: dict[str, Any]) -> str:
    """params.yaml with new values for keys, including commented-out ones; comments stay."""
    for key, value in changes.items():
        if isinstance(value, dict):
            section = re.search(rf"(?ms)^{key}:.*?(?=^[^\s#]|\Z)", text)
            if section is not None:
                text = text.replace(section[0], _section(section[0], value))
        else:
            text = _set(text, key, value, "")
    return text


def _section(text: str, changes: dict[str, Any]) -> str:
    for key, value in changes.items():
        text = _set(text, key, value, "  ")
    return text


def _set(text: str, key: str, value: Any, indent: str) -> str:
    return re.sub(
        rf"(?m)^{indent}(?:# )?{key}: [^#\n]*?(\s*(?:#.*)?)$",
        lambda found: f"{indent}{key}: {json.dumps(value)}{found[1]}",
        text,
    )
