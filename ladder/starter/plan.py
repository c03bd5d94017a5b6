"""Plans a merge into a project without touching it; locks are merged package by package."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ladder.git import failure, run_unchecked, split_nul
from ladder.locks import entries
from ladder.starter import problems
from ladder.starter.project import Project
from ladder.starter.template import FILE

LOCK, README = "requirements.lock", "README.md"
BOTH = "both"  # changed here and by the template
GONE_THERE = "gone in the template"
GONE_HERE = "deleted here"
NEW_THERE = "new in the template, in a folder that you renamed"


@dataclass(frozen=True)
class Merged:
    """The text; packages that the project had locked itself and keeps, and those whose version gave way."""

    text: str
    kept: tuple[str, ...]
    gave_way: tuple[str, ...]


# Made from other files: of two versions, merging lines would make a third that nothing has made.
MADE = (LOCK, FILE)


@dataclass(frozen=True)
class Plan:
    """What merging `commit` into `head` would change in the project; conflicts by path, with their kind."""

    head: str
    commit: str
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    conflicts: Mapping[str, str]
    remade: tuple[str, ...]  # changed here and by the template, and settled by the tool


def plan_of(project: Project, head: str, commit: str) -> Plan:
    """What merging the commit would do, by a merge that touches nothing."""
    done = run_unchecked(
        project.folder, "merge-tree", "--write-tree", "-z", "--no-messages", head, commit, env=project.env
    )
    if done.returncode not in (0, 1):
        raise failure(project.folder, done)
    tree, *entries = split_nul(done.stdout)
    stages: dict[str, set[str]] = {}
    for entry in entries:
        about, _, path = entry.partition("\t")
        stages.setdefault(path, set()).add(about.split()[2])
    words = split_nul(project.git("diff", "--name-status", "-z", "--no-renames", head, tree))
    changes = dict(zip(words[1::2], words[::2], strict=True))
    remade = _changed_by_both(project, head, commit, stages)
    if README in stages and introduced(project, head, commit) is not None:
        remade += (README,)
    conflicts = {path: _kind(found) for path, found in stages.items() if path not in remade}
    settled = conflicts.keys() | set(remade)

    def those(letter: str) -> tuple[str, ...]:
        return tuple(
            sorted(path for path, found in changes.items() if found == letter and path not in settled)
        )

    return Plan(head, commit, those("A"), those("M") + those("T"), those("D"), conflicts, remade)


def introduced(project: Project, head: str, commit: str) -> str | None:
    """The template's README about the project's problem, unless people extended the earlier one."""
    about = problems.introduction_of(project.folder, project.origin.package)
    old, own, new = project.versions(README, head, commit)
    return about.put_into(new) if about is not None and own == about.put_into(old) else None


def merged_lock(project: Project, plan: Plan) -> Merged:
    """The template's lock, with the packages that the project had added."""
    return merge_locks(*project.versions(LOCK, plan.head, plan.commit))


def _kind(stages: set[str]) -> str:
    """Of a conflict, by the versions that git has of the file: 1 before, 2 here, 3 in the template."""
    if stages == {"3"}:
        return NEW_THERE
    return GONE_HERE if "2" not in stages else GONE_THERE if "3" not in stages else BOTH


def _changed_by_both(
    project: Project, head: str, commit: str, conflicts: Mapping[str, object]
) -> tuple[str, ...]:
    """The generated files that git cannot or must not merge line by line."""

    def listed(*arguments: str) -> set[str]:
        return set(split_nul(project.git(*arguments, "--", *MADE)))

    base = project.git("merge-base", head, commit).strip()
    both = listed("ls-tree", "--name-only", "-z", commit)
    for end in (head, commit):
        both &= listed("diff", "--name-only", "-z", "--no-renames", base, end)
    return tuple(sorted(path for path in both if path == LOCK or path in conflicts))


def merge_locks(base: str, ours: str, theirs: str) -> Merged:
    """The lock of `theirs`, with the packages that `ours` had added to `base` or locked at another version.

    A package that `theirs` changed, too, is taken from `theirs`: that version is known to work there.
    """
    old, own, new = _entries(base), _entries(ours), _entries(theirs)
    mine = {name for name in own if own[name] != old.get(name)}
    gave_way = {name for name in mine & set(new) if new[name] not in (old.get(name), own[name])}
    kept = {name for name in mine - gave_way if name not in old or name in new}
    entries = new | {name: own[name] for name in kept}
    options = "".join(re.findall(r"(?m)^-.*\n", ours))  # such as another index
    text = options + "".join(entries[name] for name in sorted(entries))
    return Merged(text, tuple(sorted(kept)), tuple(sorted(gave_way)))


def _entries(text: str) -> dict[str, str]:
    """The lines of each package, by name; a package locked more than once has them all."""
    found: dict[str, str] = {}
    for head, lines in entries(text):
        name = re.split(r"[\s=@;\[]", head, maxsplit=1)[0]
        found[name] = found.get(name, "") + lines
    return found
