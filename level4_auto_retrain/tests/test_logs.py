"""What the service logs on standard output and counts for Prometheus."""

import io
import itertools
import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from prometheus_client.parser import text_string_to_metric_families

from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.logs import JsonLogs
from bike_demand.serving.onnx_model import load_model
from bike_demand.serving.telemetry import Recorder
from bike_demand.store.writer import Counts
from tests.service import serve_in_thread
from tests.toy import EXAMPLE

log = logging.getLogger("bike_demand.somewhere")


@contextmanager
def logging_to(stream: TextIO, capacity: int = 1000) -> Iterator[JsonLogs]:
    logs = JsonLogs(stream, capacity)
    logs.start()
    try:
        yield logs
    finally:
        logs.stop()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_request_is_a_line_with_the_ids_of_its_predictions(handoff: Path) -> None:
    stream = io.StringIO()
    with logging_to(stream) as logs:
        recorder = Recorder(logs=logs)
        with serve_in_thread(create_app(ModelHolder(load_model(handoff, "1")), recorder=recorder)) as client:
            one = client.post("/predict", json=EXAMPLE).json()
            many = client.post("/predict", json=[EXAMPLE, EXAMPLE]).json()
            client.post("/predict", json={})
            client.get("/nowhere")
            client.head("/live")
    logged = lines(stream)
    assert [(each["route"], each["status"], each["ids"]) for each in logged] == [
        ("/predict", 200, [one["id"]]),
        ("/predict", 200, [each["id"] for each in many]),
        ("/predict", 422, []),
        ("other", 404, []),
        ("/live", 200, []),
    ]
    assert {(each["event"], each["level"]) for each in logged} == {("request", "INFO")}
    assert all(each["ms"] > 0 for each in logged)
    assert logged[0]["client"] == "anyone"
    assert abs(datetime.fromisoformat(logged[0]["time"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_this_package_and_libraries_log_comes_in_the_same_format() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        log.info("live", extra={"version": "7"})
        logging.getLogger("some.library").warning("disk %s is slow", "a")
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("failed")
    live, slow, failed = lines(stream)
    assert (live["event"], live["level"], live["version"]) == ("live", "INFO", "7")
    assert (slow["event"], slow["level"]) == ("disk a is slow", "WARNING")
    assert "ValueError: broken" in failed["exc_info"]


def test_a_malformed_call_and_texts_that_the_stream_cannot_encode_end_nothing() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with logging_to(stream) as logs:
        logs.handle(logging.makeLogRecord({"msg": "%d files", "args": ("three",)}))
        log.info("live", extra={"place": "Zürich"})
        logs.info("request", {"client": "Zoë"})
    stream.seek(0)
    assert [json.loads(line).get("place") for line in stream] == ["Zürich", None]
    assert logs.lost == 0


def test_stalled_reader_drops_lines_without_blocking() -> None:
    stalled, reading = threading.Event(), threading.Event()

    class Stalled(io.StringIO):
        def write(self, text: str) -> int:
            stalled.set()
            reading.wait(30)
            return len(text)

    with logging_to(Stalled(), capacity=100) as logs:
        log.info("first")
        assert stalled.wait(30)
        for _ in range(150):
            logs.info("request", {})
        assert logs.lost == 50
        reading.set()


def test_a_reader_that_is_gone_does_not_end_the_thread() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with logging_to(Gone()) as logs:
        log.info("one")
    assert logs.lost == 1


def test_requests_are_counted_by_route_and_status_and_timed(handoff: Path) -> None:
    with serve_in_thread(create_app(ModelHolder(load_model(handoff, "1")))) as client:
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


class CountingLog:
    """A prediction log to which each look at its counts adds a row."""

    error = None

    def __init__(self) -> None:
        self._written = itertools.count(1)

    def counts(self) -> Counts:
        counts = Counts(next(self._written), 0, 0)
        time.sleep(0.001)  # another thread reads a newer number
        return counts


def test_counters_agree_with_the_log_from_any_thread() -> None:
    log: Any = CountingLog()
    recorder = Recorder(predictions=log)
    with ThreadPoolExecutor(8) as threads:
        for update in [threads.submit(recorder.sync) for _ in range(200)]:
            update.result()
    written = 'bike_demand_log_rows_total{result="written"} 200.0'
    assert written in recorder.metrics.text().decode()
