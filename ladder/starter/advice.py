"""The output of a climb: what changes, which conflicts are left and how to resolve them, and what to type."""

import re
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml
from rich.console import Console

from ladder.levels import Level
from ladder.output import print_line
from ladder.starter.plan import BOTH, GONE_HERE, GONE_THERE, LOCK, NEW_THERE, Plan, merged_lock
from ladder.starter.project import Project
from ladder.starter.rename import CAN_FORMAT, FORMAT, PACKAGE, run_python
from ladder.starter.template import LOCK_COMMAND

GUESSED_DELAY = "guessed: when the label is known"  # its marker in the code
DRAWN = "synthetic_time"  # the times that `problem draft` makes up for a table without any
LAST_WITHOUT_OUTCOMES = 2
WHY_TIMES = (
    "From level 3 on predictions are compared with labels once these are due: draft the problem again, with"
    " --time, the column with the event time, and --label-delay, how long after it the label is known."
)
ADVICE = Path(__file__).with_name("advice.yaml")


def show(project: Project, plan: Plan, console: Console) -> None:
    """What the merge changes: in a dry run, file by file."""
    for word, paths in (("new", plan.new), ("changed", plan.changed), ("gone", plan.gone)):
        console.print(f"{len(paths):>4} {word}", style="bold")
        for path in paths if project.env else ():
            print_line(console, f"       {path}")
    for path in plan.remade:
        if path == LOCK:
            merged = merged_lock(project, plan)
            print_line(console, f"     {path}: {lock_advice(merged.kept, merged.gave_way)}")
    console.print(f"{len(plan.conflicts):>4} conflicts to resolve", style="bold")
    for path, kind in sorted(plan.conflicts.items()):
        where = "" if kind == BOTH else f" ({kind})"
        print_line(console, f"       {path}{where}: {advice(path, kind, project.origin.package)}")


def show_lacks(project: Project, target: Level, console: Console, *, check: bool = False) -> None:
    """Show what the new level needs that the project's problem lacks; with `check`, by its own command."""
    problem = project.folder / project.origin.package / "problem"
    code = "".join(path.read_text("utf-8") for path in problem.glob("*.py"))
    if target.number > LAST_WITHOUT_OUTCOMES and DRAWN in code:
        print_line(console, f"No event times and no label delay: {DRAWN} is synthetic. {WHY_TIMES}")
    elif target.number > LAST_WITHOUT_OUTCOMES and GUESSED_DELAY in code:
        print_line(
            console, "label_delay in problem/__init__.py is still a guess; now A/B tests depend on it."
        )
    if check and target.number and (found := _checked(project)):
        print_line(console, found)


def _checked(project: Project) -> str:
    """The result of `problem check`, run by the project's own Python if any; "" without its packages."""
    feed = yaml.safe_load((project.folder / "params.yaml").read_text(encoding="utf-8")).get("feed") or "feed/"
    if "://" not in feed and not (project.folder / feed).is_dir():  # feeds are not committed
        return f"`problem check` was not run: there is no {feed}."
    own = (path for path in project.folder.glob(".venv/[bS]*/python*") if path.exists())
    python = str(next(own, sys.executable))
    try:
        done = run_python(project.folder, "-m", project.origin.package, "problem", "check", python=python)
    except OSError:  # of another system
        return ""
    if not done.returncode:
        return "The project's problem has what the new level needs (`problem check` passes)."
    *_, message = ["no message", *re.findall(r"(?ms)^(?:error: |[\w.]+Error: ).*", done.stderr)]
    message = " ".join(message.removeprefix("error: ").partition("For further information")[0].split())
    missing = re.match(r"ModuleNotFoundError: No module named '([\w.]+)'", message)
    if missing and not missing[1].startswith(project.origin.package):
        return ""
    return f"The project's problem does not fit the new level; `problem check` fails: {message}"


def what_next(project: Project, target: Level, plan: Plan, branch: str, console: Console) -> None:
    """What is left to do after the merge."""
    print_line(console, f"\nOn the branch {branch}; {project.branch} is unchanged. Next steps:")
    steps = ["resolve each file above, `git add` it, then: git commit"] if plan.conflicts else []
    if target.number:
        steps.append("python -m pip install --no-deps --require-hashes --requirement requirements.lock")
    if not CAN_FORMAT and project.origin.package != PACKAGE:
        steps.append(f"{FORMAT}, then: git commit --all --message Format")
    steps += [
        *(
            [f"python -m {project.origin.package} problem check", "python -m pytest -n 2"]
            if target.number
            else []
        ),
        f"git switch {project.branch}, then: git merge {branch}",
    ]
    for number, step in enumerate(steps, start=1):
        print_line(console, f"  {number}. {step}")
    abort = "git merge --abort, then: " if plan.conflicts else ""
    print_line(console, f"To abort: {abort}git switch {project.branch}, then: git branch -D {branch}")


def advice(path: str, kind: str, package: str) -> str:
    """One sentence on what to keep, and what the new state needs."""
    if kind == GONE_HERE:
        return f"deleted by you, changed in the template: `git rm {path}` or, to restore it, `git add {path}`"
    if kind == NEW_THERE:
        return f"`git add {path}`, or `git mv` it into a folder of its old name afterwards"
    table = _tables()["gone" if kind == GONE_THERE else "changed"]
    fitting = (text for pattern, text in table.items() if fnmatchcase(path, pattern.format(package=package)))
    found = next(fitting).format(package=package)
    return found if kind == BOTH else f"{found}; then `git rm {path}`, or `git add {path}` to keep it"


@cache
def _tables() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load(ADVICE.read_text(encoding="utf-8"))
    return found


def lock_advice(kept: tuple[str, ...], gave_way: tuple[str, ...]) -> str:
    """What was done about a lock changed on both sides, and what is left to do."""
    parts = ["the new lock"]
    if kept:
        parts.append(f"with your {', '.join(kept)}")
    if gave_way:
        parts.append(f"the template's version of {', '.join(gave_way)}")
    return f"{' '.join(parts)}; after editing pyproject.toml, run: {LOCK_COMMAND}"
