"""The lock files: exact, hashed, free of addresses, and the levels' a part of the root's."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ladder import ROOT

LOCKS = [ROOT / "requirements.lock", *sorted(ROOT.glob("level*/requirements.lock"))]
ENTRY = re.compile(r"(?m)^(\S+==.*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


def entries(lock: Path) -> dict[str, set[str]]:
    """Each requirement of a lock, with its hashes."""
    found = ENTRY.findall(lock.read_text(encoding="utf-8"))
    return {requirement: set(re.findall(r"[0-9a-f]{64}", hashes)) for requirement, hashes in found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_a_lock_holds_exact_versions_with_hashes_and_nothing_else(lock: Path) -> None:
    rest = ENTRY.sub("", lock.read_text(encoding="utf-8"))
    assert rest.strip() == ""
    for requirement in entries(lock):
        assert [each.operator for each in Requirement(requirement).specifier] == ["=="]


@pytest.mark.parametrize("lock", LOCKS[1:], ids=lambda lock: lock.parent.name)
def test_a_levels_lock_is_a_part_of_the_roots(lock: Path) -> None:
    root = entries(LOCKS[0])
    versions = {Requirement(name).name: set[str]() for name in root}
    for name in root:
        versions[Requirement(name).name].add(str(Requirement(name).specifier))
    for name in entries(lock):
        assert str(Requirement(name).specifier) in versions[Requirement(name).name], name


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_a_lock_satisfies_what_its_project_asks_for(lock: Path) -> None:
    project = tomllib.loads((lock.parent / "pyproject.toml").read_text(encoding="utf-8"))
    requirements = [*project["project"]["dependencies"]]
    for group in project["project"].get("optional-dependencies", {}).values():
        requirements += group
    for group in project.get("dependency-groups", {}).values():
        requirements += group
    locked = {canonicalize_name((each := Requirement(name)).name): each for name in entries(lock)}
    for text in requirements:
        wanted = Requirement(text)
        version = str(locked[canonicalize_name(wanted.name)].specifier).removeprefix("==")
        assert wanted.specifier.contains(version, prereleases=True), text


def test_the_extra_all_has_what_the_levels_need_to_run() -> None:
    def names(lines: list[str]) -> set[str]:
        return {canonicalize_name(Requirement(line).name) for line in lines}

    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = names(root["dependencies"] + root["optional-dependencies"]["all"])
    for lock in LOCKS[1:]:
        project = tomllib.loads((lock.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        training = project.get("optional-dependencies", {}).get("training", [])
        assert names(project["dependencies"] + training) <= everything
