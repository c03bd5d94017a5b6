"""What is left to a Prefect server, and what a command does itself."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from bike_demand.core.errors import UserError
from bike_demand.core.settings import Flow, load_settings
from bike_demand.launch import deploy_after_training, find_automatic_deployment
from tests.conftest import ROOT

SETTINGS = load_settings(ROOT / "params.yaml").flow


# ---- the server

NAMED = "/api/deployments/name/deploy/automatic"
ANSWERS = {"/api/health": b"true", "/api/admin/version": f'"{version("prefect")}"'.encode()}  # by path
UNAVAILABLE = b"unavailable"  # in ANSWERS: the server responds with 503
CREDENTIALS = "credentials"  # in ANSWERS: the header that it requires, if any


@pytest.fixture
def server() -> Iterator[str]:
    """Responds like the health endpoint of a Prefect server."""

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = ANSWERS.get(self.path)
            given = self.headers.get("Authorization", "").encode()
            is_open = self.path == "/api/health" or given == ANSWERS.get(CREDENTIALS, b"")
            status = 404 if body is None else 503 if body == UNAVAILABLE else 200
            self.send_response(status if is_open else 401)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/api"
        running.shutdown()


@pytest.fixture
def unused_address(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nothing listens; PREFECT_API_URL is unset."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


def at(address: str) -> Flow:
    return SETTINGS.model_copy(update={"api": address})


@pytest.mark.usefixtures("unused_address")
@pytest.mark.parametrize(
    ("answer", "expected"), [(None, False), (b'{"paused": true}', False), (b'{"paused": false}', True)]
)
def test_a_server_takes_deployments_over_only_where_it_has_them(
    server: str, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, expected: bool
) -> None:
    if answer is not None:
        monkeypatch.setitem(ANSWERS, NAMED, answer)
    assert (find_automatic_deployment(at(server)) is not None) == expected


@pytest.mark.usefixtures("unused_address")
@pytest.mark.parametrize("status", ["READY", "NOT_READY"])
def test_a_deployment_that_no_worker_would_run_is_reported(
    server: str, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    answer = {"paused": False, "status": status, "work_pool_name": "training"}
    monkeypatch.setitem(ANSWERS, NAMED, json.dumps(answer).encode())
    monkeypatch.setattr("bike_demand.release.deploy.earlier_decision", lambda *_: None)
    settings, output = load_settings(ROOT / "params.yaml"), list[str]()
    here = settings.model_copy(update={"flow": at(server)})
    deploy_after_training(here, "1", None, output.append)
    assert "Prefect server" in output[0]
    warned = any("prefect worker start --pool training" in line for line in output)
    assert warned == (status == "NOT_READY")


@pytest.mark.usefixtures("unused_address")
def test_a_server_that_requires_a_password_is_asked_with_it(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, NAMED, b'{"paused": false}')
    monkeypatch.setitem(ANSWERS, CREDENTIALS, b"Basic YWRtaW46cGFzcw==")
    with pytest.raises(UserError, match="set PREFECT_API_AUTH_STRING"):
        find_automatic_deployment(at(server))
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:pass")
    assert find_automatic_deployment(at(server))
    monkeypatch.setitem(ANSWERS, NAMED, UNAVAILABLE)
    with pytest.raises(UserError, match=r"503.*; try again"):
        find_automatic_deployment(at(server))


def test_without_a_server_nobody_takes_deployments_over(unused_address: str) -> None:
    assert not find_automatic_deployment(at(unused_address))
