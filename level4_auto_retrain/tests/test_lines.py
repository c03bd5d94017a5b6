"""What the service writes on standard output and counts for Prometheus."""

import json
import threading
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bike_demand.data.schema import EXAMPLE
from bike_demand.serving.app import create_app
from bike_demand.serving.lines import MOST_WAITING, Answered, Lines
from bike_demand.serving.model import load_model
from bike_demand.serving.recorder import Recorder
from bike_demand.serving.slot import Slot
from tests.service import served


def test_each_request_is_a_line_with_the_ids_of_its_predictions(handoff: Path) -> None:
    written: list[str] = []
    lines = Lines(written.append)
    lines.start()
    with served(create_app(Slot(load_model(handoff, "1")), recorder=Recorder(lines=lines))) as client:
        one = client.post("/predict", json=EXAMPLE).json()
        many = client.post("/predict", json=[EXAMPLE, EXAMPLE]).json()
        client.post("/predict", json={})
        client.get("/nowhere")
    lines.stop()
    said = [json.loads(line) for line in "".join(written).splitlines()]
    assert [(each["route"], each["status"], each["ids"]) for each in said] == [
        ("/predict", 200, [one["id"]]),
        ("/predict", 200, [each["id"] for each in many]),
        ("/predict", 422, []),
        ("other", 404, []),
    ]
    assert {each["event"] for each in said} == {"request"}
    assert all(each["time"].endswith("Z") and each["ms"] > 0 for each in said)
    assert said[0]["client"] == "anyone"


def test_a_reader_that_stops_reading_costs_lines_and_nothing_else() -> None:
    stuck, reading = threading.Event(), threading.Event()

    def wait(_: str) -> None:
        stuck.set()
        reading.wait(30)

    lines = Lines(wait)
    lines.start()
    lines.say("first")
    assert stuck.wait(30)
    for _ in range(MOST_WAITING + 5000):
        lines.request(Answered(0.0, "/predict", 200, 0.001, 'a "name"', ["id"]))
    assert lines.lost == 5000
    reading.set()
    lines.stop()


def test_a_reader_that_is_gone_does_not_end_the_thread() -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    lines = Lines(gone)
    lines.start()
    lines.say("one")
    lines.stop()
    assert lines.lost == 1


def test_requests_are_counted_by_route_and_status_and_timed(handoff: Path) -> None:
    with served(create_app(Slot(load_model(handoff, "1")))) as client:
        client.post("/predict", json=EXAMPLE)
        client.post("/predict", json=[EXAMPLE] * 3)
        client.post("/predict", json={})
        for number in range(5):
            client.get(f"/made/up/{number}")
        response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert found["bike_demand_requests_total", "/predict", "200"] == 2
    assert found["bike_demand_requests_total", "/predict", "422"] == 1
    assert found["bike_demand_requests_total", "404", "other"] == 5
    assert found["bike_demand_request_seconds_count", "/predict"] == 3
    assert found["bike_demand_predictions_total", "1", "champion"] == 4
    assert found["bike_demand_log_rows_total", "lost"] == 0
