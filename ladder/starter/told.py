"""What a climb tells: what changes, what is left to be settled, and what to type next."""

from collections.abc import Mapping

from rich.console import Console

from ladder.starter import advice, lockfile
from ladder.starter.mark import FILE
from ladder.starter.plan import Plan, merged_lock
from ladder.starter.project import Project


def show(project: Project, plan: Plan, console: Console, env: Mapping[str, str] | None = None) -> None:
    """What the merge changes: in a dry run, which has an `env` to find git's objects in, file by file."""
    for word, paths in (("new", plan.new), ("changed", plan.changed), ("gone", plan.gone)):
        console.print(f"{len(paths):>4} {word}", style="bold")
        for path in paths if env else ():
            _print(console, f"       {path}")
    for path in plan.remade:
        if path == lockfile.FILE:
            merged = merged_lock(project, plan, env)
            _print(console, f"     {path}: {advice.lock_advice(merged.kept, merged.gave_way)}")
        elif path != FILE:
            _print(console, f"     {path}: {advice.made_anew(project.mark.package)}")
    console.print(f"{len(plan.conflicts):>4} to be settled by you", style="bold")
    for path, kind in sorted(plan.conflicts.items()):
        where = "" if kind == advice.BOTH else f" ({kind})"
        _print(console, f"       {path}{where}: {advice.advice(path, kind, project.mark.package)}")


def what_next(project: Project, plan: Plan, branch: str, console: Console) -> None:
    """What is left to do after the merge."""
    console.print(
        f"\nOn the branch {branch}; {project.branch} is as it was. What is left to do:", soft_wrap=True
    )
    steps = ["settle each file above, `git add` it, then: git commit"] if plan.conflicts else []
    steps += [
        "python -m pip install --require-hashes --requirement requirements.lock",
        "python -m pytest -n 2",
        f"git switch {project.branch}, then: git merge {branch}",
    ]
    for number, step in enumerate(steps, start=1):
        _print(console, f"  {number}. {step}")
    abort = "git merge --abort, then: " if plan.conflicts else ""
    _print(console, f"To give it up: {abort}git switch {project.branch}, then: git branch -D {branch}")


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
