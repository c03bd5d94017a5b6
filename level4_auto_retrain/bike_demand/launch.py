"""Decides where trainings and deployments run: on a Prefect server if there is one, else in this process."""

import base64
import json
import os
import urllib.request
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPException
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from bike_demand.core.environment import environment_with
from bike_demand.core.errors import UserError
from bike_demand.core.settings import STATE, Flow, Settings, load_settings

if TYPE_CHECKING:
    from bike_demand.training.record import TrainingResult

API_VARIABLE = "PREFECT_API_URL"
AUTH_VARIABLE = "PREFECT_API_AUTH_STRING"  # like admin:password, for a server that requires it
UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
TIMEOUT_SECONDS = 2.0
DEPLOY_DEPLOYMENT = "deploy/automatic"  # Prefect deployments, in prefect.yaml
LOOP_DEPLOYMENT = "monitoring-cycle/loop"


def train(
    as_of: datetime | None, allow_dirty: bool, deploy: bool | None, report: Callable[[str], None]
) -> "tuple[TrainingResult, bool]":
    """Ingest, validate, train, evaluate, register. Returns the result, and whether it is new.

    `deploy`: whether a Prefect server is to deploy it; None: as in params.yaml. `report` receives a line that
    says where it runs. Raises UserError.
    """
    server = find_server(load_settings().flow)
    if server is None:
        from bike_demand.training import steps

        report("No Prefect server is running, so the steps run in this process.")
        return steps.run(as_of, allow_dirty)
    report(f"Running as a flow on the Prefect server at {server}.")
    home = STATE.absolute() / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home))
    # The flow's log is on the server; on this terminal it would bury the one-line error.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with environment_with({API_VARIABLE: server}):
        from bike_demand import flows

        return flows.train(as_of, allow_dirty, deploy)


def deploy_after_training(
    settings: Settings, wanted: str, as_of: datetime | None, report: Callable[[str], None]
) -> None:
    """Deploy the version of a training, unless a decision was made on it before.

    Runs on a Prefect server if there is one. Raises UserError if a gate refuses the version.
    """
    from bike_demand.release import deploy as delivery
    from bike_demand.release.decision import page_of

    standing = delivery.earlier_decision(settings, wanted, as_of, report)
    if standing is not None:
        report(f"Version {wanted} {standing}.")
    elif deployment := find_automatic_deployment(settings.flow):
        report("The deployment runs on the Prefect server.")
        if deployment["status"] != "READY":  # no worker has polled in the last minute
            start = f"`prefect worker start --pool {deployment['work_pool_name']}`"
            report(f"warning: it waits for a worker there; if none is running, start one: {start}")
    else:
        report("No Prefect server deploys new versions; deploying in this process.")
        delivery.deploy(settings, wanted, as_of, report)
        report(f"All evidence is on one page: {page_of(int(wanted))}")


def find_automatic_deployment(settings: Flow) -> dict[str, Any] | None:
    """The Prefect deployment for registered versions; None if no server responds, or it has none."""
    server = find_server(settings)
    return None if server is None else _active_deployment(server, DEPLOY_DEPLOYMENT)


def require_no_prefect_loop(settings: Flow) -> None:
    """Raises UserError if a Prefect server already runs the loop."""
    server = find_server(settings)
    if server is not None and _active_deployment(server, LOOP_DEPLOYMENT):
        raise UserError(
            f"the Prefect server at {server} already runs the loop (deployment {LOOP_DEPLOYMENT}); pause it"
            " there, start a worker if it has none, or run one cycle here with --once"
        )


def _active_deployment(server: str, name: str) -> dict[str, Any] | None:
    """The Prefect deployment of that name; None if the server has none, or it is paused."""
    try:
        deployment: dict[str, Any] = get(server, f"deployments/name/{name}")
        return None if deployment["paused"] else deployment
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            remedy = f"set {AUTH_VARIABLE}" if error.code in UNAUTHORIZED else "try again"
            raise UserError(f"{server}: {error}; {remedy}") from None
        return None


def find_server(settings: Flow) -> str | None:
    """The API address of the Prefect server to use; None if none is configured, or it does not respond.

    Uses plain HTTP, because importing Prefect takes seconds. PREFECT_API_URL takes precedence over
    params.yaml; another program at the address from params.yaml is ignored. Raises UserError if there is no
    Prefect server at PREFECT_API_URL, or one of another version.
    """
    configured = os.environ.get(API_VARIABLE)
    address = (configured or settings.api).rstrip("/")
    if not address:
        return None
    try:
        if get(address, "health") is not True:
            raise ValueError("another program responds there")
        server_version = _server_version(address)
    except (OSError, ValueError, HTTPException) as error:
        if not configured:
            return None
        why = getattr(error, "reason", error)
        raise UserError(
            f"{API_VARIABLE} is {address}, but no Prefect server responds there ({why}); start it, or unset"
            f" {API_VARIABLE}"
        ) from None
    client_version = version("prefect")
    if server_version is not None and server_version.split(".")[:2] != client_version.split(".")[:2]:
        where = API_VARIABLE if configured else "flow.api in params.yaml"
        raise UserError(
            f"the server at {address} runs Prefect {server_version}, this project Prefect {client_version};"
            f" start one of that version, or change {where}"
        )
    return address


def get(address: str, path: str) -> Any:
    """The server's JSON response. Raises OSError or HTTPException without a response, ValueError for anything
    but JSON.
    """
    request = urllib.request.Request(f"{address}/{path}")
    if credentials := os.environ.get(AUTH_VARIABLE):
        request.add_header("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        return json.load(response)


def _server_version(address: str) -> str | None:
    """The version, like `3.8.8`; None if the server shows it only to authenticated clients."""
    try:
        return str(get(address, "admin/version"))
    except HTTPError as error:
        if error.code in UNAUTHORIZED:
            return None
        raise
