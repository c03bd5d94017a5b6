"""Alerts: each goes out at least once by each channel, and the same one not twice in its quiet period."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bike_demand.loop import alerts
from bike_demand.prediction_log import journal
from bike_demand.prediction_log.database import Database, open_database
from bike_demand.settings import Settings, load_settings
from tests.service import free_port

NOON = datetime(2012, 5, 1, 12)


class Receiver(ThreadingHTTPServer):
    """What a webhook points at; `failures` answers are 503 before one is 200."""

    def __init__(self, port: int, failures: int = 0) -> None:
        received: list[dict[str, Any]] = []
        left = [failures]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if left[0]:
                    left[0] -= 1
                    self.send_response(503)
                else:
                    received.append(body)
                    self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)
        self.received = received


@contextmanager
def listening(port: int, failures: int = 0) -> Iterator[Receiver]:
    with Receiver(port, failures) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def port(project: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the webhook points at; nobody listens there yet. Failing is not waited for long."""
    assert project
    found = free_port()
    monkeypatch.setenv("BIKE_LOOP__ALERTS__WEBHOOK", f"http://127.0.0.1:{found}/hook?token=secret")
    monkeypatch.setattr(alerts, "WAIT_SECONDS", 0.01)
    return found


@pytest.fixture
def database(project: Path) -> Iterator[Database]:
    with closing(open_database(f"sqlite:///{project / 'state' / 'production.db'}")) as opened:
        yield opened


def made(database: Database, at: datetime = NOON, key: str = "data-quality:temp_c") -> bool:
    return put(load_settings(), database, at, key)


def put(settings: Settings, database: Database, at: datetime, key: str) -> bool:
    found = alerts.alert(
        settings,
        database,
        key,
        at,
        "Data quality: temp_c",
        happened="temp_c changes its unit.",
        evidence={"hours": 10},
        done="Nothing is trained.",
        you_may="Have it corrected.",
    )
    return found is not None


def deliver(database: Database) -> list[str]:
    said: list[str] = []
    alerts.deliver(load_settings(), database, said.append)
    return said


def test_an_alert_goes_to_the_log_with_all_that_a_person_needs(project: Path, database: Database) -> None:
    assert made(database)
    (line,) = deliver(database)
    (kept,) = (project / "state" / "alerts.log").read_text(encoding="utf-8").splitlines()
    assert kept == line
    told = json.loads(line)["alert"]
    assert told.pop("id")
    assert told == {
        "key": "data-quality:temp_c",
        "at": "2012-05-01T12:00:00",
        "title": "Data quality: temp_c",
        "happened": "temp_c changes its unit.",
        "evidence": {"hours": 10},
        "done": "Nothing is trained.",
        "you_may": "Have it corrected.",
    }
    assert deliver(database) == []


def test_the_same_alert_is_not_made_again_in_its_quiet_period(database: Database) -> None:
    quiet = timedelta(days=load_settings().loop.alerts.quiet_days)
    assert made(database)
    assert not made(database, NOON + quiet - timedelta(hours=1))
    assert made(database, NOON + timedelta(hours=1), key="data-quality:humidity")
    assert made(database, NOON + quiet)
    assert len(deliver(database)) == 3


def test_a_webhook_that_is_away_gets_its_alerts_later_once_and_with_their_ids(
    database: Database, port: int
) -> None:
    made(database)
    made(database, key="error-drift:model")
    log, other_log, warning = deliver(database)
    assert warning == (
        "warning: alerts do not go out by the webhook: ConnectError; the next turn tries again"
    )
    with listening(port) as receiver:
        assert deliver(database) == []
        assert deliver(database) == []
    assert receiver.received == [json.loads(each)["alert"] for each in (log, other_log)]
    assert all(None not in each.delivered.values() for each in journal.alerts(database))


def test_a_webhook_that_stumbles_is_tried_again_at_once(database: Database, port: int) -> None:
    made(database)
    with listening(port, failures=alerts.ATTEMPTS - 1) as receiver:
        assert len(deliver(database)) == 1  # the line of the log
    assert len(receiver.received) == 1


def test_what_a_webhook_says_is_told_but_never_its_address(database: Database, port: int) -> None:
    made(database)
    with listening(port, failures=alerts.ATTEMPTS) as receiver:
        said = deliver(database)
    assert "it answers with status 503" in said[-1]
    assert "secret" not in " ".join(said)
    assert receiver.received == []
    assert [each.delivered["webhook"] for each in journal.alerts(database)] == [None]


def test_an_address_that_is_none_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIKE_LOOP__ALERTS__WEBHOOK", "http://host:port")
    made(database)
    assert "loop.alerts.webhook is no address" in deliver(database)[-1]
