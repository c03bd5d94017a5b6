"""The service as a process: how it starts, refuses to start, and stops."""

import http.client
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest

from bike_demand.serving.request_body import MAX_BYTES
from tests.conftest import Run
from tests.service import TIMEOUT_SECONDS, running, set_drain_seconds, start
from tests.toy import EXAMPLE

posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")


def test_a_model_is_served_and_a_new_one_after_a_restart(released: Path, run: Run) -> None:
    run("ingest")
    run("train", "--as-of", "2011-03-10")
    with running(released) as service:
        first = service.client.post("/predict", json=EXAMPLE).json()
        shutil.rmtree(released / "state" / "model")
        shutil.copytree(released / "state" / "handoff", released / "state" / "model")
        assert service.client.post("/predict", json=EXAMPLE).json() == first
    with running(released) as service:
        assert service.client.post("/predict", json=EXAMPLE).json()["model_version"] != first["model_version"]


def test_starts_without_model_and_is_not_ready(project: Path) -> None:
    with running(project) as service:
        assert service.client.get("/ready").status_code == 503


def test_service_does_not_start_with_a_damaged_handoff(released: Path, run: Run) -> None:
    (released / "state" / "model" / "model.onnx").write_bytes(b"half")
    assert "(damaged or edited); copy the hand-off again" in run("serve", "--port", 0).refusal()


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
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_signal_stops_all_processes_with_status_0(released: Path, number: int, workers: str) -> None:
    set_drain_seconds(released, "0.1")
    with running(released, "--workers", workers) as service:
        assert service.client.post("/predict", json=EXAMPLE).status_code == 200
        service.process.send_signal(number)
        out, err = service.process.communicate(timeout=TIMEOUT_SECONDS)
        assert (service.process.returncode, err) == (0, "")
        assert out.startswith(f"Serving http://127.0.0.1:{service.port}: model ")
        with socket.socket() as again:  # nobody holds the port any more
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", service.port))


@posix
def test_unfinished_request_does_not_block_shutdown(released: Path) -> None:
    set_drain_seconds(released, "0.1")
    with running(released) as service, socket.create_connection(("127.0.0.1", service.port)) as idle:
        idle.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert service.client.get("/live").status_code == 200
        service.process.send_signal(signal.SIGTERM)
        service.process.communicate(timeout=TIMEOUT_SECONDS)
        assert service.process.returncode == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_oversized_body_returns_413_while_streaming(released: Path, chunked: bool) -> None:
    with running(released) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        body = b" " * (2 * MAX_BYTES)
        connection.request("POST", "/predict", iter([body]) if chunked else body, encode_chunked=chunked)
        assert connection.getresponse().status == 413
        connection.close()
        assert service.client.post("/predict", json=EXAMPLE).status_code == 200


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
