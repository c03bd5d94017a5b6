"""Presents an assessment as data, and answers what its pages ask."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ladder.assess.backlog import ASSUMPTION, Backlog, Change
from ladder.assess.evidence import Finding
from ladder.assess.judge import Assessment, JudgedRow
from ladder.levels import level

VERSION = 2
STATES = ("seen", "answered", "unknown", "missing", "not supported", "not detected", "not applicable")
LIMITS = (
    "It reads files and runs nothing: a defined job may never have run, passed or been enabled (variables,"
    " secrets and branch rules are not in the files).",
    "A test may test the wrong thing, and a gate may have bad limits: only their existence is checked.",
    "If a job starts an entry point, every module that it imports counts as run.",
    "Answers are only as good as the people who gave them. Skills, costs and security are not assessed.",
    "A tool that tools.yaml does not list, or a practice with unusual names, is missed: answer for it.",
    "Real teams stand on several levels at once. A level is not a grade: some rows are not worth their cost.",
)
SHOWN = 3


def as_json(found: Assessment, made: Backlog | None, changes: list[Change] | None) -> dict[str, Any]:
    """The whole result. `version` rises when keys change their meaning or go."""
    return {
        "version": VERSION,
        "level": found.level,
        "name": level(found.level).short,
        "areas": {
            name: {
                "level": found.level_of(name),
                "states": found.counts(name),
                "capped_by": _ids(found.caps(name)),
            }
            for name in found.areas
        },
        "rows": [_row(each) for each in found.rows],
        "capped_by": _ids(found.caps()),
        "states": found.counts(),
        "switched_off": [
            {"place": each.fact.place, "why": each.off, "what": each.says} for each in found.off
        ],
        "practices": {
            name: {
                "state": each.state,
                "strength": each.strength,
                "findings": [_finding(one) for one in each.findings[:SHOWN]],
            }
            for name, each in found.practices.items()
        },
        "backlog": asdict(made) | {"days": made.days, "assumption": ASSUMPTION} if made else None,
        "changes": None if changes is None else [asdict(each) for each in changes],
        "notes": list(found.notes),
        "limitations": list(LIMITS),
        "project": {
            "folder": found.tree.root.name,
            "path": found.tree.prefix,
            "commit": found.tree.commit,
            "files": len(found.tree.all_names),
            "read": len(found.tree.files),
        },
    }


def _ids(rows: tuple[JudgedRow, ...]) -> list[str]:
    return [each.row.id for each in rows]


def _row(each: JudgedRow) -> dict[str, Any]:
    content = each.row.model_dump(include={"id", "level", "area", "says"})
    content |= {"state": each.state, "holds": each.holds}
    if each.practices:
        content["practices"] = [one.practice.id for one in each.practices]
        content["findings"] = [_finding(one) for one in findings(each)]
    if each.gaps:
        content["remedy"] = remedy(each)
    if answers := reasons(each):
        content["answers"] = answers
    return content


def _finding(each: Finding) -> dict[str, Any]:
    content = {
        "practice": each.practice,
        "strength": each.strength,
        "place": each.fact.place,
        "says": each.says,
    }
    return content | ({"off": each.off} if each.off else {})


def findings(each: JudgedRow, most: int = SHOWN) -> list[Finding]:
    """The best findings of a row's practices; for a gap, those without effect first."""
    chosen: list[Finding] = []
    for one in each.gaps or each.practices:
        listed = sorted(one.findings, key=lambda found: not found.off) if each.gaps else one.findings
        chosen += listed[: max(1, most // max(1, len(each.gaps or each.practices)))]
    return chosen


def remedy(each: JudgedRow) -> str:
    """What to do about a gap, in one line."""
    off = next((one for gap in each.gaps for one in gap.off if gap.practice.strict or not gap.seen), None)
    if off is not None:
        return f"Re-enable it: {off.off} ({off.fact.place})."
    if not each.gaps:
        return ""
    gap = each.gaps[0]
    return f"Answer by --ask: {gap.practice.asks}" if gap.state == "unknown" else gap.practice.remedy


def reasons(each: JudgedRow) -> list[dict[str, str]]:
    """The answers, with author and date."""
    lines = [
        {"practice": one.practice.id, **one.answer.model_dump(by_alias=True)}
        for one in each.practices
        if one.answer is not None
    ]
    return lines + (
        [{"practice": "", "answer": each.state, "by": "", "on": "", "because": each.reason}]
        if each.reason
        else []
    )


def title(found: Assessment) -> str:
    """What was assessed."""
    where = found.tree.root.name if not found.tree.prefix or found.tree.commit is None else found.tree.prefix
    return where + (f" at {found.tree.commit[:10]}" if found.tree.commit else "")


def counted(number: int, word: str) -> str:
    """`1 day`, `2 days`."""
    return f"{number} {word}{'s' if number != 1 else ''}"


def summary(counts: Mapping[str, int]) -> str:
    """The number of rows in each state, in words."""
    return ", ".join(f"{counts[name]} {name}" for name in STATES if counts.get(name))


def columns(found: Assessment, area: str | None) -> list[int]:
    """The number of rows of an area that are seen, answered, unknown and missing."""
    counts = found.counts(area)
    missing = sum(counts.get(each, 0) for each in ("missing", "not supported", "not detected"))
    return [*(counts.get(each, 0) for each in ("seen", "answered", "unknown")), missing]


def heading(made: Backlog) -> str:
    """How much work the backlog is."""
    size = f"{counted(len(made.items), 'item')}, about {counted(made.days, 'day')}"
    return f"Backlog for level {made.target}: {size}"
