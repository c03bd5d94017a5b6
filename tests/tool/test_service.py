"""A level's application, or another server: started and waited for."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ladder import ROOT, UserError, service
from ladder.service import Service

SCRIPT = """
import os, sys
from pathlib import Path
from ladder.service import Service
os.environ |= {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
with Service(Path(sys.argv[1]), Path(sys.argv[1], "log"), command=command, probe="/") as service:
    service.start()
    with service.client() as client:
        print(client.get("/").status_code)
"""


def test_a_proxy_for_the_internet_is_not_asked_for_a_service_of_this_machine(tmp_path: Path) -> None:
    """Set after the import: like that of the system's settings, the tool does not see it in the variables."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name.lower() != "no_proxy"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "200\n", done.stderr


def test_a_server_that_does_not_respond_in_time_is_reported_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "START_SECONDS", 1)
    waiting = "import time; print('loading', flush=True); time.sleep(60)"
    server = Service(tmp_path, tmp_path / "log", command=[sys.executable, "-c", waiting, "{port}"])
    with server, pytest.raises(UserError, match="did not respond in 1 s: loading"):
        server.start()
    assert not server.is_running()


def test_a_server_that_ends_while_it_is_used_is_reported_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
    with Service(tmp_path, tmp_path / "log", command=command, probe="/") as server:
        server.start()
        with pytest.raises(UserError, match="stopped responding"):
            _use_after_its_end(server)


def _use_after_its_end(server: Service) -> None:
    with server.client() as client:
        assert client.get("/").is_success
        [process] = (each for each in psutil.Process().children() if str(server.port) in each.cmdline())
        process.kill()
        process.wait()
        client.get("/")
