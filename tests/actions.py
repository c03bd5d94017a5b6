"""Runs the steps of a workflow's job as GitHub's runner does: in order, in its shell, in a fresh checkout."""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# What the runner sets, as far as the workflows read it. The tag is that of the version in pyproject.toml.
RUNNER = {
    "CI": "true",
    "GITHUB_ACTOR": "somebody",
    "GITHUB_REF_NAME": "v0.1.0",
    "GITHUB_REPOSITORY": "Somebody/Bike-Demand",
    "GITHUB_SHA": "0" * 40,
}
# Settings of the user who runs the tests; they would affect the project.
FOREIGN = ("BIKE_", "MLFLOW_", "PREFECT_", "DVC_", "GIT_", "GITHUB_", "PYTEST_")


@dataclass(frozen=True)
class Step:
    """A `run:` of a workflow. `env` still has the expressions of the workflow in it."""

    workflow: Path
    job: str
    script: str
    shell: tuple[str, ...]
    env: Mapping[str, str]
    may_fail: bool = False

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.workflow.name}, job {self.job}: {self.script.splitlines()[0]}"


def read(path: Path) -> dict[Any, Any]:
    """The workflow. YAML reads its key `on` as true."""
    workflow: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return workflow


def steps(path: Path, wanted: str | None = None) -> Iterator[Step]:
    """The steps of a workflow's jobs, or of one of them, that run something."""
    workflow = read(path)
    shell = workflow.get("defaults", {}).get("run", {}).get("shell")
    # Named, bash also ends at the first command of a pipe that fails.
    command = ("bash", "--noprofile", "--norc", "-eo", "pipefail") if shell == "bash" else ("bash", "-e")
    for name, job in workflow["jobs"].items():
        if wanted in (None, name):
            for step in job["steps"]:
                if "run" in step:
                    env = {**workflow.get("env", {}), **job.get("env", {}), **step.get("env", {})}
                    may_fail = step.get("continue-on-error", False)
                    yield Step(path, name, step["run"].strip(), command, env, may_fail)


class Runner:
    """A machine of GitHub's with a checkout in `folder`; `known` are the values of expressions.

    A step that fails raises AssertionError with its output; so does an expression without a value.
    """

    def __init__(self, folder: Path, scratch: Path, known: Mapping[str, str]) -> None:
        scratch.mkdir()
        self._folder, self._scratch, self._known = folder, scratch, known
        self._set = scratch / "env"
        self.summary = scratch / "summary.md"
        for file in (self._set, self.summary):
            file.touch()

    def run(self, step: Step, **more: str) -> str:
        """Run it; returns its output. `more` are environment variables."""
        script = self._scratch / "script.sh"
        script.write_text(f"{step.script}\n", encoding="utf-8", newline="\n")
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        path = os.pathsep.join([sysconfig.get_path("scripts"), str(Path(sys.executable).parent), env["PATH"]])
        env |= RUNNER | {"PATH": path, "GITHUB_ENV": str(self._set), "GITHUB_STEP_SUMMARY": str(self.summary)}
        env |= dict(line.split("=", 1) for line in self._set.read_text(encoding="utf-8").splitlines())
        env |= {name: self._filled(str(value), step) for name, value in step.env.items()} | more
        done = subprocess.run(
            [*step.shell, str(script)],
            cwd=self._folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        assert done.returncode == 0 or step.may_fail, f"{step.where}\n{done.stdout[-4000:]}"
        return done.stdout

    def _filled(self, text: str, step: Step) -> str:
        def value(found: re.Match[str]) -> str:
            assert found[1] in self._known, f"{step.where}: {found[1]} has no value"
            return self._known[found[1]]

        return re.sub(r"\$\{\{ (.+?) \}\}", value, text)
