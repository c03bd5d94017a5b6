"""The reports of an assessment: a single self-contained HTML file, and Markdown."""

import re
from collections.abc import Sequence

from markupsafe import Markup

from ladder import practices
from ladder.assess import report
from ladder.assess.backlog import ASSUMPTION, Backlog, Change
from ladder.assess.judge import Assessment
from ladder.page import environment, text


def render(found: Assessment, made: Backlog | None, changes: Sequence[Change] | None) -> str:
    """The whole page."""
    return _rendered("assessment.html.j2", found, made, changes, style=Markup(text("base.css")))


def markdown(
    found: Assessment, made: Backlog | None, changes: Sequence[Change] | None, *, every: bool = True
) -> str:
    """The same as Markdown; `every`: with all rows, not only those that are missing for the next level."""
    return _rendered("assessment.md.j2", found, made, changes, every=every)


def _rendered(
    template: str,
    found: Assessment,
    made: Backlog | None,
    changes: Sequence[Change] | None,
    **more: object,
) -> str:
    templates = environment()
    templates.filters["markdown"] = _literal
    return templates.get_template(template).render(
        found=found,
        made=made,
        changes=changes,
        report=report,
        areas=practices.areas(),
        assumption=ASSUMPTION,
        **more,
    )


def _literal(value: str) -> str:
    """The text without formatting, except for code between backticks."""
    return re.sub(r"(`[^`]*`)|([*_<|\[\]])", lambda match: match[1] or f"\\{match[2]}", value)
