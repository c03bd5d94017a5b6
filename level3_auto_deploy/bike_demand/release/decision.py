"""Decides on deployments, and renders each decision with its evidence as one self-contained page."""

from pathlib import Path
from typing import Any

from bike_demand.core.files import write_atomically
from bike_demand.core.settings import REPORTS
from bike_demand.store.database import Database
from bike_demand.store.deployments import Deployments, history
from bike_demand.store.tables import Deployment, State

LAST_TRANSITIONS = 8  # more than those of one decision: of the version, the champion and the challenger
TEMPLATE = Path(__file__).with_name("decision.html.j2")


def decide(deployments: Deployments, row: Deployment, state: State, reason: str, **details: Any) -> str:
    """Make a transition, write the pages, and wait for the rollout, about which it returns one line.

    `details`: time and evidence of the transition. Can be repeated, as transitions can. A version that is
    queued changes nothing in production, so there is no rollout.
    """
    deployments.transition(row, state, reason, **details)
    write_pages(deployments)
    return "" if state is State.QUEUED else deployments.rollout()


def write_pages(deployments: Deployments) -> None:
    """Write the pages of the deployments that were changed last, and of those that are live or in a test.

    A repeated step writes the same pages, although its transition was made before.
    """
    changed = {each.deployment for each in history(deployments.database)[-LAST_TRANSITIONS:]}
    for row in deployments.all():
        if row.id in changed or row.state in (State.LIVE, State.TESTING):
            write_page(deployments.database, row)


def write_page(database: Database, row: Deployment) -> Path:
    """Write the page of a deployment, as far as it got. Returns its path on this machine."""
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = jinja.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = page_of(row.version)
    write_atomically(page, template.render(row=row, history=history(database, row.id)).encode())
    return page


def page_of(version: int) -> Path:
    """The path of the page for a version's last deployment on this machine."""
    return REPORTS / f"version-{version}.html"
