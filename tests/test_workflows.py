"""The workflows: up to date with the levels, well formed, safe, releasing nothing from here, and run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ladder import ROOT, bootstrap, workcopy, workflows
from ladder.levels import level, levels
from tests.actions import Runner, Step, read, steps

OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
THEIRS = sorted(ROOT.glob("level*/.github/workflows/*.yml"))
EVERY = [*OURS, *THEIRS]
DOCKERFILES = sorted([*ROOT.glob("level*/Dockerfile"), *ROOT.glob("level*/*.Dockerfile")])

EACH_WORKFLOW = pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parents[2].name}-{path.stem}")
NEEDS_BASH = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="the workflows' shell is bash"
)

# Why a step is not run by these tests: what it says must match.
ELSEWHERE = {
    r"^docker |\bdocker login\b": "needs Docker, and to push also the registry of GitHub",
    r"^gh release create\b": "makes a release on GitHub",
    r"^body=.*\n(.*\n)*.*gh issue\b": "GitHub's issues; its logic is run below, with a `gh` that takes notes",
    r"^\.ci/run$|^python -m ladder test --all$": "is what runs these tests",
    r"^python -m ladder demo$": "tests/tool/test_demo.py runs it",
    r"^\.venv/bin/python -m mkdocs build$": "tests/docs/test_site.py runs it",
    r"^rm requirements\.lock level\*": "needs the package index",
}
INSTALL = "python -m pip install --no-deps --require-hashes --requirement requirements.lock"
# Jobs of a level's application workflow, and which of their steps are quick and which are not.
APPLICATION = ("lint", "test", "release")
LEAVES = r"docker (push|login)|gh release|bike_demand (agent|deploy|release|retrain|rollback|train)\b"
# Jobs of this repository's own workflows that may write, and what.
WRITERS = {("nightly", "report"): {"issues"}, ("docs", "publish"): {"pages", "id-token"}}
QUICK = re.compile(r"ruff |grep |echo \"IMAGE=")
SLOW = re.compile(r"mypy$|python -m pytest ")

# Jobs around a model by level, in an order in which they happen: workflow, job (and its command, if it has
# several), first month not published.
STORIES: dict[int, list[tuple[str, str, str]]] = {
    2: [("training", "train", "2011-06")],
    3: [
        ("delivery", "train", "2011-06"),
        ("delivery", "deploy", "2011-06"),
        ("application", "deliver", "2011-06"),
        ("delivery", "train", "2011-08"),
        ("delivery", "deploy", "2011-08"),
        ("delivery", "ab-step", "2011-08"),
        ("delivery", "decide ab stop", "2011-08"),
        ("delivery", "decide release", "2011-08"),
        ("delivery", "decide rollback", "2011-08"),
    ],
    4: [
        ("loop", "cycle", "2011-06"),
        ("application", "deliver", "2011-06"),
        ("loop", "retrain", "2011-08"),
        ("loop", "deploy", "2011-08"),
        ("loop", "decide ab stop", "2011-08"),
        ("loop", "decide release", "2011-08"),
        ("loop", "decide rollback", "2011-08"),
    ],
}


def reason(step: Step) -> str | None:
    """Why a step is not run here; None where it is."""
    found = [why for pattern, why in ELSEWHERE.items() if re.search(pattern, step.script, re.MULTILINE)]
    return found[0] if found else None


# ---- what they are


def test_the_generated_workflows_are_up_to_date() -> None:
    made = workflows.generate()
    assert made, "no level has a workflow"
    for path, content in made.items():
        assert path.read_text(encoding="utf-8") == content, "run `python -m ladder.workflows`"
    assert {path for path in OURS if path.name.startswith("level")} == set(made)


def test_every_workflow_is_one_that_github_understands() -> None:
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *map(str, EVERY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_workflow_has_a_known_weakness() -> None:
    done = subprocess.run(
        [program("zizmor"), "--offline", *map(str, EVERY)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_dockerfile_follows_good_practice(path: Path) -> None:
    done = subprocess.run([program("hadolint"), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@EACH_WORKFLOW
def test_a_workflow_may_do_little_uses_fixed_actions_and_ends(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert set(workflow["concurrency"]) == {"group", "cancel-in-progress"}
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 240, name
        assert job["permissions"], f"{name}: say which it needs"
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40}", step["uses"]), step
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}, name
            # An expression in a command would let the author of a branch or issue name inject commands.
            assert "${{" not in step.get("run", ""), step


# ---- what leaves the house


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_nothing_is_released_from_the_template_itself(path: Path) -> None:
    workflow = read(path)
    assert "tags" not in (workflow[True].get("push") or {})
    for name, job in workflow["jobs"].items():
        written = {what for what, how in job["permissions"].items() if how == "write"}
        assert written == WRITERS.get((path.stem, name), set()), name
        assert ("environment" in job) == ((path.stem, name) == ("docs", "publish")), name
        if "environment" in job:
            assert job["if"] == "vars.PUBLISH_DOCS == 'on'"
        for step in job["steps"]:
            assert not re.search(LEAVES, step.get("run", "")), name


@pytest.mark.parametrize("path", THEIRS, ids=lambda path: f"{path.parents[2].name}-{path.stem}")
def test_what_reaches_others_is_switched_on_by_a_variable_or_a_tag(path: Path) -> None:
    workflow = read(path)
    for name, job in workflow["jobs"].items():
        on = re.search(r"vars\.[A-Z]+ == 'on' &&|vars\.[A-Z]+ == 'on' }}", job.get("if", ""))
        tag = job.get("if", "") == "${{ startsWith(github.ref, 'refs/tags/v') }}"
        assert workflows.has_external_effects(job) == bool(on or tag), name
        if tag:
            assert workflow[True]["push"]["tags"] == ["v*"]


def test_a_job_that_reaches_others_is_not_taken_over_whatever_its_condition_says() -> None:
    quiet: dict[str, Any] = {"permissions": {"contents": "read"}}
    assert not workflows.has_external_effects(quiet)
    assert workflows.has_external_effects({"permissions": {"contents": "read", "packages": "write"}})
    assert workflows.has_external_effects(quiet | {"environment": "production"})


def test_a_level_does_release_its_application_on_a_tag() -> None:
    for path in THEIRS:
        if path.stem == "application":
            assert any("docker push" in step.script for step in steps(path, "release")), path


# ---- that they were run


def test_every_step_is_run_here_or_it_is_said_why_not() -> None:
    given = {(number, name, job.split()[0]) for number, story in STORIES.items() for name, job, _ in story}
    given |= {(each.number, "application", job) for each in levels() for job in APPLICATION}
    for path in THEIRS:
        number = int(re.findall(r"level(\d)", path.parents[2].name)[0])
        for step in steps(path):
            assert (reason(step) is None) == ((number, path.stem, step.job) in given and runs(step)), (
                step.where
            )
    for path in OURS:
        source = [step.script for theirs in THEIRS for step in steps(theirs)]
        for step in steps(path):
            known = step.script in source if path.stem.startswith("level") else "--help" in step.script
            assert reason(step) or known, step.where
    every = [step for path in EVERY for step in steps(path)]
    for pattern in ELSEWHERE:
        assert any(re.search(pattern, step.script, re.MULTILINE) for step in every), (
            f"no step needs {pattern}"
        )


def runs(step: Step) -> bool:
    """Whether the tests below run a step of the jobs that they take."""
    if step.workflow.stem != "application" or step.job not in APPLICATION:
        return reason(step) is None
    return step.script == INSTALL or bool(QUICK.match(step.script) or SLOW.match(step.script))


@NEEDS_BASH
@pytest.mark.parametrize("job", ["lint", "release"])
@pytest.mark.parametrize("number", [each.number for each in levels() if each.number])
def test_the_quick_steps_of_a_levels_workflow_run_in_a_copy(number: int, job: str, tmp_path: Path) -> None:
    ran = run_job(number, "application", job, tmp_path, [QUICK])
    assert len(ran) == (3 if job == "lint" else 2)
    if job == "release":
        assert "IMAGE=ghcr.io/somebody/bike-demand:0.1.0\n" in (tmp_path / "run" / "env").read_text("utf-8")


@NEEDS_BASH
def test_a_tag_that_is_not_the_version_releases_nothing(tmp_path: Path) -> None:
    copy = workcopy.make(level(1), tmp_path / "copy")
    runner = Runner(copy, tmp_path / "run", {})
    check = next(steps(copy / ".github" / "workflows" / "application.yml", "release"))
    runner.run(check)
    with pytest.raises(AssertionError, match="job release: grep "):
        runner.run(check, GITHUB_REF_NAME="v0.2.0")


@NEEDS_BASH
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("job", ["lint", "test"])
@pytest.mark.parametrize("number", [each.number for each in levels() if each.number])
def test_all_steps_of_a_levels_workflow_run_in_a_copy(number: int, job: str, tmp_path: Path) -> None:
    run_job(number, "application", job, tmp_path, [QUICK, SLOW], install=True)


@NEEDS_BASH
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", sorted(STORIES))
def test_what_trains_and_delivers_runs_job_by_job_each_in_a_fresh_copy(number: int, tmp_path: Path) -> None:
    for at, (name, what, month) in enumerate(STORIES[number]):
        job, _, command = what.partition(" ")
        feed = publish(tmp_path / f"feed-{month}", month)
        shared = tmp_path / "shared"
        shared.mkdir(exist_ok=True)
        known = {
            "secrets.MLFLOW_TRACKING_URI": f"sqlite:///{shared / 'mlflow.db'}",
            "secrets.BIKE_ENVIRONMENTS__PRODUCTION__DATABASE": f"sqlite:///{shared / 'production.db'}",
            "secrets.BIKE_LOOP__ALERTS__WEBHOOK": "",
            "secrets.BIKE_DEPLOY__PROMOTE_TO": "",
            "secrets.GITHUB_TOKEN": "",
            "vars.BIKE_FEED": str(tmp_path / "down" if command == "rollback" else feed),
            "inputs.version || 'latest'": "latest",
            "inputs.command": command,
            "inputs.version": "latest",
            "inputs.reason": "by hand",
            "github.event.client_payload.reason || inputs.reason || 'no reason given'": "by hand",
        }
        place = tmp_path / f"{at}"
        place.mkdir()
        run_job(number, name, job, place, [re.compile("")], known=known)


@NEEDS_BASH
def test_the_tool_answers_in_the_workflows_shell(tmp_path: Path) -> None:
    runner = Runner(ROOT, tmp_path / "run", {})
    (step,) = [
        each for each in steps(ROOT / ".github" / "workflows" / "nightly.yml") if "--help" in each.script
    ]
    assert "Commands" in runner.run(step)


@NEEDS_BASH
@pytest.mark.parametrize("number", ["", "7"])
def test_a_failed_night_opens_an_issue_or_comments_on_the_open_one(tmp_path: Path, number: str) -> None:
    notes = tmp_path / "notes"
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(
        f'#!/bin/sh\necho "$*" >> "{notes}"\n[ "$2" = list ] && echo "{number}"\nexit 0\n', encoding="utf-8"
    )
    gh.chmod(0o755)
    known = {
        "secrets.GITHUB_TOKEN": "",
        "github.repository": "somebody/ladder",
        "needs.locked.result": "success",
        "needs.newest.result": "failure",
        "github.server_url": "https://github.example.org",
        "github.run_id": "42",
    }
    (step,) = steps(ROOT / ".github" / "workflows" / "nightly.yml", "report")
    env = {"PATH": os.pathsep.join([str(gh.parent), os.environ["PATH"]])}
    Runner(tmp_path, tmp_path / "run", known).run(step, **env)
    requests, reported = notes.read_text(encoding="utf-8").splitlines()
    assert requests.startswith('issue list --state open --search in:title "The nightly tests fail"')
    assert reported.startswith(
        f"issue comment {number} " if number else "issue create --title The nightly tests fail "
    )
    assert reported.endswith(
        "--body Locked versions: success. Newest versions: failure."
        " https://github.example.org/somebody/ladder/actions/runs/42"
    )


def run_job(
    number: int,
    workflow: str,
    job: str,
    place: Path,
    wanted: Sequence[re.Pattern[str]],
    *,
    known: dict[str, str] | None = None,
    install: bool = False,
) -> list[Step]:
    """Run those steps of a job that need no GitHub and are wanted, in order; they, with the installation.

    `install` runs pip too, which may then look at no index: it finds all there and checks it. Otherwise an
    environment that has every package at the lock's version counts as installed.
    """
    copy = workcopy.make(level(number), place / "copy")
    runner = Runner(copy, place / "run", known or {})
    ran = []
    for step in steps(copy / ".github" / "workflows" / f"{workflow}.yml", job):
        if step.script == INSTALL:
            assert bootstrap._lock_is_satisfied(copy / "requirements.lock"), (
                "this environment is not that of the lock"
            )
            if install:
                runner.run(step, PIP_NO_INDEX="1")
        elif reason(step) or not any(each.match(step.script) for each in wanted):
            continue
        else:
            runner.run(step)
        ran.append(step)
    return ran


def publish(folder: Path, end: str) -> Path:
    """The feed of the months before `end`; the folder."""
    folder.mkdir(exist_ok=True)
    for path in sorted((ROOT / "data" / "feed").glob("*.csv")):
        if path.stem < end:
            shutil.copy(path, folder)
    return folder


def program(name: str) -> str:
    """A program of the environment that runs the tests."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(places))
    assert found, f"{name} is not there: is this the environment of requirements.lock?"
    return found
