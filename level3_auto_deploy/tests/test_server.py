"""The service as a process: how it starts, refuses to start, and stops."""

import http.client
import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bike_demand.core.settings import load_settings
from bike_demand.serving.request_body import MAX_BYTES
from bike_demand.store.tracking import Tracking
from tests.conftest import Run
from tests.load import loaded
from tests.registry import put_live
from tests.service import TIMEOUT_SECONDS, running, set_drain_seconds, start
from tests.tiny import constant
from tests.toy import EXAMPLE

posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["2", "1"])
def test_release_and_rollback_under_load_lose_no_request(released: Path, workers: str) -> None:
    latest = 100 * int(workers)
    with running(released, "--workers", workers) as service:
        service.client.post("/predict", json=EXAMPLE).raise_for_status()
        with loaded(service.port) as load:
            wait_until(lambda: len(load.answers) > latest)
            put_live(constant(released / "made", 5.0))
            wait_until(lambda: load.latest(latest) == {"2"})
            Tracking(load_settings()).set_alias("champion", 1)
            wait_until(lambda: load.latest(latest) == {"1"})
        assert load.failures == []
        assert {version for _, version in load.answers} == {"1", "2"}


@pytest.mark.slow
def test_with_no_model_yet_it_starts_and_answers_after_the_first_release(project: Path) -> None:
    with running(project) as service:
        assert service.client.get("/ready").status_code == 503
        assert service.client.post("/predict", json=EXAMPLE).status_code == 503
        put_live(constant(project / "made", 5.0))
        wait_until(lambda: service.client.get("/ready").status_code == 200)
        assert service.client.post("/predict", json=EXAMPLE).json()["prediction"] == 5.0


@pytest.mark.slow
def test_a_damaged_model_does_not_keep_it_from_starting_with_the_one_before(released: Path) -> None:
    with running(released) as service:
        assert service.client.get("/model").json()["version"] == "1"
    version = put_live(constant(released / "made", 5.0))
    (kept,) = (released / "state").glob(f"artifacts/*/{version.run_id}/artifacts/handoff/model.onnx")
    kept.write_bytes(b"half")
    with running(released) as service:
        assert service.client.get("/model").json()["version"] == "1"


@pytest.mark.slow
@pytest.mark.parametrize("silent", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_registry_that_is_dead_or_silent_does_not_keep_it_from_starting(
    project: Path, silent: bool
) -> None:
    with socket.socket() as registry:
        registry.bind(("127.0.0.1", 0))
        if silent:
            registry.listen()  # takes connections, and never answers
        port = registry.getsockname()[1]
        params = project / "params.yaml"
        text = params.read_text(encoding="utf-8")
        assert "sqlite:///state/mlflow.db" in text
        params.write_text(text.replace("sqlite:///state/mlflow.db", f"http://127.0.0.1:{port}"), "utf-8")
        with running(project) as service:
            assert service.client.get("/live").status_code == 200
            assert service.client.get("/ready").status_code == 503


@pytest.mark.usefixtures("project")
def test_a_wrong_address_of_the_registry_is_reported_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "state/mlflow.db")
    assert "tracking.uri" in run("serve", "--port", 0, "--workers", 2).refusal()


def test_a_port_that_is_taken_is_reported_in_one_line(released: Path, run: Run) -> None:
    assert released
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"port {port}" in run("serve", "--port", port).refusal()


@pytest.mark.parametrize("host", ["not a host", "10..0.1", "x" * 64])
def test_invalid_host_is_reported(released: Path, run: Run, host: str) -> None:
    assert released
    assert "give another --host" in run("serve", "--host", host).refusal()


@posix
@pytest.mark.parametrize(
    ("number", "workers"),
    [
        pytest.param(signal.SIGTERM, "2", marks=pytest.mark.slow),
        (signal.SIGINT, "1"),
        pytest.param(signal.SIGTERM, "1", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "2", marks=pytest.mark.slow),
    ],
)
def test_signal_stops_all_processes_with_status_0(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, workers: str
) -> None:
    set_drain_seconds(released, "0.1")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with running(released, "--workers", workers) as service:
        assert service.client.post("/predict", json=EXAMPLE).status_code == 200
        # One process writes nothing there: after `kill -9` nothing stays behind.
        assert len(list(scratch.iterdir())) == int(workers) - 1
        service.process.send_signal(number)
        out, err = service.process.communicate(timeout=TIMEOUT_SECONDS)
        assert (service.process.returncode, err) == (0, "")
        address, *lines = out.splitlines()
        assert address == f"http://127.0.0.1:{service.port}"
        assert not list(scratch.iterdir())
        events = [json.loads(line)["event"] for line in lines]
        for event in ("no_keys", "live"):
            assert events.count(event) == int(workers)
        with socket.socket() as again:  # nobody holds the port any more
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", service.port))


@pytest.mark.slow
@posix
def test_unfinished_request_does_not_block_shutdown(released: Path) -> None:
    set_drain_seconds(released, "0.1")
    with running(released) as service, socket.create_connection(("127.0.0.1", service.port)) as idle:
        idle.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert service.client.get("/live").status_code == 200
        service.process.send_signal(signal.SIGTERM)
        service.process.communicate(timeout=TIMEOUT_SECONDS)
        assert service.process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True])
def test_oversized_body_returns_413_while_streaming(released: Path, chunked: bool) -> None:
    with running(released) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        body = b" " * (2 * MAX_BYTES)
        connection.request("POST", "/predict", iter([body]) if chunked else body, encode_chunked=chunked)
        assert connection.getresponse().status == 413
        connection.close()
        assert service.client.post("/predict", json=EXAMPLE).status_code == 200


@pytest.mark.slow
def test_oversized_content_length_returns_413_before_the_body(released: Path) -> None:
    with running(released) as service, socket.create_connection(("127.0.0.1", service.port)) as sender:
        sender.settimeout(30)
        length = f"Content-Length: {MAX_BYTES + 1}"
        sender.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_wrong_port_in_the_settings_is_named(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("8000", "eight"), encoding="utf-8")
    process = start(project)
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, out, err.count("\n")) == (1, "", 1)
    assert "serving.port" in err


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
@posix
def test_killed_worker_is_reported_and_a_failing_replacement_in_one_line(released: Path) -> None:
    with running(released, "--workers", "2") as service:
        (released / "params.yaml").write_text("nonsense: 1\n", encoding="utf-8")
        parent = psutil.Process(service.process.pid)
        workers = [each for each in parent.children() if "spawn_main" in " ".join(each.cmdline())]
        workers[0].kill()
        assert service.process.stderr is not None
        lines = [service.process.stderr.readline() for _ in range(2)]
        assert lines[0] == f"Child process [{workers[0].pid}] died\n"
        assert lines[1].startswith("error: params.yaml: nonsense")
