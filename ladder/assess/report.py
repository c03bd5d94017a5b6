"""Presents an assessment as data, on a terminal, and as Markdown."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ladder.assess.backlog import ASSUMPTION, Backlog, Change, as_data
from ladder.assess.evidence import Finding
from ladder.assess.judge import Assessment, JudgedRow
from ladder.levels import SHORT

VERSION = 2
AREAS = {
    "highlights": "Highlights",
    "technology": "Technology",
    "people": "People",
    "model_creation": "Model creation",
    "model_release": "Model release",
    "application_integration": "Application integration",
    "overall": "Overall",
}
STATES = {
    "seen": "seen in files",
    "answered": "answered by people",
    "unknown": "unknown: only people can say",
    "missing": "not found",
    "not supported": "not supported",
    "not detected": "not detected",
    "not applicable": "not applicable",
}
MARKS = {
    "seen": "●",
    "answered": "◐",
    "unknown": "?",
    "missing": "○",
    "not supported": "○",
    "not detected": "?",
    "not applicable": "-",
}
STYLES = {
    "seen": "green",
    "answered": "cyan",
    "unknown": "yellow",
    "missing": "red",
    "not supported": "red",
    "not detected": "yellow",
}
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
        "name": SHORT[found.level],
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
        "backlog": as_data(made) if made else None,
        "changes": None if changes is None else [vars(each) for each in changes],
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
    row = each.row
    content: dict[str, Any] = {
        "id": row.id,
        "level": row.level,
        "area": row.area,
        "says": row.says,
        "state": each.state,
        "holds": each.holds,
    }
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
        {
            "practice": one.practice.id,
            "answer": one.answer.says,
            "by": one.answer.by,
            "on": one.answer.on,
            "because": one.answer.because,
        }
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


# ---- terminal


def show(
    found: Assessment, made: Backlog | None, changes: list[Change] | None, console: Console, every: bool
) -> None:
    """Print it, for 80 columns."""
    console.print(Text.assemble((f"Level {found.level}: {SHORT[found.level]}", "bold"), f"  {title(found)}"))
    console.print(Text(f"{sum(found.counts().values())} rows: {summary(found.counts())}", style="dim"))
    for note in found.notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    console.print()
    console.print(_areas(found))
    _show_caps(found, console)
    if found.off:
        console.print(Text("\nSwitched off: present, but without effect", style="bold"))
        for off in found.off[:8]:
            console.print(_indented(Text.assemble((off.fact.place, "yellow"), f"  {off.off}")))
        _more(len(found.off) - 8, console)
    if changes is not None:
        _show_changes(changes, console)
    if every:
        _show_rows(found, console)
    if made is not None:
        _show_backlog(made, console)
    console.print(Text("\nWhat this does not prove", style="bold"))
    for line in LIMITS if every else LIMITS[:1]:
        console.print(_indented(Text(line, style="dim")))
    if not every:
        console.print(
            Text(
                "\nMore: --rows (every row with its evidence), --html FILE, --ask (answer questions).",
                style="dim",
            )
        )


def _indented(text: Text | Table, by: int = 2) -> Padding:
    return Padding(text, (0, 0, 0, by), expand=False)


def _more(count: int, console: Console) -> None:
    if count > 0:
        console.print(_indented(Text(f"and {count} more", style="dim")))


def columns(found: Assessment, area: str | None) -> list[int]:
    """The number of rows of an area that are seen, answered, unknown and missing."""
    counts = found.counts(area)
    missing = sum(counts.get(each, 0) for each in ("missing", "not supported", "not detected"))
    return [*(counts.get(each, 0) for each in ("seen", "answered", "unknown")), missing]


def _areas(found: Assessment) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Area", no_wrap=True)
    table.add_column("Level", no_wrap=True)
    for name, style in (("seen", "green"), ("answered", "cyan"), ("unknown", "yellow"), ("missing", "red")):
        table.add_column(name.capitalize(), justify="right", style=style)
    for name in found.areas:
        reached = found.level_of(name)
        bar = (
            Text("■" * reached, style="green")
            + Text("□" * (found.levels - reached), style="dim")
            + Text(f" {reached}")
        )
        table.add_row(AREAS.get(name, name), bar, *(str(each or "·") for each in columns(found, name)))
    return table


def _show_caps(found: Assessment, console: Console) -> None:
    caps = found.caps()
    if not caps:
        console.print(Text("\nEvery row of the model is met.", style="bold green"))
        return
    console.print(Text(f"\nMissing for level {caps[0].row.level}", style="bold"))
    for each in caps:
        console.print(_entry(each, Text.assemble(("-> ", "dim"), remedy(each))))


def _entry(each: JudgedRow, *more: Text) -> Padding:
    """A row with its evidence, in columns."""
    style = STYLES.get(each.state, "dim")
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(width=5)
    table.add_column()
    table.add_row(
        Text(MARKS[each.state], style),
        Text(each.row.id, "cyan"),
        Text.assemble(each.row.says, (f" ({each.state})", style)),
    )
    for line in (*_evidence(each), *more):
        table.add_row("", "", line)
    return _indented(table)


def _evidence(each: JudgedRow) -> Iterator[Text]:
    for one in findings(each):
        says = f"{one.says}; {one.off}" if one.off else one.says
        yield Text.assemble(
            (one.fact.place, "blue"), (f"  {one.strength}: {says}", "yellow" if one.off else "dim")
        )
    for note in reasons(each):
        who = f"{note['by']}, {note['on']}: " if note["by"] else ""
        yield Text(f"{who}{note['answer']}{'; ' + note['because'] if note['because'] else ''}", style="dim")


def _show_rows(found: Assessment, console: Console) -> None:
    for level in range(1, found.levels + 1):
        console.print(Text(f"\nRows of level {level}", style="bold"))
        for each in found.rows:
            if each.row.level == level and each.state != "lack":
                console.print(_entry(each))


def _show_changes(changes: list[Change], console: Console) -> None:
    console.print(Text("\nSince the earlier report", style="bold"))
    for each in changes:
        console.print(
            _indented(
                Text.assemble(
                    (f"{AREAS.get(each.id, each.id):<24}", "cyan"),
                    f"{each.before} -> ",
                    (each.now, "green" if each.better else "red"),
                )
            )
        )
    if not changes:
        console.print(_indented(Text("Nothing has changed.", style="dim")))


def heading(made: Backlog) -> str:
    """How much work the backlog is."""
    size = f"{counted(len(made.items), 'item')}, about {counted(made.days, 'day')}"
    return f"Backlog for level {made.target}: {size}"


def _show_backlog(made: Backlog, console: Console) -> None:
    console.print(Text(f"\n{heading(made)}", style="bold"))
    console.print(_indented(Text(ASSUMPTION, style="dim")))
    for at, each in enumerate(made.items, 1):
        closes = f"  {counted(each.days, 'day')}, closes {', '.join(each.rows)}"
        console.print(_indented(Text.assemble((f"{at}. {each.title}", "bold"), (closes, "dim"))))
        console.print(_indented(Text(each.why), 5))
        console.print(_indented(Text(f"Done when: {'; '.join(each.acceptance)}.", style="dim"), 5))
        console.print(_indented(Text(f"Deliverable: {each.deliverable}.", style="dim"), 5))
        if each.learn_from:
            console.print(_indented(Text.assemble(("Learn from ", "dim"), (each.learn_from, "blue")), 5))
            console.print(_indented(Text.assemble(("           ", "dim"), (each.diff, "blue")), 5))
    console.print(Text("\nSuccess criteria", style="bold"))
    for line in made.criteria[:2]:
        console.print(_indented(Text(line)))
    console.print(_indented(Text(f"the {made.open_rows} open rows above are met", style="dim")))


# ---- Markdown


def as_markdown(found: Assessment, made: Backlog | None, changes: list[Change] | None) -> str:
    """A report to paste into a pull request or a wiki."""
    lines = [
        f"# {title(found)}: level {found.level}, {SHORT[found.level]}",
        "",
        f"{sum(found.counts().values())} rows: {summary(found.counts())}.",
        "",
    ]
    lines += [f"> {note}\n" for note in found.notes]
    lines += ["| Area | Level | Seen | Answered | Unknown | Missing |", "|---|---|---|---|---|---|"]
    for name in found.areas:
        cells = [found.level_of(name), *columns(found, name)]
        lines.append(f"| {AREAS.get(name, name)} | {' | '.join(map(str, cells))} |")
    if caps := found.caps():
        lines += ["", f"## Missing for level {caps[0].row.level}", ""]
        lines += [f"- **{each.row.id}** {each.row.says} ({each.state}). {remedy(each)}" for each in caps]
    if found.off:
        lines += ["", "## Switched off", ""] + [
            f"- `{each.fact.place}`: {_escaped(each.off)}" for each in found.off
        ]
    if changes is not None:
        lines += ["", "## Since the earlier report", ""] + (
            [f"- {AREAS.get(each.id, each.id)}: {each.before} -> {each.now}" for each in changes]
            or ["Nothing has changed."]
        )
    if made is not None:
        lines += ["", f"## {heading(made)}", "", ASSUMPTION, ""]
        for at, each in enumerate(made.items, 1):
            closes = f"{counted(each.days, 'day')}, closes {', '.join(each.rows)}"
            lines += [
                f"{at}. **{each.title}** ({closes}). {each.why}",
                *(f"   - [ ] {one}" for one in each.acceptance),
                f"   - Deliverable: {each.deliverable}",
            ]
            if each.learn_from:
                lines.append(f"   - Learn from `{each.learn_from}`: `{each.diff}`")
        lines += ["", "## Success criteria", ""] + [f"- {each}" for each in made.criteria]
    for level in range(1, found.levels + 1):
        lines += ["", f"## Rows of level {level}", "", "| Row | State | Evidence |", "|---|---|---|"]
        for row in found.rows:
            if row.row.level == level and row.state != "lack":
                shown = "; ".join(f"`{one.fact.place}` {one.strength}" for one in findings(row))
                answered = "; ".join(f"{one['by']}, {one['on']}" for one in reasons(row) if one["by"])
                evidence = "; ".join(filter(None, (shown, answered)))
                lines.append(
                    f"| {row.row.id} {_escaped(row.row.says)} | {row.state} | {_escaped(evidence)} |"
                )
    lines += ["", "## What this does not prove", ""] + [f"- {each}" for each in LIMITS]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def dumped(content: Mapping[str, Any]) -> str:
    """JSON, the same for the same result."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
