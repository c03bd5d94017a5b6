"""Alerts: each goes out at least once by each channel, and the same one not twice in its quiet period."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx  # noqa: F401 (importing it is not to count as a receiver that hangs)
import pytest

from bike_demand.core.settings import Settings, load_settings
from bike_demand.loop import alerts
from bike_demand.store import event_log
from bike_demand.store.database import Database, open_database
from tests.conftest import Run
from tests.project_copy import change_params
from tests.service import free_port

NOON = datetime(2012, 5, 1, 12)


class Receiver(ThreadingHTTPServer):
    """What a webhook points at. It gives `answers`, one after the other, then 200; 0: it hangs."""

    def __init__(self, port: int, answers: Sequence[int] = ()) -> None:
        received: list[dict[str, Any]] = []
        left = list(answers)
        released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = left.pop(0) if left else 200
                if status == 0:
                    released.wait(60)
                elif status == 200:
                    received.append(body)
                self.send_response(status or 504)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)
        self.received, self.released = received, released


@contextmanager
def listening(port: int, answers: Sequence[int] = ()) -> Iterator[Receiver]:
    with Receiver(port, answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def port(project: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the webhook points at; nobody listens there yet."""
    assert project
    found = free_port()
    monkeypatch.setenv("BIKE_LOOP__ALERTS__WEBHOOK", f"http://127.0.0.1:{found}/hook?token=secret")
    return found


@pytest.fixture
def database(project: Path) -> Iterator[Database]:
    with closing(open_database(f"sqlite:///{project / 'state' / 'production.db'}")) as opened:
        yield opened


def made(database: Database, at: datetime = NOON, key: str = "data-quality:heat") -> bool:
    return put(load_settings(), database, at, key)


def put(settings: Settings, database: Database, at: datetime, key: str) -> bool:
    found = alerts.alert(
        settings,
        database,
        key,
        at,
        "Data quality: heat",
        happened="heat changes its unit.",
        evidence={"rows": 10},
        done="Nothing is trained.",
        you_may="Have it corrected.",
    )
    return found is not None


def deliver(database: Database) -> list[str]:
    output: list[str] = []
    alerts.deliver(load_settings(), database, output.append)
    return output


def test_an_alert_goes_to_the_log_with_all_that_a_person_needs(project: Path, database: Database) -> None:
    assert made(database)
    (line,) = deliver(database)
    (kept,) = (project / "state" / "alerts.log").read_text(encoding="utf-8").splitlines()
    assert kept == line
    reported = json.loads(line)["alert"]
    assert reported.pop("id")
    assert reported == {
        "key": "data-quality:heat",
        "at": "2012-05-01T12:00:00",
        "title": "Data quality: heat",
        "happened": "heat changes its unit.",
        "evidence": {"rows": 10},
        "done": "Nothing is trained.",
        "you_may": "Have it corrected.",
    }
    assert deliver(database) == []


def test_the_same_alert_is_not_made_again_in_its_quiet_period(database: Database) -> None:
    quiet = timedelta(days=load_settings().loop.alerts.quiet_days)
    assert made(database)
    assert not made(database, NOON + quiet - timedelta(hours=1))
    assert made(database, NOON + timedelta(hours=1), key="data-quality:moisture")
    assert made(database, NOON + quiet)
    assert len(deliver(database)) == 3


def test_a_receiver_that_is_down_gets_its_alerts_later_once_and_with_their_ids(
    database: Database, port: int
) -> None:
    made(database)
    made(database, key="error-drift:model")
    logged = [line for line in deliver(database) if line.startswith("{")]
    with listening(port) as receiver:
        assert deliver(database) == []
        assert deliver(database) == []
    assert receiver.received == [json.loads(each)["alert"] for each in logged]
    assert event_log.undelivered(database) == []
    assert event_log.delivery_failures(database) == []


