"""Outcomes that are posted to the service."""

import codecs
import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from uuid_utils import uuid7

from bike_demand.core.current import OUTCOME_EXAMPLE, RowId
from bike_demand.serving import app, outcome_requests
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import ModelHolder
from bike_demand.store import queries
from bike_demand.store.database import Database, database_at, open_database
from bike_demand.store.outcomes import Stored, store
from bike_demand.store.tables import LoggedPrediction
from tests.service import serve_in_thread
from tests.toy import identity

ONE: dict[str, Any] = dict(OUTCOME_EXAMPLE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "production.db"


@pytest.fixture
def client(file: Path) -> Iterator[Client]:
    with serve_in_thread(create_app(ModelHolder(), database=database_at(f"sqlite:///{file}"))) as client:
        yield client


def known(file: Path, outcome: Mapping[str, Any] = ONE) -> float | None:
    row = datetime.fromisoformat(outcome["begins"]), outcome["machine"]
    with contextlib.closing(open_database(f"sqlite:///{file}")) as database:
        return queries.find_label(database, row)


def test_outcomes_accepted_before_first_release(client: Client, file: Path) -> None:
    assert client.post("/outcomes", json=[ONE]).json() == {"new": 1, "unchanged": 0, "revised": 0}
    assert known(file) == 587


def test_to_send_them_again_changes_nothing_and_another_label_corrects(client: Client, file: Path) -> None:
    late = ONE | {"begins": "2011-01-01T00:00:00", "amount": 0}
    client.post("/outcomes", json=[ONE])
    assert client.post("/outcomes", json=[ONE, late]).json() == {"new": 1, "unchanged": 1, "revised": 0}
    corrected = ONE | {"amount": 600}
    assert client.post("/outcomes", json=[late, corrected]).json() == {
        "new": 0,
        "unchanged": 1,
        "revised": 1,
    }
    assert known(file) == 600
    text = client.get("/metrics").text
    assert 'bike_demand_outcomes_total{result="new"} 2.0' in text
    assert 'bike_demand_outcomes_total{result="revised"} 1.0' in text


def log_prediction(file: Path, id_: str) -> None:
    """Log a prediction for the row of ONE."""
    at, moment = datetime.fromisoformat(ONE["begins"]), datetime(2026, 1, 1, tzinfo=UTC)
    with contextlib.closing(open_database(f"sqlite:///{file}")) as database, database.writing() as session:
        session.add(LoggedPrediction(id_, moment, "", at, ONE["machine"], {}, 500.0, "champion", 1, ""))


def test_an_outcome_may_name_the_prediction_instead_of_its_row(client: Client, file: Path) -> None:
    log_prediction(file, "some-id")
    later = ONE | {"machine": "m18", "amount": 7}
    answer = client.post("/outcomes", json=[{"id": "some-id", "amount": 587}, later])
    assert answer.json() == {"new": 2, "unchanged": 0, "revised": 0}
    assert known(file) == 587
    assert client.post("/outcomes", json=[ONE]).json()["unchanged"] == 1

    refused = client.post("/outcomes", json=[later | {"amount": 8}, {"id": "unknown", "amount": 5}])
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", 1, "id"])
    assert known(file, later) == 7


def test_an_outcome_waits_for_a_prediction_that_another_worker_has_not_stored_yet(
    client: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_, never_stored = str(uuid7()), {"id": str(uuid7()), "amount": 587}
    writer = threading.Timer(0.2, log_prediction, (file, id_))
    writer.start()
    assert client.post("/outcomes", json=[{"id": id_, "amount": 587}]).json()["new"] == 1
    writer.join()
    monkeypatch.setattr(app, "OUTCOME_PAUSES", ())
    assert client.post("/outcomes", json=[never_stored]).status_code == 503
    monkeypatch.setattr(outcome_requests, "RECENT_SECONDS", 0.0)
    assert client.post("/outcomes", json=[never_stored]).status_code == 422


def test_outcomes_that_wait_for_their_predictions_do_not_hold_up_others(
    client: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/outcomes", json=[ONE]).raise_for_status()
    monkeypatch.setattr(app, "OUTCOME_PAUSES", (0.05,) * 200)
    ids = [str(uuid7()) for _ in range(2 * app.OUTCOME_THREADS)]
    with ThreadPoolExecutor(len(ids)) as threads:
        waiting = [threads.submit(client.post, "/outcomes", json=[{"id": id_, "amount": 587}]) for id_ in ids]
        time.sleep(0.2)
        assert client.post("/outcomes", json=[ONE]).json()["unchanged"] == 1
        assert client.post("/outcomes", json=[{"id": "unknown", "amount": 5}]).status_code == 422
        for id_ in ids:
            log_prediction(file, id_)
        assert {each.result().status_code for each in waiting} == {200}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([ONE, ONE | {"amount": 5}], [1, "amount"]),
        ([ONE, {"id": "a", "amount": 5}], [1, "amount"]),
        ([{"id": "a", "amount": 5}, {"id": "b", "amount": 6}], [1, "amount"]),
        ([ONE, ONE, {"id": "unknown", "amount": 5}], [2, "id"]),
    ],
)
def test_two_labels_of_one_row_are_refused_and_none_is_stored(
    client: Client, file: Path, body: Any, where: list[Any]
) -> None:
    log_prediction(file, "a")
    log_prediction(file, "b")
    response = client.post("/outcomes", json=body)
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", *where])
    assert known(file) is None


def test_slow_database_does_not_hold_up_other_requests(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = threading.Semaphore(0), threading.Event()

    def store_once_released(database: Database, labels: Mapping[RowId, float]) -> Stored:
        begun.release()
        released.wait(10)
        return store(database, labels)

    monkeypatch.setattr("bike_demand.serving.outcome_requests.store", store_once_released)
    many = (os.cpu_count() or 1) + 8  # more than the threads that requests share
    with ThreadPoolExecutor(many) as threads:
        answers = [threads.submit(client.post, "/outcomes", json=[ONE]) for _ in range(many)]
        try:
            assert begun.acquire(timeout=10)
            assert client.get("/metrics", timeout=5).status_code == 200
        finally:
            released.set()
        assert {each.result().status_code for each in answers} == {200}


def test_outcomes_that_take_too_long_may_be_sent_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = threading.Event()

    def store_slowly(database: Database, labels: Mapping[RowId, float]) -> Stored:
        time.sleep(0.3)
        result = store(database, labels)
        stored.set()
        return result

    monkeypatch.setattr("bike_demand.serving.outcome_requests.store", store_slowly)
    monkeypatch.setattr(app, "OUTCOME_SECONDS", 0.05)
    response = client.post("/outcomes", json=[ONE])
    assert response.status_code == 503
    assert "stored or not" in response.json()["detail"]
    assert stored.wait(10)
    monkeypatch.setattr(app, "OUTCOME_SECONDS", 10.0)
    assert client.post("/outcomes", json=[ONE]).json()["unchanged"] == 1


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([], ["body"]),
        (ONE, ["body"]),
        ([ONE] * 1001, ["body"]),
        ([ONE | {"amount": -1}], ["body", 0, "amount"]),
        ([ONE | {"amount": 1.5}], ["body", 0, "amount"]),
        ([ONE | {"amount": "5"}], ["body", 0, "amount"]),
        ([ONE | {"amount": 20_001}], ["body", 0, "amount"]),
        ([ONE | {"amount": 10**400}], ["body", 0, "amount"]),
        ([ONE | {"begins": "0001-01-01T00:00:00"}], ["body", 0, "begins"]),
        ([ONE, {"begins": ONE["begins"], "machine": "m18"}], ["body", 1, "amount"]),
        ([{"begins": ONE["begins"], "amount": 5}], ["body", 0, "machine"]),
        ([ONE | {"begins": "2012-06-13T17:00:00"}], ["body", 0, "begins"]),
        ([ONE | {"begins": "2012-06-13T00:00:00Z"}], ["body", 0, "begins"]),
        ([ONE | {"part_a": 3}], ["body", 0, "part_a"]),
        ([{"id": "unknown", "amount": -5}], ["body", 0, "amount"]),
        ([{"id": "\0", "amount": 5}], ["body", 0, "id"]),
        ([ONE | {"id": "unknown"}], ["body", 0, "begins"]),
    ],
)
def test_invalid_outcomes_rejected_with_field(
    client: Client, file: Path, body: Any, where: list[Any]
) -> None:
    response = client.post("/outcomes", json=body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == where
    assert not file.exists()


def test_a_byte_order_mark_does_no_harm_and_a_field_twice_is_refused(client: Client, file: Path) -> None:
    later = '{"begins": "2012-06-13T00:00:00", "machine": "m18", "amount": 5, "amount": 6}'
    refused = client.post("/outcomes", content=f"[{json.dumps(ONE)}, {later}]")
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", 1, "amount"])
    assert not file.exists()
    taken = client.post("/outcomes", content=codecs.BOM_UTF8 + json.dumps([ONE]).encode())
    assert taken.json()["new"] == 1


def test_a_thousand_at_once_are_taken(client: Client) -> None:
    body = [identity(number) | {"amount": number} for number in range(1000)]
    assert client.post("/outcomes", json=body).json()["new"] == 1000


def test_while_the_database_is_spoilt_they_are_not_acknowledged_and_then_taken(
    client: Client, file: Path
) -> None:
    client.post("/outcomes", json=[ONE]).raise_for_status()
    aside = file.rename(file.with_name("aside"))
    file.write_bytes(b"not a database" * 100)
    for _ in range(2):
        response = client.post("/outcomes", json=[ONE | {"amount": 3}])
        assert response.status_code == 503
        assert "try again later" in response.json()["detail"]
        assert str(file) in response.json()["detail"]
    aside.replace(file)
    assert client.post("/outcomes", json=[ONE | {"amount": 3}]).json()["revised"] == 1


def test_where_nobody_listens_at_the_database_it_is_said_soon() -> None:
    address = "postgresql+psycopg://user:secret@127.0.0.1:9/log"
    with serve_in_thread(create_app(ModelHolder(), database=database_at(address))) as client:
        response = client.post("/outcomes", json=[ONE])
    assert response.status_code == 503
    assert "secret" not in response.text


def test_outcomes_need_a_database() -> None:
    with serve_in_thread(create_app(ModelHolder())) as client:
        assert client.post("/outcomes", json=[ONE]).status_code == 503
