"""That nothing outside the problem knows what it is about."""

import re
from pathlib import Path

from tests.conftest import ROOT
from tests.problem.domain import WORDS

OWN = [ROOT / "bike_demand" / "problem", ROOT / "tests" / "problem"]
NAMES = re.compile("bike_demand|bike-demand|BIKE_")  # of the project


def mentions(path: Path) -> list[str]:
    """Where a text file has one of the words, also as a part of a name in code."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = re.sub(r"_|(?<=[a-z])(?=[A-Z])", " ", NAMES.sub(" ", line))
        found += [f"{path.relative_to(ROOT)}:{number}: {each.group()}" for each in WORDS.finditer(words)]
    return found


def test_nothing_outside_the_problem_mentions_its_domain() -> None:
    files = [path for part in ("bike_demand", "tests") for path in sorted((ROOT / part).rglob("*"))]
    practice = [path for path in files if not any(path.is_relative_to(own) for own in OWN)]
    read = [path for path in practice if path.is_file() and path.suffix != ".pyc"]
    assert len(read) > 20
    assert [each for path in read for each in mentions(path)] == []


def test_the_words_are_found_in_the_problem() -> None:
    assert all(any(map(mentions, own.rglob("*.py"))) for own in OWN)
