"""The carry-over rule: which files each level takes over from the one below, changes and adds.

`python -m ladder.carry` writes the list to docs/carry-over.yaml; a test compares it with the files.
"""

from itertools import pairwise
from typing import Literal

import yaml

from ladder import ROOT
from ladder.levels import Level, levels
from ladder.workcopy import own_files

Kind = Literal["new", "changed", "gone", "carried"]
LIST = ROOT / "docs" / "carry-over.yaml"
HEAD = """\
# Files that a level adds, changes or drops; all others are byte-identical in both levels of the pair.
# Made by `python -m ladder.carry`. A file that is here by mistake was edited in one level only.
"""


def compare_levels(lower: Level, upper: Level) -> dict[Kind, list[str]]:
    """The files of two levels by change: `gone` are those of the lower only, carried ones byte-identical."""
    before, after = ({path.as_posix() for path in own_files(each.folder)} for each in (lower, upper))
    both = before & after
    same = {name for name in both if (lower.folder / name).read_bytes() == (upper.folder / name).read_bytes()}
    return {
        "new": sorted(after - before),
        "changed": sorted(both - same),
        "gone": sorted(before - after),
        "carried": sorted(same),
    }


def differences() -> dict[str, dict[Kind, list[str]]]:
    """Each pair of neighbouring levels that are projects, as `1-2`. Level 0 has nothing to carry over."""
    projects = [level for level in levels() if level.number > 0]
    return {f"{a.number}-{b.number}": compare_levels(a, b) for a, b in pairwise(projects)}


def as_written(found: dict[str, dict[Kind, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """The content of the list: all but the carried files, which are the rest."""
    return {
        pair: {kind: names for kind, names in each.items() if kind != "carried"}
        for pair, each in found.items()
    }


def main() -> None:
    """Write the list."""
    LIST.write_text(
        HEAD + yaml.safe_dump(as_written(differences()), sort_keys=False, width=110), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
