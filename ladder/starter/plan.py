"""What a merge would do to a project, found out by one that touches nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from ladder.starter import advice, lockfile
from ladder.starter.git import GitError, attempt, git, names
from ladder.starter.mark import FILE
from ladder.starter.project import Project

# Made from other files: of two versions, merging lines would make a third that nothing has made.
MADE = (lockfile.FILE, "prefect.yaml", FILE)


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


def plan_of(project: Project, head: str, commit: str, env: Mapping[str, str]) -> Plan:
    """What merging the commit would do, by a merge that touches nothing."""
    done = attempt(project.folder, "merge-tree", "--write-tree", "-z", "--no-messages", head, commit, env=env)
    if done.returncode not in (0, 1):
        raise GitError(done.stderr.strip())
    tree, *entries = names(done.stdout)
    stages: dict[str, set[str]] = {}
    for entry in entries:
        about, _, path = entry.partition("\t")
        stages.setdefault(path, set()).add(about.split()[2])
    words = names(git(project.folder, "diff", "--name-status", "-z", "--no-renames", head, tree, env=env))
    changes = dict(zip(words[1::2], words[::2], strict=True))
    remade = _changed_by_both(project, head, commit, env, stages)
    conflicts = {path: _kind(found) for path, found in stages.items() if path not in remade}
    told = conflicts.keys() | set(remade)

    def those(letter: str) -> tuple[str, ...]:
        return tuple(sorted(path for path, found in changes.items() if found == letter and path not in told))

    return Plan(head, commit, those("A"), those("M") + those("T"), those("D"), conflicts, remade)


def merged_lock(project: Project, plan: Plan, env: Mapping[str, str] | None = None) -> lockfile.Merged:
    """The lock of the template, with what the project had locked itself."""
    base = git(project.folder, "merge-base", plan.head, plan.commit, env=env).strip()
    old, own, new = (
        attempt(project.folder, "show", f"{at}:{lockfile.FILE}", env=env).stdout
        for at in (base, plan.head, plan.commit)
    )
    return lockfile.merge(old, own, new)


def _kind(stages: set[str]) -> str:
    """Of a conflict, by the versions that git has of the file: 1 before, 2 here, 3 in the template."""
    return advice.GONE_HERE if "2" not in stages else advice.GONE_THERE if "3" not in stages else advice.BOTH


def _changed_by_both(
    project: Project, head: str, commit: str, env: Mapping[str, str], conflicts: Mapping[str, object]
) -> tuple[str, ...]:
    """Of the files that are made from others, those that git cannot or must not merge by lines."""
    base = git(project.folder, "merge-base", head, commit, env=env).strip()
    differs = [
        set(
            names(
                git(
                    project.folder,
                    "diff",
                    "--name-only",
                    "-z",
                    "--no-renames",
                    base,
                    end,
                    "--",
                    *MADE,
                    env=env,
                )
            )
        )
        for end in (head, commit)
    ]
    there = set(names(git(project.folder, "ls-tree", "--name-only", "-z", commit, "--", *MADE, env=env)))
    both = differs[0] & differs[1] & there
    return tuple(sorted(path for path in both if path == lockfile.FILE or path in conflicts))
