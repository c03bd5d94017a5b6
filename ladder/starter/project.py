"""A project that was made from a level: in which state it is, and which state of the template it has."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ladder import UserError
from ladder.git import attempt, commit_tree, git, git_folder, names, store, unpack
from ladder.starter import template
from ladder.starter.rename import check_name, rename_package
from ladder.starter.template import FILE, Mark, read_mark


@dataclass(frozen=True)
class Project:
    """A project on a branch of its own: its folder, its mark, its branch and its commit."""

    folder: Path
    mark: Mark
    branch: str
    head: str


def open_project(folder: Path) -> Project:
    """The project in the folder. Raises UserError where it is none, or not in a state to be merged into."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    top = attempt(folder, "rev-parse", "--show-toplevel").stdout.strip()
    if not (folder / FILE).is_file() or not top or Path(top).resolve() != folder.resolve():
        raise UserError(f"{folder}: not the folder of a project that `ladder new` made (it has a {FILE})")
    if attempt(folder, "rev-parse", "--verify", "--quiet", f"refs/heads/{template.BRANCH}").returncode:
        raise UserError(
            f"{folder}: the branch `{template.BRANCH}` is missing; from a clone: git fetch origin"
            f" {template.BRANCH}:{template.BRANCH}"
        )
    state = git_folder(folder)
    if (state / "MERGE_HEAD").exists() or any(
        (state / name).exists() for name in ("rebase-merge", "rebase-apply")
    ):
        raise UserError(f"{folder}: a merge or rebase is under way; finish it, or `git merge --abort`")
    branch = attempt(folder, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
    if not branch or branch == template.BRANCH:
        raise UserError(f"{folder}: is on {branch or 'no branch'}; switch to yours: git switch main")
    head = attempt(folder, "rev-parse", "--verify", "--quiet", "HEAD").stdout.strip()
    changed = names(git(folder, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames"))
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(f"{folder}: {changed[0][3:]}{more} not committed; commit or stash first")
    mark = read_mark(git(folder, "show", f"HEAD:{FILE}"))
    check_name(mark.package)
    if mark.level > 0 and not (folder / mark.package / "__init__.py").is_file():
        raise UserError(
            f"{folder}: there is no package {mark.package}; write its name into {FILE} and commit"
        )
    return Project(folder.resolve(), mark, branch, head)


def base_of(project: Project, tip: str) -> str:
    """The state of the template that the project has. Raises UserError where git does not know of it."""
    base = attempt(project.folder, "merge-base", project.head, tip).stdout.strip()
    if not base:
        raise UserError(
            f"{project.folder}: {project.branch} and `{template.BRANCH}` have no commit in common"
        )
    if mark_at(project, base).level == project.mark.level:
        return base
    for commit in git(project.folder, "log", "--format=%H", tip, "--", FILE).split():
        if mark_at(project, commit).level == project.mark.level:
            raise UserError(
                f"{project.folder}: the last climb was squashed, so git does not know of it; record it first:"
                f" git merge --strategy ours {commit[:12]}"
            )
    raise UserError(
        f"{project.folder}: {FILE} has another level than the template that was merged; restore it"
    )


def following_the_name(project: Project, base: str, env: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """What to merge into, and commits that the template's next state comes after, too.

    Where somebody renamed the package, the template is renamed first, as a state of its own which the project
    counts as having. Else each line with the name would have been changed on both sides.
    """
    old = mark_at(project, base).package
    if old == project.mark.package or project.mark.level == 0:
        return project.head, ()
    with tempfile.TemporaryDirectory(prefix="starter-") as scratch:
        files = Path(scratch, "files")
        files.mkdir()
        unpack(project.folder, base, files, Path(scratch), env)
        rename_package(files, old, project.mark.package)
        tree = store(project.folder, files, Path(scratch), env)
    state = commit_tree(project.folder, tree, "Template: the package's other name", base, env=env)
    own = git(project.folder, "rev-parse", f"{project.head}^{{tree}}", env=env).strip()
    message = "The package has another name in the template, too"
    return commit_tree(project.folder, own, message, project.head, state, env=env), (state,)


def mark_at(project: Project, commit: str) -> Mark:
    """The mark of the project at a commit."""
    return read_mark(git(project.folder, "show", f"{commit}:{FILE}"))
