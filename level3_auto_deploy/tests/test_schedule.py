"""Where and when trainings run: prefect.yaml, and whether a Prefect server is used."""

import http.server
import socket
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from bike_demand.launch import takes_over
from bike_demand.schedule import content, main
from bike_demand.settings import Flow, load_settings
from tests.conftest import ROOT

SETTINGS = load_settings(ROOT / "params.yaml").flow


def deployments(text: str) -> dict[str, dict[str, Any]]:
    """The deployments of a prefect.yaml, by name."""
    return {each["name"]: each for each in yaml.safe_load(text)["deployments"]}


def test_prefect_yaml_is_up_to_date() -> None:
    assert (ROOT / "prefect.yaml").read_text(encoding="utf-8") == content(SETTINGS), (
        "run `python -m bike_demand.schedule`"
    )


def test_the_schedule_and_the_work_pool_are_those_of_the_settings(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8").replace('"0 5 1,15 * *"', '"30 2 * * 1"')
    params.write_text(text.replace("work_pool: training", "work_pool: nights"), encoding="utf-8")
    assert main() == 0
    assert capsys.readouterr().err == ""
    written = deployments((project / "prefect.yaml").read_text(encoding="utf-8"))
    assert written["scheduled"]["schedules"] == [{"cron": "30 2 * * 1", "timezone": "UTC"}]
    assert written["daily"]["schedules"] == [{"cron": SETTINGS.ab_cron, "timezone": "UTC"}]
    assert "schedules" not in written["automatic"]
    assert [each["work_pool"] for each in written.values()] == [{"name": "nights"}] * 3


def test_a_container_has_an_image_and_a_folder_to_work_in() -> None:
    text = content(SETTINGS.model_copy(update={"work_pool_type": "kubernetes"}))
    for made in deployments(text).values():
        assert made["work_pool"] == {
            "name": "training",
            "job_variables": {"image": "bike-demand-training"},
        }
        assert made["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]


@pytest.mark.parametrize(
    ("deployment", "flow"), [("scheduled", "train"), ("automatic", "deploy"), ("daily", "ab-step")]
)
def test_each_entry_point_is_the_flow(deployment: str, flow: str) -> None:
    path, _, name = str(deployments(content(SETTINGS))[deployment]["entrypoint"]).partition(":")
    assert f'@flow(name="{flow}")\ndef {name}(' in (ROOT / path).read_text(encoding="utf-8")


def test_outside_a_project_it_is_said_where_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main() == 1
    assert "run this in the project's folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ---- the server

NAMED = "/api/deployments/name/deploy/automatic"
ANSWERS = {"/api/health": b"true", "/api/admin/version": f'"{version("prefect")}"'.encode()}  # by path


@pytest.fixture
def server() -> Iterator[str]:
    """Something that answers like a Prefect server that is asked for its health."""

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = ANSWERS.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/api"
        running.shutdown()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which nobody answers; none is configured."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


def at(address: str) -> Flow:
    return SETTINGS.model_copy(update={"api": address})


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("answer", "expected"), [(None, False), (b'{"paused": true}', False), (b'{"paused": false}', True)]
)
def test_a_server_takes_deployments_over_only_where_it_has_them(
    server: str, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, expected: bool
) -> None:
    if answer is not None:
        monkeypatch.setitem(ANSWERS, NAMED, answer)
    assert takes_over(at(server)) == expected


def test_without_a_server_nobody_takes_deployments_over(nobody: str) -> None:
    assert not takes_over(at(nobody))
