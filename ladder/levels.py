"""The levels of the maturity model that exist in this repository."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from ladder import ROOT, UserError


@dataclass(frozen=True)
class Level:
    """One level: its number, its name in the maturity model, and its folder."""

    number: int
    name: str
    folder: Path
    short: str = ""

    @property
    def title(self) -> str:
        return f"Level {self.number}: {self.name}"


@cache
def levels() -> tuple[Level, ...]:
    """The levels whose folder exists, in order."""
    model = yaml.safe_load((ROOT / "docs" / "maturity-model.yaml").read_text(encoding="utf-8"))
    every = (
        Level(number, entry["name"], ROOT / entry["folder"], entry["short"])
        for number, entry in model["levels"].items()
    )
    return tuple(level for level in every if (level.folder / "runbook.yaml").is_file())


def level(number: int) -> Level:
    """The level with that number. Raises UserError if it does not exist."""
    known = {each.number: each for each in levels()}
    if number not in known:
        raise UserError(f"there is no level {number}: choose one of {', '.join(map(str, known))}")
    return known[number]
