"""A project made from a level: its state, and the state of the template that it is based on."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ladder import UserError
from ladder.git import commit_tree, failure, git, git_folder, run_unchecked, split_nul, store, unpack
from ladder.starter import template
from ladder.starter.rename import check_name, rename_package
from ladder.starter.template import FILE, Origin, read_origin

# Makes the template an ancestor of a history that does not have it, without a change to any file.
RECORD = f"git merge --allow-unrelated-histories --strategy ours --no-edit {template.BRANCH}"


@dataclass(frozen=True)
class Project:
    """A project on a branch: its folder, origin, branch and commit.

    `env`: in a dry run, the environment in which git keeps new objects elsewhere.
    """

    folder: Path
    origin: Origin
    branch: str
    head: str
    env: Mapping[str, str] = field(default_factory=dict)

    def git(self, *arguments: str) -> str:
        """The output of git. Raises UserError if it fails."""
        return git(self.folder, *arguments, env=self.env)

    def versions(self, path: str, head: str, commit: str) -> tuple[str, ...]:
        """A file's text in the last common state of two commits, and in each; empty where it is missing."""
        base = self.git("merge-base", head, commit).strip()
        shown = (f"{at}:{path}" for at in (base, head, commit))
        return tuple(run_unchecked(self.folder, "show", each, env=self.env).stdout for each in shown)


def open_project(folder: Path) -> Project:
    """The project in the folder. Raises UserError if it is not one, or not in a state to be merged into."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = run_unchecked(folder, "rev-parse", "--show-toplevel")
    top = found.stdout.strip()
    if not (folder / FILE).is_file():
        raise UserError(f"{folder}: no {FILE} here: this is not the folder of a project made by `ladder new`")
    if "dubious ownership" in found.stderr:  # git says what to do
        raise failure(folder, found)
    if not top or not Path(top).samefile(folder):
        raise UserError(
            f"{folder}: not the root of a git repository (an unpacked ZIP file has no history): clone it, or"
            " begin one: `git init --initial-branch main && git add --all && git commit -m Begin`, then climb"
        )
    if not _has(folder, f"refs/heads/{template.BRANCH}"):
        raise UserError(f"{folder}: the branch `{template.BRANCH}` is missing{_way_to_the_template(folder)}")
    state = git_folder(folder)
    if (state / "MERGE_HEAD").exists() or any(
        (state / name).exists() for name in ("rebase-merge", "rebase-apply")
    ):
        raise UserError(f"{folder}: a merge or rebase is in progress; finish it, or `git merge --abort`")
    branch = run_unchecked(folder, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
    if not branch or branch == template.BRANCH:
        raise UserError(f"{folder}: {branch or 'no branch'} is checked out; switch to yours: git switch main")
    head = run_unchecked(folder, "rev-parse", "--verify", "--quiet", "HEAD").stdout.strip()
    changed = split_nul(git(folder, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames"))
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(
            f"{folder}: uncommitted changes in {changed[0][3:]}{more}; commit or stash them first"
        )
    origin = read_origin(git(folder, "show", f"HEAD:{FILE}"))
    check_name(origin.package, exists=True)
    if origin.level > 0 and not (folder / origin.package / "__init__.py").is_file():
        raise UserError(f"{folder}: package {origin.package} not found; set `package` in {FILE} and commit")
    return Project(folder.resolve(), origin, branch, head)


def _has(folder: Path, reference: str) -> bool:
    return run_unchecked(folder, "rev-parse", "--verify", "--quiet", reference).returncode == 0


def _way_to_the_template(folder: Path) -> str:
    """Commands that bring the template's branch back: from the clone's origin, from history, or anew."""
    if _has(folder, f"refs/remotes/origin/{template.BRANCH}"):
        return f": `git branch {template.BRANCH} origin/{template.BRANCH}`"
    if git(folder, "rev-parse", "--is-shallow-repository").strip() == "true":
        return ": this is a shallow clone; `git fetch --unshallow`, then climb again"
    origin = read_origin((folder / FILE).read_text(encoding="utf-8"))
    # A fork has only some of the branches, but what was merged is in the history.
    ours = "--extended-regexp", f"--grep=^({template.COMMIT_PREFIX}.*|{template.MESSAGE})$"
    for commit in git(folder, "log", "--format=%H", *ours, "HEAD").split():
        found = run_unchecked(folder, "show", f"{commit}:{FILE}")
        if found.returncode == 0 and read_origin(found.stdout).level == origin.level:  # none after a squash
            return f": `git branch {template.BRANCH} {commit[:12]}`"
    options = f" --package {origin.package}" + (f" --problem {origin.problem}" if origin.problem else "")
    return (
        f", and so are its commits; generate it next to the project: `ladder new {origin.level}"
        f" ../{template.BRANCH}{options} --no-feed && git fetch ../{template.BRANCH} {template.BRANCH}:"
        f"{template.BRANCH} && {RECORD}`"
    )


def base_of(project: Project, tip: str) -> str:
    """The template state that the project is based on. Raises UserError if git does not know it."""
    base = run_unchecked(project.folder, "merge-base", project.head, tip).stdout.strip()
    if not base:
        is_shallow = project.git("rev-parse", "--is-shallow-repository").strip() == "true"
        raise UserError(
            f"{project.folder}: {project.branch} and `{template.BRANCH}` have no commit in common; "
            f"`{'git fetch --unshallow' if is_shallow else RECORD}`, then climb again"
        )
    if origin_at(project, base).level == project.origin.level:
        return base
    for commit in project.git("log", "--format=%H", tip, "--", FILE).split():
        if origin_at(project, commit).level == project.origin.level:
            raise UserError(
                f"{project.folder}: the last climb was squashed, so git does not know of it; record it first:"
                f" git merge --strategy ours {commit[:12]}"
            )
    raise UserError(
        f"{project.folder}: the level in {FILE} does not match the merged template; restore the file"
    )


def following_the_name(project: Project, base: str) -> tuple[str, tuple[str, ...]]:
    """What to merge into, and additional parents of the template's next state.

    If somebody renamed the package, the template is renamed first, as a separate state that counts as merged.
    Otherwise each line with the name would conflict.
    """
    old = origin_at(project, base).package
    if old == project.origin.package or project.origin.level == 0:
        return project.head, ()
    with tempfile.TemporaryDirectory(prefix="starter-") as scratch:
        files = Path(scratch, "files")
        files.mkdir()
        unpack(project.folder, base, files, Path(scratch), project.env)
        rename_package(files, old, project.origin.package)
        tree = store(project.folder, files, Path(scratch), project.env)
    state = commit_tree(project.folder, tree, "Template: the package's other name", base, env=project.env)
    own = project.git("rev-parse", f"{project.head}^{{tree}}").strip()
    message = "The package has another name in the template, too"
    return commit_tree(project.folder, own, message, project.head, state, env=project.env), (state,)


def origin_at(project: Project, commit: str) -> Origin:
    """The origin of the project at a commit."""
    return read_origin(project.git("show", f"{commit}:{FILE}"))
