"""The decision on a deployment with its evidence, as one page."""

from pathlib import Path

from bike_demand.core.files import write_atomically
from bike_demand.core.settings import REPORTS
from bike_demand.pages import render
from bike_demand.store.database import Database
from bike_demand.store.deployments import history
from bike_demand.store.tables import Deployment

TEMPLATE = Path(__file__).with_name("decision.html.j2")


def write_page(database: Database, row: Deployment) -> Path:
    """Write the page of a deployment as far as it came; its path on this machine."""
    page = page_of(row.version)
    write_atomically(page, render(TEMPLATE, row=row, history=history(database, row.id)).encode())
    return page


def page_of(version: int, part: str = "") -> Path:
    """Where the page of a version's last deployment lies on this machine."""
    return REPORTS / f"version-{version}{part}.html"
