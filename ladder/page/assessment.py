"""The page of an assessment: a single self-contained HTML file."""

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from ladder.assess import report
from ladder.assess.backlog import Backlog, Change
from ladder.assess.judge import Assessment
from ladder.page import environment, text


def render(found: Assessment, made: Backlog | None, changes: Sequence[Change] | None) -> str:
    """The whole page."""
    templates = environment()
    templates.filters["marked"] = _marked
    return templates.get_template("assessment.html.j2").render(
        found=found,
        made=made,
        changes=changes,
        report=report,
        style=Markup(text("base.css")),
    )


def _marked(value: str) -> Markup:
    """Mark text between backticks as code."""
    return Markup(re.sub("`(.+)`", r"<code>\1</code>", str(escape(value))))
