"""Alerts: delivered at least once by each channel, and not repeated in the quiet period."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apprise
import pytest

from bike_demand.core.settings import Settings, load_settings
from bike_demand.loop import alerts
from bike_demand.store import event_log
from bike_demand.store.database import Database, open_database
from tests.conftest import Run
from tests.service import free_port

NOON = datetime(2012, 5, 1, 12)


class Receiver(ThreadingHTTPServer):
    """A webhook receiver that returns these statuses, then 200; 0: never responds; -1: a byte at a time."""

    def __init__(self, port: int, answers: Sequence[int] = ()) -> None:
        received: list[dict[str, Any]] = []
        paths: list[str] = []
        left = list(answers)
        released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = left.pop(0) if left else 200
                if status == 0:
                    released.wait(60)
                elif status == -1:
                    while not released.wait(0.1):
                        self.wfile.write(b"H")
                elif status == 200:
                    received.append(body)
                    paths.append(self.path)
                self.send_response(status if status > 0 else 504)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)
        self.received, self.paths, self.released = received, paths, released


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
    """The port of the webhook; nothing listens there yet."""
    assert project
    found = free_port()
    monkeypatch.setenv("BIKE_LOOP__ALERTS__WEBHOOK", f"json://user:secret@127.0.0.1:{found}/hook?rto=1")
    return found


@pytest.fixture
def database(project: Path) -> Iterator[Database]:
    with closing(open_database(f"sqlite:///{project / 'state' / 'production.db'}")) as connected:
        yield connected


def made(database: Database, at: datetime = NOON, key: str = "data-quality:heat") -> bool:
    return put(load_settings(), database, at, key)


def put(settings: Settings, database: Database, at: datetime, key: str) -> bool:
    found = alerts.raise_alert(
        settings,
        database,
        key,
        at,
        "Data quality: heat",
        summary="heat changes its unit.",
        evidence={"rows": 10},
        response="Nothing is trained.",
        suggestion="Have it corrected.",
    )
    return found is not None


def keys_of(receiver: Receiver, database: Database) -> list[str]:
    """The keys of the received alerts, by the id at the end of each message."""
    keys = {each.id: each.key for each in event_log.alerts(database)}
    return [keys[each["message"].split()[-1]] for each in receiver.received]


def deliver(database: Database) -> list[str]:
    output: list[str] = []
    alerts.deliver(load_settings(), database, output.append)
    return output


def test_alert_is_logged_complete(project: Path, database: Database) -> None:
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
        "summary": "heat changes its unit.",
        "evidence": {"rows": 10},
        "response": "Nothing is trained.",
        "suggestion": "Have it corrected.",
    }
    assert deliver(database) == []


def test_alert_is_not_repeated_in_quiet_period(database: Database) -> None:
    quiet = timedelta(days=load_settings().loop.alerts.quiet_days)
    assert made(database)
    assert not made(database, NOON + quiet - timedelta(hours=1))
    assert made(database, NOON + timedelta(hours=1), key="data-quality:moisture")
    assert made(database, NOON + quiet)
    assert len(deliver(database)) == 3
    assert made(database, NOON - quiet)  # the feed's clock is behind the wall clock of the others


def test_unreachable_receiver_gets_each_alert_once_later(database: Database, port: int) -> None:
    made(database)
    made(database, key="error-drift:model")
    logged = [line for line in deliver(database) if line.startswith("{")]
    with listening(port) as receiver:
        assert deliver(database) == []
        assert deliver(database) == []
    ids = [json.loads(each)["alert"]["id"] for each in logged]
    assert [each["message"].endswith(id_) for each, id_ in zip(receiver.received, ids, strict=True)] == [
        True,
        True,
    ]
    assert event_log.outstanding_alerts(database) == []
    assert event_log.delivery_failures(database) == []


def test_server_error_is_retried_and_does_not_block_later_alerts(database: Database, port: int) -> None:
    made(database, key="first")
    made(database, NOON + timedelta(hours=1), key="second")
    with listening(port, [500]) as receiver:
        warning = deliver(database)[-1]
        (failure,) = event_log.delivery_failures(database)
        assert failure["channel"] == "webhook"
        assert "500" in failure["reason"]
        deliver(database)
    assert keys_of(receiver, database) == ["second", "first"]
    assert event_log.delivery_failures(database) == []
    assert "secret" not in warning + failure["reason"]


@pytest.mark.parametrize("status", [400, 403, 404, 408, 429])
def test_rejected_alert_is_retried_after_new_ones(database: Database, port: int, status: int) -> None:
    made(database, key="first")
    made(database, NOON + timedelta(hours=1), key="second")
    with listening(port, [status]) as receiver:
        deliver(database)
        (failure,) = event_log.delivery_failures(database)
        assert str(status) in failure["reason"]
        deliver(database)
    assert keys_of(receiver, database) == ["second", "first"]
    assert event_log.delivery_failures(database) == []


def test_hanging_receiver_has_bounded_cost(
    database: Database, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    apprise.Apprise("json://localhost")  # loads its plugins, which takes seconds on a busy machine
    monkeypatch.setattr(alerts, "CYCLE_SECONDS", 2.5)
    for number in range(5):
        made(database, NOON + timedelta(hours=number), key=str(number))
    with listening(port, [0, 0, 0]) as receiver:
        began = time.monotonic()
        deliver(database)
        assert time.monotonic() - began < 10
        assert len(event_log.delivery_failures(database)) == 5
        made(database, NOON + timedelta(days=1), key="later")
        monkeypatch.setattr(alerts, "CYCLE_SECONDS", 60.0)
        deliver(database)
    assert keys_of(receiver, database) == ["3", "4", "later", "0", "1", "2"]


def test_receiver_that_trickles_has_bounded_cost(
    database: Database, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "ATTEMPT_SECONDS", 0.5)
    made(database)
    made(database, NOON + timedelta(hours=1), key="second")
    with listening(port, [-1]) as receiver:
        began = time.monotonic()
        assert "timed out" in deliver(database)[-1]
        assert time.monotonic() - began < 5
        assert receiver.received == []
        receiver.released.set()
        deliver(database)
    assert keys_of(receiver, database) == ["second", "data-quality:heat"]


@pytest.mark.parametrize(
    ("address", "service"),
    [
        ("jsons://host/hook", "NotifyJSON"),
        ("mmosts://host/3ccdd113474722377935511fc85d3dd4", "NotifyMattermost"),
        ("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "NotifySlack"),
        (
            "https://prod-00.westus.logic.azure.com:443/workflows/abcdefghijklmnopqrstuvwxyz012345/triggers/manual"
            "/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=abcdefghijklmnopqrst",
            "NotifyWorkflows",
        ),
    ],
)
def test_addresses_of_chats_and_webhooks_are_known(address: str, service: str) -> None:
    receiver = apprise.Apprise()
    assert receiver.add(address)
    assert [type(each).__name__ for each in receiver] == [service]


@pytest.mark.parametrize(("scheme", "query"), [("json", ""), ("http", "?token=a%2Fb&x=1")])
def test_message_is_complete(
    database: Database, port: int, monkeypatch: pytest.MonkeyPatch, scheme: str, query: str
) -> None:
    monkeypatch.setenv("BIKE_LOOP__ALERTS__WEBHOOK", f"{scheme}://127.0.0.1:{port}/hook{query}")
    made(database)
    with listening(port) as receiver:
        logged = json.loads(deliver(database)[0])["alert"]
    (document,) = receiver.received
    assert receiver.paths == [f"/hook{query}"]
    assert document["title"] == "Data quality: heat"
    for part in ("2012-05-01 12:00", "heat changes its unit.", "Have it corrected.", "10", logged["id"]):
        assert part in document["message"]


@pytest.mark.parametrize("address", ["json://host:port", "nonsense://secret", "https://host:port/hook"])
def test_invalid_address_is_reported(
    database: Database, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("BIKE_LOOP__ALERTS__WEBHOOK", address)
    made(database)
    assert "loop.alerts.webhook" in deliver(database)[-1]
    assert len(event_log.outstanding_alerts(database)) == 1


def test_undelivered_alerts_are_listed(
    database: Database, port: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(database)
    with listening(port, [403]):
        deliver(database)
    assert "Data quality: heat, webhook" in run("incidents").out
    monkeypatch.delenv("BIKE_LOOP__ALERTS__WEBHOOK")
    deliver(database)
    assert run("ingest").status == 0
    (failure,) = json.loads(run("monitor", "--json").out)["undelivered"]
    assert failure.pop("id")
    assert "403" in failure.pop("reason")
    assert failure == {
        "at": "2012-05-01T12:00:00",
        "title": "Data quality: heat",
        "channel": "webhook",
    }
