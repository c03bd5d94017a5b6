"""Renders the decision on a deployment with its evidence as one self-contained page."""

from pathlib import Path

from bike_demand.core.files import write_atomically
from bike_demand.core.settings import REPORTS
from bike_demand.store.database import Database
from bike_demand.store.deployments import history
from bike_demand.store.tables import Deployment

TEMPLATE = Path(__file__).with_name("decision.html.j2")


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
