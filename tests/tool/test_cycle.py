"""`ladder run` and `ladder up`: one life cycle in the open, and what a level runs."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from rich.console import Console

from ladder import ROOT, runbook, users
from ladder import up as command_up
from ladder.levels import level, levels
from ladder.session import set_up
from ladder.story import load_story
from ladder.world.feedfile import between, read_feed
from tests.tool.conftest import Ladder
from tests.tool.test_demo import processes_in


@pytest.mark.parametrize(
    "number",
    # Above, a life cycle takes longer, and the replays go through the same commands.
    [pytest.param(each.number, marks=[pytest.mark.slow] * (each.number > 0)) for each in levels()],
)
def test_run_shows_each_step_with_who_does_it_and_its_command(
    run_ladder: Ladder, number: int, environment: dict[str, str]
) -> None:
    # As on a company's laptop, where the proxy for the internet cannot reach services of the laptop.
    nowhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "MLFLOW_TRACKING_URI"), "http://127.0.0.1:9")
    environment.update(nowhere, BIKE_DATABASE="postgresql://127.0.0.1:9/theirs")
    done = run_ladder("run", str(number))
    assert done.returncode == 0, done.stderr
    book = runbook.load(levels()[number].folder)
    output, position = " ".join(done.stdout.split()), 0
    for step in (*book.daily, *book.release):  # in this order
        position = output.index(step.does, position)
        if step.command:
            position = output.index(f"$ {step.command}", position)
    by_hand = sum(step.by_hand for step in (*book.daily, *book.release))
    assert f"{by_hand} of {len(book.daily) + len(book.release)} steps need a person" in done.stdout
    off = re.search(r"Mean error over the next week: ([\d.]+) bikes an hour", done.stdout)
    assert off is not None
    assert 0 < float(off[1]) < 150
    assert processes_in(Path(environment["LADDER_HOME"])) == []


def up(environment: dict[str, str], *arguments: str) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ladder", "up", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output = ""
    assert process.stdout is not None
    while "Ctrl-C stops everything" not in output:
        line = process.stdout.readline()
        assert line, output
        output += line
    found = re.search(r"(http://127\.0\.0\.1:\d+)/docs", output)
    assert found is not None, output
    return process, found[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a test cannot press Ctrl-C there")
def test_up_releases_and_serves_until_ctrl_c(environment: dict[str, str]) -> None:
    process, url = up(environment, "1")
    assert httpx.get(f"{url}/ready").status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert processes_in(Path(environment["LADDER_HOME"])) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/live")


@pytest.mark.skipif(sys.platform == "win32", reason="a test cannot press Ctrl-C there")
@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_up_on_day_0_has_no_model_yet_and_ends_on_a_signal(
    environment: dict[str, str], sent: signal.Signals, status: int
) -> None:
    process, url = up(environment, "1", "--empty")
    assert httpx.get(f"{url}/live").status_code == 200
    assert httpx.get(f"{url}/ready").status_code == 503
    process.send_signal(sent)
    assert process.wait(timeout=30) == status
    assert processes_in(Path(environment["LADDER_HOME"])) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a test cannot press Ctrl-C there")
def test_up_without_a_model_starts_the_pages_too(environment: dict[str, str]) -> None:
    process, url = up(environment, "4", "--empty")
    assert httpx.get(f"{url}/ready").status_code == 503
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_application_that_dies_is_reported(environment: dict[str, str]) -> None:
    process, url = up(environment, "1", "--empty")
    port = int(url.rsplit(":", 1)[1])
    served = [each for each in processes_in(Path(environment["LADDER_HOME"])) if str(port) in each.cmdline()]
    served[0].kill()
    give_up = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    assert process.returncode == 1
    assert process.stdout is not None
    assert "error: the application ended" in process.stdout.read()


def test_a_port_that_is_taken_is_refused_before_anything_is_made(
    ladder: Ladder, environment: dict[str, str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = ladder("up", "1", "--port", str(other.getsockname()[1]))
    assert done.returncode == 1
    assert "is in use" in done.stderr
    assert not Path(environment["LADDER_HOME"], "up").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["1", "--story"], "needs a level with an automatic loop"),
        (["4", "--scenario", "growth"], "requires --story"),
        (["4", "--story", "--scenario", "no-such"], "no scenario no-such"),
    ],
)
def test_a_story_that_cannot_be_played_is_refused_in_one_line(
    ladder: Ladder, arguments: list[str], says: str
) -> None:
    done = ladder("up", *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


class Played:
    """Stands for the application and the flows' server while a story is played; keeps what they are given."""

    def __init__(self, feed: Path) -> None:
        self._feed = feed
        self.feeds: list[Any] = []  # as the flows of each day find it
        self.posted: dict[str, list[Any]] = {"/predict": [], "/outcomes": []}

    def run(self, _: date) -> Iterator[Any]:
        self.feeds.append(read_feed(self._feed))
        return iter(())

    def is_running(self) -> bool:
        return True

    def client(self) -> httpx.Client:
        return httpx.Client(base_url="http://stub", transport=httpx.MockTransport(self._respond))

    def _respond(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.posted[request.url.path].append(json.loads(request.content))
        nothing: dict[str, list[Any]] = {
            each: [] for each in ("signals", "trainings", "comparisons", "releases")
        }
        return httpx.Response(200, json=nothing | {"prediction": 1.0, "version": 1, "other": None})


@pytest.mark.parametrize("scenario", ["units", "outage", "poison"])
def test_a_story_is_played_with_the_faults_of_its_scenario(scenario: str, tmp_path: Path) -> None:
    first = load_story(scenario).incidents[0].since
    days, after = [first + timedelta(days=number) for number in range(2)], first + timedelta(days=2)
    session = set_up(level(4), tmp_path, scenario, Console(quiet=True))
    story = replace(session.story, end=days[-1])
    played = Played(session.folder / "feed")
    command_up._play(replace(session, story=story), played, played, 0, Console(quiet=True))  # type: ignore[arg-type]

    shown = [story.published(day) for day in days]
    assert not shown[-1].equals(story.clean[story.clean["timestamp"] < pd.Timestamp(days[-1])])
    for feed, wanted in zip(played.feeds, shown, strict=True):
        pd.testing.assert_frame_equal(feed, wanted)
    requests = users.as_bodies(between(story.requests(), days[0], after))
    assert played.posted["/predict"] == requests
    outcomes = users.as_bodies(between(story.clean, days[0], after)[["timestamp", "count"]])
    assert [each for posted in played.posted["/outcomes"] for each in posted] == outcomes


FLOWS = ("monitoring-cycle", "respond", "train", "deploy")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform == "win32", reason="a test cannot press Ctrl-C there")
def test_a_story_is_played_by_the_flows_of_a_prefect_server_until_ctrl_c(environment: dict[str, str]) -> None:
    process, url = up(environment, "4", "--story", "--speed", "0.5")
    assert process.stdout is not None
    try:
        output = ""
        # The loop noticed, trained, and the day ended with another version in its test.
        while not re.search(r"mean error .* challenger \d+", output):
            line = process.stdout.readline()
            assert line, output
            assert "2012-02-10" not in line, output
            output += line
        assert "error drift" in output
        assert httpx.get(f"{url}/dashboard", timeout=30).status_code == 200
        status = httpx.get(f"{url}/status", timeout=30).json()
        errors = {each["day"]: each["error"] for each in status["days"]}
        printed = re.findall(r"(\d{4}-\d\d-\d\d)  (?:[^\n]*\n {12})*mean error +([\d.]+)", output)
        assert len(printed) >= 3
        for day, error in printed[:-1]:  # the last one is evaluated tomorrow
            assert float(error) == pytest.approx(errors[day], abs=0.06)
        links = status["links"]
        assert {"MLflow", "Prefect", "Evidently"} <= set(links)
        assert "/#/models/bike-demand" in links["MLflow"]
        mlflow = links["MLflow"].partition("/#/")[0]
        model = httpx.get(
            f"{mlflow}/api/2.0/mlflow/registered-models/get", params={"name": "bike-demand"}, timeout=30
        )
        assert "bikes" in model.json()["registered_model"]["description"]
        evidently, _, project = links["Evidently"].partition("/projects/")
        listed = httpx.get(f"{evidently}/api/projects/{project}/snapshots", timeout=30).json()
        assert {"data drift", "data summary"} <= {tag for each in listed for tag in each["tags"]}
        for address in links.values():
            assert httpx.get(address, timeout=30, follow_redirects=True).status_code == 200
        prefect_shows_the_loop(f"{links['Prefect']}/api")
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(timeout=60)
    assert ended == 130
    assert processes_in(Path(environment["LADDER_HOME"])) == []


