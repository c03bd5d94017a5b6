"""Derives the state of rows from findings and answers, and the levels from rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ladder.assess.answers import Answer, Answers
from ladder.assess.evidence import Facts, Finding
from ladder.assess.rules import RANK, Practice, Rules, rules
from ladder.assess.tree import Tree
from ladder.practices import Row


@dataclass(frozen=True)
class Judged:
    """A practice with its findings and answers."""

    practice: Practice
    findings: tuple[Finding, ...]
    answer: Answer | None

    @cached_property
    def strength(self) -> str:
        """The best that was found; empty: nothing."""
        return max(
            (each.strength for each in self.findings if not each.off), key=lambda one: RANK[one], default=""
        )

    @property
    def off(self) -> tuple[Finding, ...]:
        """What was found, but has no effect."""
        return tuple(each for each in self.findings if each.off)

    @property
    def seen(self) -> bool:
        """Whether the files alone hold it."""
        if self.practice.needs == "answer":
            return False
        blocked = self.practice.strict and bool(self.off)
        return not blocked and RANK[self.strength] >= RANK[self.practice.needs]

    @property
    def holds(self) -> bool:
        """Whether the project does it, as far as is known."""
        if self.answer is None or self.answer.says == "not detected":
            return self.seen
        if self.practice.strict and self.off:
            return False
        return self.answer.says == "yes"

    @property
    def state(self) -> str:
        """seen, answered, unknown (only people can know, and nobody answered) or missing."""
        if self.answer is not None and self.answer.says in ("no", "not supported"):
            return "not supported"
        if self.holds:
            return "seen" if self.seen else "answered"
        return "unknown" if self.practice.needs == "answer" and self.answer is None else "missing"


@dataclass(frozen=True)
class JudgedRow:
    """A row of the model. `holds` None: it does not count (it describes a lack, or does not apply)."""

    row: Row
    state: str
    holds: bool | None
    practices: tuple[Judged, ...] = ()
    reason: str = ""

    @property
    def gaps(self) -> tuple[Judged, ...]:
        """The practices whose absence prevents the row."""
        return () if self.holds is not False else tuple(each for each in self.practices if not each.holds)


@dataclass(frozen=True)
class Assessment:
    """What is known about a project."""

    tree: Tree
    practices: Mapping[str, Judged]
    rows: tuple[JudgedRow, ...]
    notes: tuple[str, ...]
    answers: Answers
    levels: ClassVar[int] = 4

    @property
    def areas(self) -> tuple[str, ...]:
        """The areas of its rows."""
        return tuple(dict.fromkeys(each.row.area for each in self.rows))

    def level_of(self, area: str | None = None) -> int:
        """The highest level whose rows, and those of all levels below, hold; for an area, or overall."""
        reached = 0
        for level in range(1, self.levels + 1):
            counted = [
                each
                for each in self.rows
                if each.row.level == level and area in (None, each.row.area) and each.holds is not None
            ]
            if not all(each.holds for each in counted):
                break
            if counted:
                reached = level
        return reached

    @property
    def level(self) -> int:
        """That of the whole."""
        return self.level_of()

    def caps(self, area: str | None = None) -> tuple[JudgedRow, ...]:
        """The rows that prevent the next level."""
        reached = self.level_of(area)
        for level in range(reached + 1, self.levels + 1):
            found = tuple(
                each
                for each in self.rows
                if each.row.level == level and each.holds is False and area in (None, each.row.area)
            )
            if found:
                return found
        return ()

    def counts(self, area: str | None = None, level: int | None = None) -> dict[str, int]:
        """The number of rows in each state, without those that describe an absence."""
        found: dict[str, int] = {}
        for each in self.rows:
            if each.state != "lack" and area in (None, each.row.area) and level in (None, each.row.level):
                found[each.state] = found.get(each.state, 0) + 1
        return found

    @property
    def off(self) -> tuple[Finding, ...]:
        """All that was found to have no effect, each once; not what has one elsewhere, if that is enough."""
        found: dict[tuple[str, str], Finding] = {}
        for judged in self.practices.values():
            live = {each.fact.name for each in judged.findings if not each.off}
            for each in judged.off:
                if judged.practice.strict or each.fact.name not in live:
                    found.setdefault((each.fact.place, each.off), each)
        return tuple(found.values())


def assess(tree: Tree, answers: Answers, rows: Sequence[Row]) -> Assessment:
    """Judge a project by its files and people's answers."""
    known = rules()
    found = Facts(tree)
    judged = {
        each.id: Judged(each, tuple(found.findings(each)), answers.practices.get(each.id))
        for each in known.practices
    }
    made = tuple(_row(each, judged, answers, known) for each in rows)
    return Assessment(tree, judged, made, tuple(found.notes()), answers)


def _row(row: Row, judged: Mapping[str, Judged], answers: Answers, known: Rules) -> JudgedRow:
    if row.absent or row.level == 0:
        return JudgedRow(row, "lack", None)
    needed = known.rows[row.id]
    practices = tuple(judged[name] for name in known.names(row.id))
    answer = answers.rows.get(row.id)
    if answer is not None:
        if answer.says == "not applicable":
            return JudgedRow(row, answer.says, None, practices, answer.because)
        if answer.says in ("not supported", "no"):
            return JudgedRow(row, "not supported", False, practices, answer.because)
        if answer.says == "yes" and not any(each.practice.strict and each.off for each in practices):
            return JudgedRow(row, "answered", True, practices, answer.because)
    alternatives = [[judged[name] for name in each.split("|")] for each in needed]
    if all(any(each.holds for each in listed) for listed in alternatives):
        chosen = [next(each for each in listed if each.holds) for listed in alternatives]
        state = "seen" if all(each.seen for each in chosen) else "answered"
        return JudgedRow(row, state, True, tuple(chosen))
    open_ = [
        {each.state for each in listed} for listed in alternatives if not any(one.holds for one in listed)
    ]
    state = "missing"
    for one in ("unknown", "not supported"):
        if all(one in states for states in open_):
            state = one
    if answer is not None and answer.says == "not detected":
        return JudgedRow(row, answer.says, False, practices, answer.because)
    return JudgedRow(row, state, False, practices)
