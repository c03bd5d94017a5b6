"""The workflows: up to date with the levels, well formed, safe, and releasing nothing from here."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ladder import workflows
from ladder.levels import ROOT

OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
THEIRS = sorted(ROOT.glob("level*/.github/workflows/*.yml"))


def test_the_generated_workflows_are_up_to_date() -> None:
    made = workflows.generated()
    assert made, "no level has a workflow"
    for path, content in made.items():
        assert path.read_text(encoding="utf-8") == content, "run `python -m ladder.workflows`"
    assert {path for path in OURS if path.name.startswith("level")} == set(made)


@pytest.mark.parametrize("path", [*OURS, *THEIRS], ids=lambda path: f"{path.parents[2].name}-{path.stem}")
def test_a_workflow_is_one_that_github_understands(path: Path) -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_workflow_has_a_known_weakness() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("zizmor")), "--offline", *map(str, [*OURS, *THEIRS])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_nothing_is_released_from_the_template_itself(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    triggers = workflow[True]  # YAML reads the key `on` as true
    assert "tags" not in (triggers.get("push") or {})
    for name, job in workflow["jobs"].items():
        assert "write" not in job["permissions"].values(), name
        assert not any("docker push" in step.get("run", "") for step in job["steps"]), name


def test_a_level_does_release_its_application_on_a_tag() -> None:
    for path in THEIRS:
        if path.stem != "application":
            continue
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow[True]["push"]["tags"] == ["v*"]
        assert any("docker push" in step.get("run", "") for step in workflow["jobs"]["release"]["steps"]), (
            path
        )
