"""How much was asked and how fast it was answered: counted beside the requests, by version and minute."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bike_demand.data.schema import EXAMPLE
from bike_demand.prediction_log import expected_ranges, facts, load, queries
from bike_demand.prediction_log.database import Database, open_database
from bike_demand.prediction_log.expected_ranges import ExpectedRange
from bike_demand.prediction_log.load import LIMITS, NOBODY, Load
from bike_demand.serving.counted import Counted
from bike_demand.settings import load_settings
from tests.registry import put_live
from tests.service import running
from tests.test_prediction_log import HOUR, address, log, postgres, row, server
from tests.tiny import constant
from tests.workcopy import change_params

__all__ = ["address", "postgres", "server"]  # fixtures: a database of each kind

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVER = datetime(2000, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def kept(address: str) -> Iterator[Database]:
    with contextlib.closing(open_database(address)) as database:
        yield database


def of(minute: int, version: int, requests: int, failures: int = 0, kind: int = 1) -> Load:
    buckets = [0] * (len(LIMITS) + 1)
    buckets[kind] = requests
    return Load(
        NOON + minute * MINUTE, version, requests, 2 * requests, failures, requests / 1000, tuple(buckets)
    )


def test_a_minute_is_told_again_as_it_grows_and_counts_once(kept: Database) -> None:
    load.keep(kept, "here:1", [of(0, 7, 10), of(0, 8, 1)])
    load.keep(kept, "here:1", [of(0, 7, 15, 2)])
    load.keep(kept, "here:2", [of(0, 7, 5, 1)])
    load.keep(kept, "here:2", [])
    assert load.history(kept, EVER, MINUTE) == [of(0, 7, 20, 3), of(0, 8, 1)]


def test_minutes_come_together_in_longer_stretches(kept: Database) -> None:
    load.keep(kept, "here:1", [of(0, 7, 10), of(4, 7, 20, kind=3), of(5, 7, 40), of(5, 8, 1)])
    assert [
        (each.at, each.version, each.requests) for each in load.history(kept, EVER, timedelta(minutes=5))
    ] == [(NOON, 7, 30), (NOON + 5 * MINUTE, 7, 40), (NOON + 5 * MINUTE, 8, 1)]
    assert [each.requests for each in load.history(kept, NOON + 4 * MINUTE, MINUTE)] == [20, 40, 1]
    assert load.span(kept) == (NOON, NOON + 5 * MINUTE)
    load.forget(kept, NOON + 5 * MINUTE)
    assert load.span(kept) == (NOON + 5 * MINUTE, NOON + 5 * MINUTE)


def test_how_fast_most_of_them_were(kept: Database) -> None:
    assert load.span(kept) == (None, None)
    none = Load(NOON, 7, 0, 0, 0, 0.0, (0,) * (len(LIMITS) + 1))
    assert none.percentile(0.5) == 0.0
    both = load.add(of(0, 7, 90, kind=1), of(0, 7, 10, kind=4))  # 90 in 0.5 to 1 ms, 10 in 5 to 10 ms
    assert both.percentile(0.45) == pytest.approx(0.00075)
    assert both.percentile(0.95) == pytest.approx(0.0075)
    assert of(0, 7, 5, kind=len(LIMITS)).percentile(0.5) == LIMITS[-1]


def test_what_was_replaced_norms_and_facts_are_found_as_they_were_put(address: str, kept: Database) -> None:
    first, second = list(row(1)), list(row(2, hour=HOUR + timedelta(hours=1)))
    first[-1] = '{"temp_c": 27.5, "humidity": 0.5}'
    log(address, [tuple(first), tuple(second)])
    found = [queries.find(kept, f"id-{number}") for number in (1, 2)]
    assert [each and each.replaced for each in found] == [{"temp_c": 27.5, "humidity": 0.5}, None]
    assert expected_ranges.replaced(kept, HOUR) == {"temp_c": 1, "humidity": 1}
    assert expected_ranges.replaced(kept, HOUR + timedelta(hours=1)) == {}
    norm = ExpectedRange("temp_c", -1.5, 30.25, tuple(map(float, range(24))), HOUR)
    expected_ranges.publish(kept, [norm])
    expected_ranges.publish(kept, [])
    assert expected_ranges.read(kept) == {"temp_c": norm}
    facts.put(kept, {"live": {"a": [1, None]}, "tests": []}, HOUR)
    facts.put(kept, {"tests": [1]}, HOUR + timedelta(days=1))
    assert {name: (each.content, each.as_of) for name, each in facts.read(kept).items()} == {
        "live": ({"a": [1, None]}, HOUR),
        "tests": ([1], HOUR + timedelta(days=1)),
    }


def test_what_could_not_be_told_is_told_later_and_what_was_is_dropped() -> None:
    counted = Counted()
    long_ago = time.time() - 3600
    counted.request(long_ago, "7", 3, 200, 0.0007)
    counted.request(long_ago, "", 0, 503, 0.0001)
    first = counted.untold()
    assert [(each.version, each.requests, each.rows, each.failures) for each in first] == [
        (7, 1, 3, 0),
        (NOBODY, 1, 0, 1),
    ]
    assert counted.untold() == first  # the database was away
    counted.request(long_ago, "7", 1, 200, 9.0)
    counted.told(first)
    (grown,) = counted.untold()
    assert (grown.requests, grown.rows, sum(grown.buckets), grown.buckets[1], grown.buckets[-1]) == (
        2,
        4,
        2,
        1,
        1,
    )
    counted.told([grown])
    assert counted.untold() == []


def test_while_the_database_is_away_counts_wait_for_a_day_at_most() -> None:
    counted = Counted()
    counted.request(time.time() - 2 * 86_400, "7", 1, 200, 0.001)
    counted.request(time.time() - 3600, "7", 1, 200, 0.001)
    counted.told([])
    assert [each.requests for each in counted.untold()] == [1]


def test_the_service_counts_by_version_and_what_failed(stored: Path) -> None:
    change_params(stored, poll_seconds="0.1")
    database_of = load_settings().environments.production.database
    with running(stored) as service:
        assert service.client.post("/predict", json=EXAMPLE).status_code == 503
        assert service.client.post("/predict", json={}).status_code == 503
        put_live(constant(Path("made"), 5.0))
        until = time.monotonic() + 30
        while service.client.get("/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.02)
        for _ in range(3):
            service.client.post("/predict", json=[EXAMPLE] * 4).raise_for_status()
        assert service.client.post("/predict", json={}).status_code == 422
        service.client.get("/live").raise_for_status()
    with contextlib.closing(open_database(database_of)) as database:
        found = load.by_version(load.history(database, EVER, MINUTE))
    assert {
        version: (each.requests, each.rows, each.failures, sum(each.buckets))
        for version, each in found.items()
    } == {
        NOBODY: (2, 0, 2, 2),
        1: (3, 12, 0, 3),
    }
