"""What a climb prints: what changes, what is left to be settled and how, and what to type next."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from rich.console import Console

from ladder.starter.plan import BOTH, GONE_HERE, GONE_THERE, LOCK, Plan, merged_lock
from ladder.starter.project import Project
from ladder.starter.template import LOCK_COMMAND


def show(project: Project, plan: Plan, console: Console, env: Mapping[str, str] | None = None) -> None:
    """What the merge changes: in a dry run, which has an `env` to find git's objects in, file by file."""
    for word, paths in (("new", plan.new), ("changed", plan.changed), ("gone", plan.gone)):
        console.print(f"{len(paths):>4} {word}", style="bold")
        for path in paths if env else ():
            _print(console, f"       {path}")
    for path in plan.remade:
        if path == LOCK:
            merged = merged_lock(project, plan, env)
            _print(console, f"     {path}: {lock_advice(merged.kept, merged.gave_way)}")
    console.print(f"{len(plan.conflicts):>4} to be settled by you", style="bold")
    for path, kind in sorted(plan.conflicts.items()):
        where = "" if kind == BOTH else f" ({kind})"
        _print(console, f"       {path}{where}: {advice(path, kind, project.mark.package)}")


def what_next(project: Project, plan: Plan, branch: str, console: Console) -> None:
    """What is left to do after the merge."""
    console.print(
        f"\nOn the branch {branch}; {project.branch} is as it was. What is left to do:", soft_wrap=True
    )
    steps = ["settle each file above, `git add` it, then: git commit"] if plan.conflicts else []
    steps += [
        "python -m pip install --no-deps --require-hashes --requirement requirements.lock",
        "python -m pytest -n 2",
        f"git switch {project.branch}, then: git merge {branch}",
    ]
    for number, step in enumerate(steps, start=1):
        _print(console, f"  {number}. {step}")
    abort = "git merge --abort, then: " if plan.conflicts else ""
    _print(console, f"To give it up: {abort}git switch {project.branch}, then: git branch -D {branch}")


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


# The first pattern that fits; `{package}` is the package's name.
CONTENT = (
    ("params.yaml", "keep your values, and the new keys where you want another value than the default"),
    ("{package}/core/settings.py", "keep your fields and the new ones: each key of params.yaml has one here"),
    (
        "{package}/serving/app.py",
        "keep your endpoints and the new signature of create_app: they ask of the model what it is given now",
    ),
    ("{package}/__main__.py", "keep your commands and the new ones; where one did change, take the new one"),
    ("{package}/problem/*", "the problem is yours: keep it"),
    ("{package}/data/*", "what comes in is yours: keep it, and the new checks"),
    ("{package}/*", "take the new state, and put your change into it where it still has a place"),
    ("pyproject.toml", "keep your packages and settings, and the new ones; then lock again"),
    ("dvc.yaml", "keep your stages, and all outputs that the new ones have"),
    ("runbook.yaml", "take the new steps, and add yours where they belong now"),
    ("Dockerfile", "keep what you install, and the new command"),
    ("maturity-answers.yaml", "keep your answers; those of the new level are this example's"),
    (".github/CODEOWNERS", "keep your teams; give the new folders to them"),
    (".github/workflows/*", "keep your steps and the new jobs"),
    (".gitignore", "keep the lines of both"),
    ("README.md", "keep your text, and take the new commands"),
    ("docs/*", "keep your text, and take the new one beside it"),
    ("tests/*", "take the new tests, and put yours into a file of their own: that merges by itself later"),
)
MOVED = (
    (
        "demand.ipynb",
        "the model is in {package}/problem/model.py now, what it sees in {package}/problem/features.py",
    ),
    (
        "score.py",
        "predictions come from `python -m {package} predict` now, and {package}/problem/features.py",
    ),
    ("day.csv", "a feed lies in feed/ now"),
    ("handoff/*", "what a model is handed over with is written by the training now"),
    (".github/workflows/*", "its steps are in the other workflows now: move yours there"),
    ("{package}/release/gate.py", "what a version has to pass is in {package}/release/gates/ now"),
    ("tests/*", "other tests cover it now: keep what is still true, in a file of your own"),
)


def advice(path: str, kind: str, package: str) -> str:
    """One sentence on what to keep, and what the new state needs."""
    if kind == GONE_THERE:
        moved = _first(MOVED, path, package, "it is not needed any more")
        return f"{moved}; then `git rm {path}`, or `git add {path}` to keep it"
    if kind == GONE_HERE:
        return f"it changed: `git rm {path}` to do without, `git add {path}` to take it"
    return _first(CONTENT, path, package, "keep what is yours in what is new")


def lock_advice(kept: tuple[str, ...], gave_way: tuple[str, ...]) -> str:
    """What was done about a lock that both had changed, and what is left to do."""
    parts = ["the new lock"]
    if kept:
        parts.append(f"with your {', '.join(kept)}")
    if gave_way:
        parts.append(f"at its own version of {', '.join(gave_way)}")
    return f"{' '.join(parts)}; once pyproject.toml is as you want it: {LOCK_COMMAND}"


def _first(table: tuple[tuple[str, str], ...], path: str, package: str, otherwise: str) -> str:
    for pattern, text in table:
        if fnmatchcase(path, pattern.format(package=package)):
            return text.format(package=package)
    return otherwise
