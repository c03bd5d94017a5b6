"""The carry-over rule: which files each level takes over from the one below, changes and adds.

`python -m ladder.carry` writes the list to docs/carry-over.yaml; a test compares it with the files.
"""

from dataclasses import dataclass
from itertools import pairwise

import yaml

from ladder import ROOT
from ladder.levels import Level, levels
from ladder.workcopy import own_files

LIST = ROOT / "docs" / "carry-over.yaml"
HEAD = """\
# Files that a level adds, changes or drops; all others are byte-identical in both levels of the pair.
# Made by `python -m ladder.carry`. A file that is here by mistake was edited in one level only.
"""


@dataclass(frozen=True)
class LevelDifference:
    """Files of the upper of two levels, by change; `gone` are those of the lower level only."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    carried: tuple[str, ...]
    gone: tuple[str, ...]


def compare_levels(lower: Level, upper: Level) -> LevelDifference:
    """Compare two levels file by file; a carried file is byte-identical in both."""
    before = {path.as_posix() for path in own_files(lower.folder)}
    after = {path.as_posix() for path in own_files(upper.folder)}
    both = sorted(before & after)
    same = {name for name in both if (lower.folder / name).read_bytes() == (upper.folder / name).read_bytes()}
    return LevelDifference(
        new=tuple(sorted(after - before)),
        changed=tuple(name for name in both if name not in same),
        carried=tuple(name for name in both if name in same),
        gone=tuple(sorted(before - after)),
    )


def differences() -> dict[str, LevelDifference]:
    """Each pair of neighbouring levels that are projects, as `1-2`. Level 0 has nothing to carry over."""
    projects = [level for level in levels() if level.number > 0]
    return {f"{a.number}-{b.number}": compare_levels(a, b) for a, b in pairwise(projects)}


def as_written(found: dict[str, LevelDifference]) -> dict[str, dict[str, list[str]]]:
    """The content of the list: all but the carried files, which are the rest."""
    return {
        pair: {"new": list(each.new), "changed": list(each.changed), "gone": list(each.gone)}
        for pair, each in found.items()
    }


def main() -> None:
    """Write the list."""
    LIST.write_text(
        HEAD + yaml.safe_dump(as_written(differences()), sort_keys=False, width=110), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
