"""The service on a network: its documentation, redirects behind a proxy, clients that hang up, shutdown."""

import http.client
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from httpx import Client

from bike_demand.serving.request_body import read_body
from bike_demand.serving.web import new_app
from tests.proxies import Balancer, stripping_proxy
from tests.service import TIMEOUT_SECONDS, running, serve_in_thread, set_drain_seconds
from tests.toy import EXAMPLE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")


def bare_app() -> FastAPI:
    """The application without a model, and with a route that reads its body."""
    app = new_app()

    @app.post("/length", openapi_extra={"requestBody": {"content": {"application/json": {}}}})
    async def length(request: Request) -> int:
        return len(await read_body(request))

    return app


@contextmanager
def behind(prefix: str, root_path: str) -> Iterator[Client]:
    """A client of the application behind a proxy that strips the prefix."""
    with ExitStack() as stack:
        client = stack.enter_context(serve_in_thread(bare_app(), root_path=root_path))
        url = stack.enter_context(stripping_proxy(client.base_url.port or 0, prefix))
        yield stack.enter_context(Client(base_url=url, timeout=30, trust_env=False, follow_redirects=True))


@pytest.mark.parametrize("path", ["", "/", "/docs", "/docs/", "/openapi.json", "/openapi.json/", "/live/"])
def test_behind_a_proxy_that_strips_a_prefix_every_page_is_found(path: str) -> None:
    with behind("/pieces/v1", root_path="/pieces/v1") as client:
        base = str(client.base_url).rstrip("/")
        response = client.get(base + path)
        assert response.status_code == 200
        for each in (*response.history, response):
            assert str(each.url).startswith(base)
            assert "internal.example" not in each.headers.get("location", "")


def test_behind_a_prefix_the_documentation_loads_what_it_needs_from_there() -> None:
    with behind("/pieces", root_path="/pieces") as client:
        page = client.get("/docs").text
        assert '"/pieces/openapi.json"' in page.replace("'", '"')
        for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
            assert f"/pieces/static-offline-docs/{name}" in page
            assert client.get(f"/static-offline-docs/{name}").status_code == 200
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/pieces"}]


def test_client_disconnect_logs_no_exception(caplog: pytest.LogCaptureFixture) -> None:
    with serve_in_thread(bare_app()) as client:
        port = client.base_url.port
        with socket.create_connection(("127.0.0.1", port or 0)) as sender:
            sender.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            client.get("/live").raise_for_status()
        client.get("/live").raise_for_status()
        time.sleep(0.1)
    assert [each for each in caplog.records if each.exc_info] == []


@pytest.mark.slow
def test_keep_alive_exceeds_uvicorn_default(released: Path) -> None:
    with running(released) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        socks: list[object] = []
        for pause in (5.5, 0):  # by default uvicorn closes it after 5 seconds
            connection.request("GET", "/live")
            assert connection.getresponse().read()
            socks.append(connection.sock)
            time.sleep(pause)
        assert socks[0] is socks[1]
        connection.close()


@pytest.mark.slow
@posix
@pytest.mark.parametrize(
    ("workers", "poll_seconds", "drain_seconds", "requests"),
    [("1", 0.2, "2", 100), pytest.param("2", 2.0, "5", 1000, marks=pytest.mark.slow)],
)
def test_a_rolling_restart_behind_a_balancer_fails_no_request(
    released: Path, workers: str, poll_seconds: float, drain_seconds: str, requests: int
) -> None:
    set_drain_seconds(released, drain_seconds)
    body = httpx.Request("POST", "http://x", json=EXAMPLE).content
    with ExitStack() as stack:
        first, second = (stack.enter_context(running(released, "--workers", workers)) for _ in range(2))
        balancer = Balancer([first.port, second.port], poll_seconds)
        with balancer.under_load("/predict", body):
            wait_for(balancer, requests // 2)
            assert set(balancer.ready) == {first.port, second.port}
            first.process.send_signal(signal.SIGTERM)
            first.process.communicate(timeout=TIMEOUT_SECONDS)
            assert first.process.returncode == 0
            wait_for(balancer, balancer.requests + requests // 2)
        assert balancer.failures == []
        assert balancer.ready == [second.port]


def wait_for(balancer: Balancer, requests: int) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while balancer.requests < requests:
        assert time.monotonic() < until
        time.sleep(0.02)


@posix
@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_the_drain(released: Path) -> None:
    set_drain_seconds(released, "1000")
    with running(released) as service:
        service.process.send_signal(signal.SIGINT)
        service.process.communicate(timeout=TIMEOUT_SECONDS)
        assert service.process.returncode == 0


@posix
@pytest.mark.slow
def test_a_second_sigterm_ends_the_drain(released: Path) -> None:
    set_drain_seconds(released, "1000")
    with running(released) as service:
        service.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + TIMEOUT_SECONDS
        while service.client.get("/ready").status_code == 200:
            assert time.monotonic() < until
        assert service.client.post("/predict", json=EXAMPLE).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        service.process.communicate(timeout=TIMEOUT_SECONDS)
        assert service.process.returncode == 0


def test_a_trailing_slash_keeps_method_body_and_query() -> None:
    with serve_in_thread(bare_app()) as client:
        assert client.post("/length/", content=b"12345", follow_redirects=True).json() == 5
        assert client.get("/docs/?a=1", follow_redirects=True).url.query == b"a=1"
        assert client.get("/docs//", follow_redirects=True).status_code == 200
        assert client.get("/nowhere/", follow_redirects=True).status_code == 404
        assert client.get(f"{client.base_url}/elsewhere.example/").headers["location"].startswith("../")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
@pytest.mark.parametrize("prefix", [pytest.param("", marks=pytest.mark.slow), "/pieces"])
def test_the_documentation_works_in_a_browser_without_a_network(prefix: str) -> None:
    pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        client = stack.enter_context(serve_in_thread(bare_app(), root_path=prefix))
        url = str(client.base_url)
        if prefix:
            url = stack.enter_context(stripping_proxy(client.base_url.port or 0, prefix))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"{url}/docs")
        page.get_by_text("/live").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        page.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
        browser.close()
        assert all(each.startswith((url, "data:")) for each in requested), requested
