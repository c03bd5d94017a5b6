"""`ladder climb`: takes a project made from a level to the next one, with git's merge."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ladder import UserError
from ladder.git import author, commit_tree, failure, git, git_folder, require, run_unchecked, split_nul, store
from ladder.levels import Level, level, levels
from ladder.starter import template
from ladder.starter.advice import show, show_lacks, what_next
from ladder.starter.plan import LOCK, README, Plan, introduced, merged_lock, plan_of
from ladder.starter.project import Project, base_of, following_the_name, open_project


def climb(folder: Path, console: Console, *, same_level: bool = False, dry_run: bool = False) -> bool:
    """Merge the template's next state into the project, on a new branch. Returns whether no conflict is left.

    `same_level` takes the newer template of the project's own level. `dry_run` shows what would change.
    Raises UserError if the project cannot climb, and then changes nothing.
    """
    require()
    project = open_project(folder)
    target = _target(project, same_level)
    with _written(target, project, dry_run) as (project, tree):
        tip = project.git("rev-parse", f"refs/heads/{template.BRANCH}").strip()
        base = base_of(project, tip)
        head, followed = following_the_name(project, base)
        if same_level and project.git("rev-parse", f"{base}^{{tree}}").strip() == tree:
            raise UserError(f"{folder}: already up to date with the template of its level")
        if project.git("rev-parse", f"{tip}^{{tree}}").strip() == tree:
            commit = tip  # an earlier climb got so far
        else:
            message = f"{template.COMMIT_PREFIX}{target.name}"
            commit = commit_tree(project.folder, tree, message, tip, *followed, env=project.env)
        plan = plan_of(project, head, commit)
        _nothing_in_the_way(project, plan)
        if dry_run:
            show(project, plan, console)
            show_lacks(project, target, console)
            return not plan.conflicts
        branch = _branch(project, target, commit, same_level)
        if commit != tip:
            project.git("update-ref", f"refs/heads/{template.BRANCH}", commit, tip)
    _merge(project, plan, branch, f"Climb to: {target.name}" if not same_level else "Take the newer template")
    try:
        show(project, plan, console)
        show_lacks(project, target, console, check=not plan.conflicts)
    finally:  # also after Ctrl-C: the merge is done
        what_next(project, target, plan, branch, console)
    return not plan.conflicts


def _target(project: Project, same_level: bool) -> Level:
    if same_level:
        return level(project.origin.level)
    if project.origin.level >= max(each.number for each in levels()):
        raise UserError(f"{project.folder}: already at the top level; --same-level takes a newer template")
    return level(project.origin.level + 1)


@contextmanager
def _written(target: Level, project: Project, dry_run: bool) -> Iterator[tuple[Project, str]]:
    """The project in which git finds the target's template, and that as a tree.

    In a dry run git's new objects go to a folder of their own, so that nothing is left behind.
    """
    with tempfile.TemporaryDirectory(prefix="starter-") as scratch:
        files, objects = Path(scratch, "files"), Path(scratch, "objects")
        files.mkdir()
        objects.mkdir()
        env = {}
        if dry_run:
            known = project.git("rev-parse", "--path-format=absolute", "--git-path", "objects").strip()
            env = {"GIT_OBJECT_DIRECTORY": str(objects), "GIT_ALTERNATE_OBJECT_DIRECTORIES": known}
        template.write(target, project.origin.package, files, project.origin.problem)
        yield replace(project, env=env), store(project.folder, files, Path(scratch), env)


def _nothing_in_the_way(project: Project, plan: Plan) -> None:
    """Raises UserError if an untracked file is in the place of one that the merge writes.

    Git itself would overwrite it without a word if it is ignored.
    """
    tracked = set(split_nul(project.git("ls-files", "-z")))
    written = dict.fromkeys((*plan.new, *plan.conflicts, *plan.remade))
    taken = [path for path in written if path not in tracked and (project.folder / path).exists()]
    if taken:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise UserError(
            f"{project.folder}: untracked {taken[0]}{more} would be overwritten by the template; move it away"
        )


def _branch(project: Project, target: Level, commit: str, same_level: bool) -> str:
    """The name of the branch to merge on. Raises UserError if it exists."""
    practice = target.folder.name.partition("_")[2].replace("_", "-")
    branch = f"newer-template-{commit[:7]}" if same_level else f"climb-to-{practice}"
    if not run_unchecked(
        project.folder, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"
    ).returncode:
        raise UserError(
            f"{project.folder}: the branch {branch} already exists; continue on it, or delete it:"
            f" git branch -D {branch}"
        )
    return branch


def _merge(project: Project, plan: Plan, branch: str, message: str) -> None:
    """Merge on the new branch; commit if no conflict is left. If interrupted, everything is as before."""
    folder, who = project.folder, author(project.folder)
    # Before the merge, because with conflicts the code does not run.
    readme = introduced(project, plan.head, plan.commit) if README in plan.remade else None
    try:
        git(folder, "switch", "--quiet", "--create", branch, plan.head)
        merged = run_unchecked(
            folder, *who, "merge", "--quiet", "--no-commit", "--no-ff", "-m", message, template.BRANCH
        )
        if not (git_folder(folder) / "MERGE_HEAD").exists():
            raise failure(folder, merged)
        for path in plan.remade:
            _settle(project, plan, path, readme)
        if not plan.conflicts:
            git(folder, *who, "commit", "--quiet", "--no-verify", "--no-edit")
    except BaseException:
        run_unchecked(folder, "merge", "--abort")
        run_unchecked(folder, "switch", "--quiet", project.branch)
        run_unchecked(folder, "branch", "--quiet", "-D", branch)
        raise


def _settle(project: Project, plan: Plan, path: str, readme: str | None) -> None:
    """Put a generated file in place: the template's, a lock with the project's additions, or a README about
    the project's problem.
    """
    theirs = project.git("show", f"{plan.commit}:{path}")
    text = merged_lock(project, plan).text if path == LOCK else theirs
    if path == README and readme is not None:
        text = readme
    (project.folder / path).write_text(text, encoding="utf-8", newline="\n")
    project.git("add", "--", path)
