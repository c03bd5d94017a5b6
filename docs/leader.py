"""Generates the workshop leader's page: what was measured, and each lab's answers and solution."""

import difflib
import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from ladder import ROOT
from ladder.compare.results import Comparison, IncidentResult
from ladder.lab.command import PORT
from ladder.lab.definition import Change, Lab, LabStep, labs
from ladder.lab.work import fill_placeholders
from ladder.page import words

FACTS = re.compile(r'<script type="application/json" id="facts">(.*?)</script>', re.DOTALL)


@cache
def facts() -> Comparison:
    """The comparison in docs/compare.html."""
    found = FACTS.search((ROOT / "docs" / "compare.html").read_text(encoding="utf-8"))
    assert found is not None
    return Comparison.model_validate(json.loads(found[1]))


def answers() -> str:
    """The page."""
    lines = ["# Answers for the leader", ""]
    lines += [
        "Not for the projector: this page has the solutions. It is generated from the labs' own files and"
    ]
    lines += ["from [the whole comparison](../compare.html).", "", *_measured()]
    for lab in labs().values():
        lines += _lab(lab)
    return "\n".join(lines) + "\n"


def _measured() -> Iterator[str]:
    compared = facts()
    numbers = list(compared.levels)
    head, rule = f"| {' | '.join(numbers)} |", "|---" * (len(numbers) + 1) + "|"
    yield from ("## The numbers { #numbers }", "", "Days until each incident was noticed, and by whom:", "")
    yield from (f"| incident {head}", rule)
    for place, incident in enumerate(compared.story.incidents):
        cells = [_noticed(each.incidents[place]) for each in compared.levels.values()]
        name = f"{words.words().kinds[incident.kind][0]}, {incident.since.day} {incident.since:%B %Y}"
        yield f"| {name} | {' | '.join(cells)} |"
    yield from ("", "When users complain is an assumption, in `data/people.yaml`.", "")
    yield from ("What people ask about next, in the same story:", "", f"| level {head}", rule)
    rows = {
        "error, bikes an hour": [f"{each.mae:.1f}" for each in compared.levels.values()],
        "bad hours": [
            f"{sum(one.bad_hours for one in each.incidents):,}" for each in compared.levels.values()
        ],
        "steps that people did": [f"{each.manual_steps:,}" for each in compared.levels.values()],
    }
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"
    yield from (
        "",
        "Why is a level hardly better than the one below on average? Most weeks nothing happens. Compare the",
        "bad hours, and the steps. Some of the difference is only that models are released more",
        "often:",
        "",
        "| from level to level | error falls by | by releasing more often | by everything else |",
        "|---|---|---|---|",
    )
    for low, high in pairwise(numbers):
        whole = compared.levels[low].mae - compared.levels[high].mae
        same = compared.same_dates or {}
        practice = same[low].mae - same[high].mae
        yield f"| {low} to {high} | {whole:.1f} | {whole - practice:.1f} | {practice:.1f} |"
    yield ""


def _noticed(incident: IncidentResult) -> str:
    if incident.days_to_notice is None or incident.noticed_by is None:
        return "never"
    by = incident.noticed_by.split(":")[0].replace("gate of train", "refused training")
    return f"{incident.days_to_notice}, {by}"


def _lab(lab: Lab) -> Iterator[str]:
    level = "" if lab.level is None else f"Level {lab.level}, "
    yield from (f"## Lab {lab.number}: {lab.title} {{ #lab-{lab.number} }}", "")
    yield from (f"{level}{lab.minutes} minutes. {lab.goal.strip()}".strip(), "")
    yield from (f"- **Ask:** {lab.discussion.question.strip()}",)
    yield from (f"- **An answer:** {lab.discussion.answer.strip()}",)
    if lab.incomplete is not None:
        open_ = [each.says.strip() for each in lab.criteria if each.id in lab.incomplete.unmet]
        yield f"- **An incomplete solution:** {lab.incomplete.says} Then this stays open: {'; '.join(open_)}."
    yield from ("", '??? example "Solution"', "")
    for number, step in enumerate(lab.steps, start=1):
        yield from (f"    {line}" if line else "" for line in _step(number, step))


def _step(number: int, step: LabStep) -> Iterator[str]:
    yield from (f"**{number}.** {fill_placeholders(step.says.strip(), PORT)}", "")
    if step.run:
        where = "" if step.folder == "." else f"in the folder `{step.folder}`"
        if step.background:
            where += "; in a second terminal" if where else "in a second terminal"
        yield from ([f"{where[:1].upper()}{where[1:]}:", ""] if where else [])
        yield from ("~~~~ text", fill_placeholders(step.run, PORT), "~~~~", "")
    for change in step.edits:
        yield from _change(change)
    if step.python:
        yield from ("By a program, in the place of a person:", "", "~~~~ python")
        yield from (*step.python.rstrip().split("\n"), "~~~~", "")
    if step.look:
        yield from (f"*Look:* {step.look.strip()}", "")


def _change(change: Change) -> Iterator[str]:
    yield from (f"`{change.file}`:", "", "~~~~ diff")
    made = difflib.ndiff((change.old or "").splitlines(), change.new.splitlines())
    yield from (line.rstrip() for line in made if not line.startswith("?"))
    yield from ("~~~~", "")
