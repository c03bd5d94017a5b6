"""Runs a training where it belongs: on a Prefect server where there is one, else right here."""

import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from bike_demand.core.environment import environment_with
from bike_demand.core.settings import STATE, load_settings
from bike_demand.prefect_api import VARIABLE, find_server

if TYPE_CHECKING:
    from bike_demand.training.record import Recorded


def train(
    as_of: datetime | None, allow_uncommitted: bool, report: Callable[[str], None]
) -> "tuple[Recorded, bool]":
    """Gather, validate, train, evaluate, register. `report` gets a line that says where. Raises UserError."""
    server = find_server(load_settings().flow)
    if server is None:
        from bike_demand.training import steps

        report("No Prefect server answers, so the steps run right here.")
        return steps.run(as_of, allow_uncommitted)
    report(f"Runs as a flow of the Prefect server at {server}.")
    home = STATE.absolute() / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home))
    # What happens is logged on the server; here it would bury the one line that says what went wrong.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with environment_with({VARIABLE: server}):
        from bike_demand import flows

        return flows.train(as_of, allow_uncommitted)
