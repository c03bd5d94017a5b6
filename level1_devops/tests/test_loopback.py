"""Behind a proxy for the internet, this machine's own services are reached directly."""

import json
import os
import re
import subprocess
import sys

import pytest
from fastapi import FastAPI

from bike_demand.serving.web import new_app
from tests.conftest import ROOT
from tests.service import serve_in_thread

UNREACHABLE_PROXY = "http://127.0.0.1:9"  # nobody listens there
CLEAN = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def no_proxy(env: dict[str, str]) -> set[str]:
    """The entries of NO_PROXY that a process has which imports the package."""
    script = "import os, bike_demand; print(os.environ.get('no_proxy', ''), os.environ.get('NO_PROXY', ''))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=CLEAN | env, capture_output=True, text=True, check=True
    )
    lower, upper = done.stdout.removesuffix("\n").split(" ")
    assert lower == upper
    return set(filter(None, lower.split(",")))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_loopback_is_never_proxied(name: str) -> None:
    assert no_proxy({name: UNREACHABLE_PROXY}) == {"127.0.0.1", "localhost", "::1"}


def test_existing_no_proxy_entries_are_kept() -> None:
    given = {"http_proxy": UNREACHABLE_PROXY, "no_proxy": "example.org,localhost", "NO_PROXY": ".example.com"}
    assert no_proxy(given) == {"example.org", ".example.com", "127.0.0.1", "localhost", "::1"}
    assert no_proxy({"http_proxy": UNREACHABLE_PROXY, "NO_PROXY": "*", "no_proxy": "*"}) == {"*"}


def test_without_a_proxy_nothing_is_set() -> None:
    assert no_proxy({}) == set()


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml"])
def test_the_health_checks_of_containers_reach_their_service(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    checks = re.findall(r'python"?, "?-c"?, ("[^"]+urllib[^"]+")', text)
    assert checks
    app: FastAPI = new_app()
    for path in ("/health", "/api/health"):  # of the tracking and workflow servers in compose.yaml, if any
        app.add_api_route(path, lambda: "healthy")
    with serve_in_thread(app) as client:
        for check in checks:
            code = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{client.base_url.port}", json.loads(check))
            env = CLEAN | {"HTTP_PROXY": UNREACHABLE_PROXY, "http_proxy": UNREACHABLE_PROXY}
            subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
