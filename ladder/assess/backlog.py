"""Derives the backlog from gaps: the work for the next level, by value, and progress since a report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ladder import UserError, practices
from ladder.assess.judge import Assessment, Judged, JudgedRow
from ladder.assess.rules import rules
from ladder.levels import level

ASSUMPTION = (
    "Days are an assumption: of one engineer who knows the tools, in a team whose people have time for it."
)


@dataclass(frozen=True)
class Item:
    """A piece of work. `rows`: the rows of the target level and below that it closes or helps to close."""

    id: str
    title: str
    rows: tuple[str, ...]
    why: str
    acceptance: tuple[str, ...]
    deliverable: str
    days: int
    learn_from: str  # `folder/file#symbol`, or empty
    diff: str  # a command, or empty


@dataclass(frozen=True)
class Backlog:
    """The work to reach a level. `open_rows` is the number of rows still to be met."""

    target: int
    items: tuple[Item, ...]
    open_rows: int
    success_criteria: tuple[str, ...]

    @property
    def days(self) -> int:
        """Of all items."""
        return sum(each.days for each in self.items)


def backlog(found: Assessment) -> Backlog | None:
    """The work to the next level; None at the top."""
    target = found.level + 1
    if target > found.levels:
        return None
    open_ = [each for each in found.rows if each.holds is False and each.row.level <= target]
    wanting: dict[str, tuple[Judged, list[JudgedRow]]] = {}
    for each in open_:
        # Of alternatives, the first: it is the smaller step.
        gaps = {gap.practice.id: gap for gap in each.gaps}
        needed = [
            next((one for one in need.split("|") if one in gaps), "") for need in rules().rows[each.row.id]
        ]
        for name in filter(None, needed):
            wanting.setdefault(name, (gaps[name], []))[1].append(each)
    items = [_item(judged, rows) for judged, rows in wanting.values()]
    items.sort(key=lambda each: (-len(each.rows) / each.days, each.days, each.id))
    folder = found.tree.root.name
    criteria = (
        f"`ladder assess --min-level {target}` on {folder} exits with status 0",
        rules().success[target],
        *(f"{each.row.id}: {each.row.says}" for each in open_),
    )
    return Backlog(target, tuple(items), len(open_), criteria)


def _item(judged: Judged, rows: list[JudgedRow]) -> Item:
    each = judged.practice
    why = f"If not: {each.remedy}" if judged.state == "unknown" else each.remedy
    if judged.off and (each.strict or not judged.seen):
        why = f"{judged.off[0].fact.place}: {judged.off[0].off}. {why}"
    learn, diff = _example(rows)
    ids = tuple(one.row.id for one in rows)
    return Item(each.id, each.title, ids, why, each.done, each.deliverable, each.days, learn, diff)


def _example(rows: list[JudgedRow]) -> tuple[str, str]:
    """An example in this repository: a file of the row's level, and what that level changes."""
    for each in rows:
        try:
            place = practices.code_of(each.row.id)[0]
            folder = level(each.row.level).folder.name
        except (IndexError, UserError):
            continue
        symbol = f"#{place.symbol}" if place.symbol else ""
        number = each.row.level
        return f"{folder}/{place.file}{symbol}", f"ladder diff {number - 1} {number} {place.file}"
    return "", ""


@dataclass(frozen=True)
class Change:
    """A row, an area or the whole, before and now."""

    id: str
    before: str
    now: str
    better: bool


def compare(old: Mapping[str, Any], found: Assessment) -> list[Change]:
    """The changes since an earlier report (its JSON): levels first, then rows."""
    changes = []
    before = {"overall": old["level"]} | {name: each["level"] for name, each in old["areas"].items()}
    now = {"overall": found.level} | {name: found.level_of(name) for name in found.areas}
    for name, reached in now.items():
        if name in before and before[name] != reached:
            changes.append(Change(name, f"level {before[name]}", f"level {reached}", reached > before[name]))
    states = {each["id"]: each for each in old["rows"]}
    for row in found.rows:
        known = states.get(row.row.id)
        if known and known["state"] != row.state:
            changes.append(
                Change(row.row.id, known["state"], row.state, bool(row.holds) and not known["holds"])
            )
    return changes
