"""Dockerfile, README and runbook are consistent, and what the image installs is enough."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

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


def test_runbook_release_needs_no_person() -> None:
    steps = yaml.safe_load((ROOT / "runbook.yaml").read_text(encoding="utf-8"))["release"]
    assert [(step["id"], step["who"]) for step in steps] == [("first", "machine")]
    assert not any("copies" in step or "restarts" in step for step in steps)


def workflow(name: str) -> dict[Any, Any]:
    path = ROOT / ".github" / "workflows" / name
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def commands(job: dict[str, Any]) -> list[str]:
    """The commands of the project that a job runs."""
    runs = [step.get("run", "") for step in job["steps"]]
    return [
        found for each in runs for found in re.findall(r"python -m bike_demand (\w+(?: step| stop)?)", each)
    ]


def uploads(job: dict[str, Any]) -> list[str]:
    """What a job keeps as artifacts, whether it succeeds or not."""
    steps = [step for step in job["steps"] if step.get("uses", "").startswith("actions/upload-artifact@")]
    return [step["with"]["path"] for step in steps if step["if"] == "always()"]


def test_loop_workflow_runs_project_commands() -> None:
    loop = workflow("loop.yml")
    triggers, jobs = loop[True], loop["jobs"]  # YAML reads the key `on` as true
    assert set(triggers) == {"schedule", "repository_dispatch", "workflow_dispatch"}
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    (schedule,) = (each["schedules"][0]["cron"] for each in deployments if "schedules" in each)
    assert triggers["schedule"] == [{"cron": schedule}]
    options = triggers["workflow_dispatch"]["inputs"]["command"]["options"]
    assert set(triggers["repository_dispatch"]["types"]) <= set(options)
    for command in options:
        assert any(re.search(f"""['"]{command}['"]""", job["if"]) for job in jobs.values())
    for name, job in jobs.items():
        assert "vars.LOOP == 'on' &&" in job["if"]
        assert "state/reports" in uploads(job)
        dispatched = name in triggers["repository_dispatch"]["types"]
        assert (f"github.event.action == '{name}'" in job["if"]) == dispatched
    assert "github.event_name == 'schedule'" in jobs["cycle"]["if"]
    assert {name: commands(job) for name, job in jobs.items()} == {
        "cycle": ["agent"],
        "retrain": ["retrain"],
        "deploy": ["ingest", "deploy"],
        "decide": ["ingest", "rollback", "release", "ab stop"],
    }
    # No untrusted input in `run`: it could inject commands.
    assert not any("${{" in step.get("run", "") for job in jobs.values() for step in job["steps"])


def test_the_application_passes_the_same_gates_with_the_live_model_before_it_is_delivered() -> None:
    job = workflow("application.yml")["jobs"]["deliver"]
    assert "vars.DELIVERY == 'on'" in job["if"]
    assert commands(job) == ["ingest", "release"]
    names = [step.get("name", "") for step in job["steps"]]
    assert names.index("The live model passes the gates in the new application") < names.index(
        "Push the image"
    )


def test_workflows_may_do_no_more_than_they_need() -> None:
    for name in ("loop.yml", "application.yml"):
        found = workflow(name)
        assert found["permissions"] == {}
        for job in found["jobs"].values():
            allowed = {"contents": "read"}
            if job["name"].startswith(("Release", "Deliver")):
                allowed |= {"packages": "write"}
            if job["name"].startswith("Release"):
                allowed |= {"contents": "write"}
            assert job["permissions"] == allowed
            for step in job["steps"]:
                assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step.get("uses", f"a@{'0' * 40}"))


def test_a_wheel_has_the_files_of_the_dashboard(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "bike_demand", tmp_path / "bike_demand", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, "dist"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    static = Path("bike_demand/serving/static")
    with ZipFile(wheel) as packed:
        assert {
            path.relative_to(ROOT).as_posix() for path in (ROOT / static).rglob("*") if path.is_file()
        } == {name for name in packed.namelist() if name.startswith(f"{static.as_posix()}/")}


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