def test_an_error_of_the_receiver_is_tried_again_in_the_next_cycle_and_later_alerts_go_out(
    database: Database, port: int
) -> None:
    made(database, key="first")
    made(database, NOON + timedelta(hours=1), key="second")
    with listening(port, [500]) as receiver:
        warning = deliver(database)[-1]
        (failure,) = event_log.delivery_failures(database)
        assert (failure["channel"], failure["final"]) == ("webhook", False)
        assert "500" in failure["reason"]
        deliver(database)
    assert [each["key"] for each in receiver.received] == ["second", "first"]
    assert event_log.delivery_failures(database) == []
    assert "secret" not in warning + failure["reason"]


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (403, True), (404, True), (408, False), (429, False)]
)
def test_an_alert_that_the_receiver_refuses_is_given_up_and_later_ones_go_out(
    database: Database, port: int, status: int, final: bool
) -> None:
    made(database, key="first")
    made(database, NOON + timedelta(hours=1), key="second")
    with listening(port, [status]) as receiver:
        deliver(database)
        deliver(database)
    assert [each["key"] for each in receiver.received] == (["second"] if final else ["second", "first"])
    failures = event_log.delivery_failures(database)
    assert [(each["final"], str(status) in each["reason"]) for each in failures] == [(True, True)] * final


def test_a_receiver_that_hangs_costs_a_bounded_time_and_holds_up_no_later_alert(
    database: Database, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "ATTEMPT_SECONDS", 1.0)
    monkeypatch.setattr(alerts, "CYCLE_SECONDS", 2.5)
    for number in range(5):
        made(database, NOON + timedelta(hours=number), key=str(number))
    with listening(port, [0, 0, 0]) as receiver:
        began = time.monotonic()
        deliver(database)
        assert time.monotonic() - began < 10
        assert [each["final"] for each in event_log.delivery_failures(database)] == [False] * 5
        made(database, NOON + timedelta(days=1), key="later")
        monkeypatch.setattr(alerts, "ATTEMPT_SECONDS", 20.0)
        monkeypatch.setattr(alerts, "CYCLE_SECONDS", 60.0)
        deliver(database)
    assert [each["key"] for each in receiver.received] == ["3", "4", "later", "0", "1", "2"]


def test_chat_webhooks_get_a_text(database: Database, port: int) -> None:
    change_params(Path(), format="text")
    made(database)
    with listening(port) as receiver:
        deliver(database)
    (document,) = receiver.received
    assert list(document) == ["text"]
    for part in (
        "Data quality: heat",
        "2012-05-01 12:00",
        "heat changes its unit.",
        "Have it corrected.",
    ):
        assert part in document["text"]


def test_apprise_delivers_to_any_service_that_it_knows(
    database: Database, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIKE_LOOP__ALERTS__WEBHOOK", f"json://user:secret@127.0.0.1:{port}/hook")
    for key in ("first", "second", "third"):
        made(database, key=key)
    with listening(port, [403, 500]) as receiver:
        output = deliver(database)
        assert sorted(each["final"] for each in event_log.delivery_failures(database)) == [False, True]
        deliver(database)
    assert [each["title"] for each in receiver.received] == ["Data quality: heat"] * 2
    assert "heat changes its unit." in receiver.received[0]["message"]
    assert "secret" not in " ".join(output)


@pytest.mark.parametrize("address", ["http://host:port", "nonsense://secret"])
def test_an_address_that_is_none_is_reported(
    database: Database, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("BIKE_LOOP__ALERTS__WEBHOOK", address)
    made(database)
    assert "loop.alerts.webhook" in deliver(database)[-1]
    assert [each["final"] for each in event_log.delivery_failures(database)] == [False]


def test_what_was_not_delivered_is_shown(
    database: Database, port: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(database)
    with listening(port, [403]):
        deliver(database)
    assert "Data quality: heat, webhook" in run("incidents").out
    monkeypatch.delenv("BIKE_LOOP__ALERTS__WEBHOOK")
    deliver(database)
    assert run("ingest").status == 0
    (failure,) = json.loads(run("monitor", "--json").out)["alerts_not_delivered"]
    assert failure.pop("id")
    assert "403" in failure.pop("reason")
    assert failure == {
        "at": "2012-05-01T12:00:00",
        "title": "Data quality: heat",
        "channel": "webhook",
        "final": True,
    }
