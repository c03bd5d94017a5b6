"""Which Prefect server is used, and that nothing else is mistaken for one."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import pytest

from bike_demand.core.errors import UserError
from bike_demand.core.settings import Flow, load_settings
from bike_demand.launch import find_server
from tests.conftest import ROOT

SETTINGS = load_settings(ROOT / "params.yaml").flow
OURS = version("prefect")
PREFECT = {b"/api/health": b"true", b"/api/admin/version": f'"{OURS}"'.encode()}
OLD = PREFECT | {b"/api/admin/version": b'"2.20.4"'}
OK, UNAUTHORIZED, BAD_GATEWAY = b"HTTP/1.0 200 OK", b"HTTP/1.0 401 Unauthorized", b"HTTP/1.0 502 Bad Gateway"


@contextmanager
def answering(answers: dict[bytes, bytes], otherwise: bytes) -> Iterator[str]:
    """The API address of a server with these bodies by path; other paths get the raw bytes."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path = self.rfile.readline().split()[1]
            while self.rfile.readline().strip():
                pass
            body = answers.get(path)
            self.wfile.write(otherwise if body is None else OK + b"\r\n\r\n" + body)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/api"
        server.shutdown()


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that answers like Prefect; none is configured."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with answering(PREFECT, UNAUTHORIZED + b"\r\n\r\n") as address:
        yield address


@pytest.fixture
def unused_address(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nothing listens; PREFECT_API_URL is unset."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


def at(address: str) -> Flow:
    return SETTINGS.model_copy(update={"api": address})


def test_a_server_that_answers_is_used(prefect: str) -> None:
    assert find_server(at(prefect)) == prefect


def test_a_server_that_gives_its_version_only_after_login_is_used(unused_address: str) -> None:
    assert unused_address
    with answering({b"/api/health": b"true"}, UNAUTHORIZED + b"\r\n\r\n") as address:
        assert find_server(at(address)) == address


def test_without_a_server_none_is_used(unused_address: str) -> None:
    assert find_server(at(unused_address)) is None
    assert find_server(at("")) is None


def test_prefect_api_url_overrides_params(
    prefect: str, unused_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{prefect}/")
    assert find_server(at(unused_address)) == prefect
    monkeypatch.setenv("PREFECT_API_URL", unused_address)
    with pytest.raises(UserError, match="PREFECT_API_URL"):
        find_server(at(prefect))


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\n\r\n<!doctype html><title>Angular</title>",
        OK + b'\r\n\r\n{"status": "ok"}',
        BAD_GATEWAY + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["a page for every path", "JSON for every path", "a proxy", "another protocol", "no answer"],
)
def test_what_is_not_prefect_is_left_alone_unless_it_is_configured(
    unused_address: str, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    assert unused_address
    with answering({}, answer) as address:
        assert find_server(at(address)) is None
        monkeypatch.setenv("PREFECT_API_URL", address)
        with pytest.raises(UserError, match="PREFECT_API_URL"):
            find_server(SETTINGS)


def test_version_mismatch_names_both_versions(unused_address: str) -> None:
    assert unused_address
    with answering(OLD, b"") as address, pytest.raises(UserError) as raised:
        find_server(at(address))
    assert "2.20.4" in str(raised.value)
    assert OURS in str(raised.value)
