"""The page of an assessment: one HTML file that needs nothing from anywhere else."""

from collections.abc import Sequence

from markupsafe import Markup

from ladder.assess import report
from ladder.assess.backlog import ASSUMPTION, Backlog, Change
from ladder.assess.judge import Assessment
from ladder.levels import SHORT
from ladder.page import environment, text


def render(found: Assessment, made: Backlog | None, changes: Sequence[Change] | None) -> str:
    """The whole page."""
    return (
        environment()
        .get_template("assessment.html.j2")
        .render(
            found=found,
            made=made,
            changes=changes,
            short=SHORT,
            report=report,
            assumption=ASSUMPTION,
            style=Markup(text("base.css")),
        )
    )
