"""Gathering the feed over http and from an object store."""

import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from tests.conftest import Run
from tests.feed_server import ServerBehavior, published
from tests.feedmaker import MONTHS, month_lines, write_feed, write_month
from tests.ingested import ingested
from tests.ingested import published as rows_in
from tests.tree import contents


@pytest.fixture
def web(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerBehavior]:
    """The project's feed folder, published by a web server that BIKE_FEED points at."""
    with published(project) as (address, behaviour):
        monkeypatch.setenv("BIKE_FEED", f"{address}/feed")
        yield behaviour


@pytest.mark.parametrize(
    "status",
    [
        None,
        pytest.param(HTTPStatus.NOT_FOUND, marks=pytest.mark.slow),
        pytest.param(HTTPStatus.FORBIDDEN, marks=pytest.mark.slow),
    ],
)
def test_a_web_server_is_ingested_with_and_without_an_index(
    project: Path, run: Run, web: ServerBehavior, status: HTTPStatus | None
) -> None:
    if status:
        web.index, web.index_status = False, status
    assert "3 (2011-01, 2011-02, 2011-03) new or changed" in run("ingest").out
    assert ingested() == rows_in(project / "feed")
    assert "0 new or changed" in run("ingest").out
    assert {web.read[f"/feed/{month}.csv"] for month in MONTHS} == {1}
    write_month(project / "feed" / "2011-03.csv", month_lines("2011-03", seed=1))
    write_feed(project / "feed", ["2011-04"])
    assert "2 (2011-03, 2011-04) new or changed" in run("ingest").out
    assert ingested() == rows_in(project / "feed")
    assert web.read["/feed/2011-01.csv"] == 1


def test_without_dates_or_tags_every_month_is_read_again_and_changes_are_found(
    project: Path, run: Run, web: ServerBehavior
) -> None:
    web.dates = False
    run("ingest")
    path = project / "feed" / "2011-02.csv"
    path.write_bytes(path.read_bytes().replace(b",0.5", b",0.6", 1))  # of the same size
    assert "1 (2011-02) new or changed" in run("ingest").out
    assert ingested() == rows_in(project / "feed")


def test_without_an_index_a_gap_is_found(project: Path, run: Run, web: ServerBehavior) -> None:
    web.index = False
    (project / "feed" / "2011-02.csv").unlink()
    assert "2011-02 is missing" in run("ingest").refusal()


def test_missing_feed_error_names_first_month(project: Path, run: Run, web: ServerBehavior) -> None:
    web.index = False
    write_feed(project / "feed", [])
    for month in MONTHS:
        (project / "feed" / f"{month}.csv").unlink()
    assert "searched from first_month = 2011-01" in run("ingest").refusal()


def test_a_log_in_page_at_every_address_is_reported_as_a_bad_file(run: Run, web: ServerBehavior) -> None:
    web.page = b"<html>Log in</html>"
    assert "2011-01.csv, line 1: expected the header" in run("ingest").refusal()


def test_transient_server_error_is_retried(project: Path, run: Run, web: ServerBehavior) -> None:
    web.failures = 2
    assert run("ingest").status == 0
    assert ingested() == rows_in(project / "feed")


@pytest.mark.slow
def test_persistent_server_error_is_reported(project: Path, run: Run, web: ServerBehavior) -> None:
    web.failures = 1000
    refusal = run("ingest").refusal()
    assert "503" in refusal
    assert "try again" in refusal
    assert contents(project / "state") == {}


def test_index_error_500_is_not_treated_as_missing_index(
    project: Path, run: Run, web: ServerBehavior
) -> None:
    web.index, web.index_status = False, HTTPStatus.INTERNAL_SERVER_ERROR
    assert "500" in run("ingest").refusal()
    assert contents(project / "state") == {}


def test_a_month_that_arrives_in_part_is_not_taken(project: Path, run: Run, web: ServerBehavior) -> None:
    web.cut_at = 3000
    assert "cannot be read" in run("ingest").refusal()
    assert contents(project / "state") == {}


@pytest.mark.usefixtures("web")
def test_a_bad_month_on_a_web_server_is_named_by_its_address(project: Path, run: Run) -> None:
    write_month(project / "feed" / "2011-03.csv", [month_lines("2011-03")[0]] * 2)
    refusal = run("ingest").refusal()
    assert f"{os.environ['BIKE_FEED']}/2011-03.csv, line 3, column begins" in refusal
    assert contents(project / "state") == {}


def test_connection_refused_is_reported(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with published(project) as (address, _):
        pass
    monkeypatch.setenv("BIKE_FEED", address)
    refusal = run("ingest").refusal()
    assert address in refusal
    assert "cannot be read" in refusal


@pytest.fixture
def bucket(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """BIKE_FEED of the project points into an object store that is empty."""
    assert project == Path.cwd()
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    httpx.post(f"http://{host}:{port}/moto-api/reset", trust_env=False).raise_for_status()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BIKE_FEED", "s3://pieces/feed")
    try:
        yield
    finally:
        server.stop()


def put(folder: Path) -> None:
    import s3fs

    store = s3fs.S3FileSystem(skip_instance_cache=True)
    store.makedirs("pieces", exist_ok=True)
    for path in folder.glob("*.csv"):
        store.pipe_file(f"pieces/feed/{path.name}", path.read_bytes())


@pytest.mark.usefixtures("bucket")
def test_an_object_store_is_ingested_and_only_changes_are_taken(project: Path, run: Run) -> None:
    put(project / "feed")
    assert "3 (2011-01, 2011-02, 2011-03) new or changed" in run("ingest").out
    assert ingested() == rows_in(project / "feed")
    assert "0 new or changed" in run("ingest").out
    write_feed(project / "feed", ["2011-04"])
    put(write_feed(project / "more", ["2011-04"]))
    assert "1 (2011-04) new or changed" in run("ingest").out
    assert ingested() == rows_in(project / "feed")


@pytest.mark.usefixtures("bucket")
def test_an_object_store_without_that_bucket_is_reported_in_one_line(run: Run) -> None:
    assert "s3://pieces/feed" in run("ingest").refusal()


@pytest.mark.slow
@pytest.mark.usefixtures("bucket")
def test_an_object_store_that_does_not_answer_is_reported_in_one_line(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with published(project) as (address, _):
        pass
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    assert "cannot be read" in run("ingest").refusal()