def prefect_shows_the_loop(api: str) -> None:
    """The server has the runs, the events, the automation that they fired, and what the flows left."""

    def found(what: str, **wanted: object) -> list[dict[str, Any]]:
        answer = httpx.post(f"{api}/{what}/filter", json=wanted, timeout=30).raise_for_status().json()
        listed: list[dict[str, Any]] = answer["events"] if what == "events" else answer
        return listed

    completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
    runs = {each: found("flow_runs", flows={"name": {"any_": [each]}}, flow_runs=completed) for each in FLOWS}
    assert all(runs.values()), runs
    assert runs["monitoring-cycle"][0]["parameters"]["as_of"].startswith("2012-01-")
    assert {each["created_by"]["type"] for each in runs["respond"]} == {"AUTOMATION"}
    tasks = {each["name"] for each in found("task_runs", flow_runs=completed)}
    gates = {f"gate: {each}" for each in ("blocked", "artifact", "golden", "error", "slices")}
    assert {
        "ingest",
        "validate",
        "dvc repro",
        "register",
        "evaluate signals",
        "start the A/B test",
    } | gates <= tasks
    signals = found("events", filter={"event": {"prefix": ["bike-demand.signal."]}})
    assert "bike-demand.signal.error-drift" in {each["event"] for each in signals}
    fired = found("events", filter={"event": {"name": ["prefect.automation.triggered"]}})
    assert len(fired) >= len(runs["respond"])
    left = {each["key"] for each in found("artifacts")}
    assert {"production", "metrics", "deployment", "response"} <= left
