"""Runs a training where it belongs: on a Prefect server where there is one, else right here."""

import os
import urllib.request
from collections.abc import Callable
from datetime import datetime

from bike_demand.errors import UserError
from bike_demand.settings import STATE, Flow, load_settings
from bike_demand.training import steps
from bike_demand.training.record import Recorded

API = "PREFECT_API_URL"
SECONDS = 2.0  # to find out whether a server answers


def train(
    as_of: datetime | None, allow_uncommitted: bool, tell: Callable[[str], None]
) -> tuple[Recorded, bool]:
    """Gather, validate, train, evaluate, register. `tell` gets one line that says where. Raises UserError."""
    server = find_server(load_settings().flow)
    if server is None:
        tell("No Prefect server answers, so the steps run right here.")
        return steps.run(as_of, allow_uncommitted)
    tell(f"Runs as a flow of the Prefect server at {server}.")
    home = STATE.absolute() / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home))
    # What happens is logged on the server; here it would bury the one line that says what went wrong.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    configured = os.environ.get(API)
    os.environ[API] = server
    try:
        from bike_demand import flows

        return flows.train(as_of, allow_uncommitted)
    finally:
        if configured is None:
            del os.environ[API]


def find_server(settings: Flow) -> str | None:
    """The address of the Prefect server to use, or None. Raises UserError where a configured one is away."""
    configured = os.environ.get(API)
    address = (configured or settings.api).rstrip("/")
    if not address:
        return None
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=SECONDS):
            return address
    except (OSError, ValueError) as error:
        if not configured:
            return None
        said = getattr(error, "reason", error)
        raise UserError(
            f"{API} is {address}, but no server answers there ({said}); start it, or unset {API}"
        ) from None
