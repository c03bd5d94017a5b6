"""The page's names for kinds of incidents and measures, from words.yaml."""

from functools import cache
from pathlib import Path

from pydantic import BaseModel

from ladder.source import read_yaml


class Measure(BaseModel):
    """A row of the table: see words.yaml."""

    path: str
    title: str
    says: str = ""
    digits: int = 0
    assumed: bool = False
    also: tuple[str, str] | None = None


class Words(BaseModel):
    """All of words.yaml."""

    kinds: dict[str, tuple[str, str]]
    measures: tuple[Measure, ...]
    same_dates: tuple[Measure, ...]


@cache
def words() -> Words:
    """The content of words.yaml."""
    return read_yaml(Words, Path(__file__).with_name("words.yaml"))


def rows(measures: tuple[Measure, ...], incidents: bool) -> tuple[Measure, ...]:
    """The available measures; without incidents, none about them."""
    about = ("days_to_recover", "incidents.*.bad_hours")
    return tuple(each for each in measures if incidents or each.path not in about)
