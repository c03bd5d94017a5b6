"""Dockerfile, README and runbook are consistent, and what the image installs is enough."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.service import running

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def test_the_image_has_pinned_bases_and_does_not_run_as_root() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.1[123]-\S+", base) for base in bases)
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*$", last, re.MULTILINE)
    assert last.index("\nUSER ") < last.index("\nCMD ")


def test_dockerignore_allows_what_the_dockerfile_copies() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for sources in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert f"!{source}" in allowed
            assert (ROOT / source).exists()


@pytest.mark.parametrize("name", ["README.md", "runbook.yaml", "Dockerfile"])
def test_the_commands_that_are_written_down_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").replace('", "', " ")
    named = set(re.findall(r"python -m bike_demand (\w+)", text))
    usage = [sys.executable, "-m", "bike_demand", "--help"]
    shown = subprocess.run(usage, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert named
    assert named <= set(re.findall(r"(?m)^  (\w+) ", shown.partition("Commands:")[2]))


def test_runbook_automates_training_but_not_release() -> None:
    steps = yaml.safe_load((ROOT / "runbook.yaml").read_text(encoding="utf-8"))["release"]
    assert [(step["id"], step["who"]) for step in steps] == [
        ("train", "machine"),
        ("review", "data scientist"),
        ("release", "software engineer"),
    ]
    assert not any("copies" in step or "restarts" in step for step in steps)


def test_the_workflow_trains_on_the_schedule_of_prefect_yaml_and_only_where_it_is_switched_on() -> None:
    path = ROOT / ".github" / "workflows" / "training.yml"
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    triggers = workflow[True]  # YAML reads the key `on` as true
    assert set(triggers) == {"schedule", "workflow_dispatch"}
    (deployment,) = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert triggers["schedule"] == [{"cron": deployment["schedules"][0]["cron"]}]
    assert all(job["if"] == "${{ vars.TRAINING == 'on' }}" for job in workflow["jobs"].values())
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert any("python -m bike_demand train" in each for each in commands)
    assert any("release latest --check" in each and "GITHUB_STEP_SUMMARY" in each for each in commands)


@pytest.mark.slow
def test_the_packages_of_the_image_are_enough_to_serve(tmp_path: Path, released: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("needs uv")
    (run,) = re.findall(r"^RUN uv venv .*$", DOCKERFILE, re.MULTILINE)
    venv, install = (shlex.split(part) for part in run.removeprefix("RUN ").split("&&"))
    place = tmp_path / "venv"
    for command in ([*venv, "--python", sys.executable], install):
        words = [uv, *(str(place) if word == "/opt/venv" else word for word in command[1:])]
        subprocess.run([word for word in words if word != "--compile-bytecode"], cwd=ROOT, check=True)
    shutil.copytree(ROOT / "bike_demand", released / "bike_demand")
    (python,) = [*place.glob("bin/python"), *place.glob("Scripts/python.exe")]
    with running(released, python=python) as service:
        assert service.client.get("/ready").status_code == 200
    absent = "import importlib.util as u; print([n for n in ('sklearn', 'pandas') if u.find_spec(n)])"
    assert subprocess.check_output([python, "-c", absent], text=True).strip() == "[]"
