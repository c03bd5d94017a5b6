"""Generates this repository's workflows from the levels' own: `python -m ladder.workflows`.

A level's workflow is in its own `.github/`, where a copy of the level needs it. The generated one has to run
in the level's folder, only when that changes, and must not release anything: this repository is the template.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ladder import ROOT
from ladder.levels import Level, levels

TARGET = ROOT / ".github" / "workflows"


def generate() -> dict[Path, str]:
    """The content of each generated workflow, by path."""
    made = {}
    for level in levels():
        found = sorted((level.folder / ".github" / "workflows").glob("*.yml"))
        sources = [source for source in found if _checks_changes(source)]
        for source in sources:
            name = f"level{level.number}" + (f"-{source.stem}" if len(sources) > 1 else "")
            made[TARGET / f"{name}.yml"] = _for_template(level, source)
    return made


def _checks_changes(source: Path) -> bool:
    """Whether a workflow runs on code changes; workflows that train or release models are not generated."""
    return "push" in YAML(typ="safe").load(source.read_text(encoding="utf-8"))["on"]


def has_external_effects(job: Mapping[str, Any]) -> bool:
    """Whether a job reaches anything outside itself: it may write, or works in one of the environments."""
    return "environment" in job or "write" in job["permissions"].values()


def _for_template(level: Level, source: Path) -> str:
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    workflow = yaml.load(source.read_text(encoding="utf-8"))
    folder = level.folder.name
    workflow["name"] = f"level {level.number}: {workflow['name']}"
    workflow["on"]["push"].pop("tags", None)
    for event in ("push", "pull_request"):
        workflow["on"][event] = dict(workflow["on"][event] or {}) | {"paths": [f"{folder}/**"]}
    workflow["concurrency"]["group"] = f"level{level.number}-{workflow['concurrency']['group']}"
    workflow["defaults"]["run"].insert(0, "working-directory", folder)
    for name, job in list(workflow["jobs"].items()):
        if has_external_effects(job):  # that belongs to projects made from the level
            del workflow["jobs"][name]
    text = io.StringIO()
    text.write(
        f"# Made from {source.relative_to(ROOT).as_posix()} by `python -m ladder.workflows`: edit that one.\n"
    )
    yaml.dump(workflow, text)
    return text.getvalue()


def main() -> None:
    """Write them."""
    for path, content in generate().items():
        path.write_text(content, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
