"""The status document and the dashboard: content, access, and layout in a browser."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import update

from bike_demand.core.settings import Dashboard, load_settings
from bike_demand.serving.app import create_app
from bike_demand.serving.keys import HEADER, ApiKeys, make_key
from bike_demand.serving.live_models import LiveModels, ModelHolder, SecondModel
from bike_demand.serving.metrics import Metrics
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.serving.status import StatusDocument, StatusReporter
from bike_demand.store import event_log
from bike_demand.store.database import database_at, open_database
from bike_demand.store.tables import DailyStats, SignalKind
from tests.conftest import Run
from tests.project_copy import change_params
from tests.registry import put_live
from tests.service import running, serve_in_thread
from tests.status_story import BASELINE, ERROR, NOW, at, example_metrics, example_test, fill_database, signal
from tests.tiny import constant
from tests.toy import EXAMPLE

CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database; to copy it is faster than to make it."""
    file = tmp_path_factory.mktemp("blank") / "log.db"
    open_database(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def address(empty_database: Path, tmp_path: Path) -> str:
    shutil.copy(empty_database, tmp_path / "log.db")
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    return load_model(constant(tmp_path_factory.mktemp("made"), 5.0), "2")


@pytest.fixture(scope="module")
def live(model: OnnxModel) -> LiveModels:
    return LiveModels(model, "a deployment")


def reporter(address: str, **links: str) -> StatusReporter:
    settings = Dashboard(refresh_seconds=1, links=links)
    return StatusReporter(database_at(address), "production", example_metrics(), settings, 1e9)


def status_of(address: str, live: LiveModels | None, problem: str | None = None) -> StatusDocument:
    return StatusDocument.model_validate_json(reporter(address).json(live, problem))


def headline(status: StatusDocument) -> tuple[str, str]:
    return status.headline.state, status.headline.title


@pytest.mark.parametrize(
    ("kinds", "test", "state", "title"),
    [
        ([], False, "good", "All is well"),
        ([SignalKind.DRIFT], False, "good", "All is well"),
        ([], True, "busy", "A/B test in progress"),
        ([SignalKind.ERROR, SignalKind.DRIFT], False, "warn", "Model error has increased"),
        ([SignalKind.ERROR], True, "busy", "Model error has increased"),
        ([SignalKind.AGE], False, "warn", "Model age limit reached"),
        ([SignalKind.QUALITY, SignalKind.ERROR], True, "warn", "Bad data: moisture"),
        ([SignalKind.LOOP, SignalKind.QUALITY], False, "bad", "The loop needs attention"),
        (
            [SignalKind.BAD_RELEASE, SignalKind.QUALITY, SignalKind.LOOP],
            True,
            "bad",
            "Bad release: version 2",
        ),
    ],
)
def test_headline_is_the_most_important_signal(
    address: str, live: LiveModels, kinds: list[SignalKind], test: bool, state: str, title: str
) -> None:
    subjects = {SignalKind.QUALITY: "moisture"}
    given = [signal(each, subjects.get(each, "version 2")) for each in kinds]
    fill_database(address, given, [example_test()] if test else [])
    status = status_of(address, live)
    assert headline(status) == (state, title)
    assert sorted(each.message for each in status.signals) == sorted(each.message for each in given)
    assert any("version 4" in each.lower() for each in status.headline.responses) == test


def test_document_contains_everything(address: str, model: OnnxModel) -> None:
    fill_database(address, [signal(SignalKind.QUALITY, "heat")], [example_test()])
    other = SecondModel(model, "another", "challenger", 0.5)
    status = status_of(address, LiveModels(model, "a deployment", other))
    assert status.as_of == NOW
    assert [(each.version, each.role, each.share) for each in status.models] == [
        ("2", "champion", 0.5),
        ("2", "challenger", 0.5),
    ]
    assert (status.live_since, status.reference_error) == (at(62), 28.25)
    assert status.days[-1].skill == pytest.approx(1 - ERROR / BASELINE)
    assert [(each.at, each.version, each.rolled_back) for each in status.releases] == [
        (at(0), 1, None),
        (at(45), 2, None),
        (at(60), 3, None),
        (at(62), 2, 3),
    ]
    assert [(each.version, each.detail["result"]) for each in status.trainings] == [
        (2, "live"),
        (3, "was live and was rolled back"),
        (None, "nothing had changed"),
    ]
    assert status.budget["spent"] == 1
    assert [each["verdict"] for each in status.comparisons] == ["continue"]
    assert {each.subject for each in status.incidents} == {"version 1", "feed", "heat", "core_heat"}
    assert [each.key for each in status.alerts] == ["resolved:1", "error"]
    assert [each["channel"] for each in status.undelivered] == ["log", "log"]
    assert status.drift is not None
    assert status.drift["drifted"] == ["heat"]
    assert [each.day for each in status.days if each.quality] == [at(90).date(), at(91).date()]
    assert status.errors == []


def test_alerts_are_undelivered_until_they_are_accepted(address: str, live: LiveModels) -> None:
    fill_database(address)
    with closing(open_database(address)) as database:
        over, error = (each.id for each in event_log.alerts(database))
        event_log.record_attempt(database, over, "log", None)
        event_log.record_attempt(database, error, "log", "disk full")
        (found,) = status_of(address, live).undelivered
        assert (found["id"], found["channel"], found["reason"]) == (error, "log", "disk full")
        assert any("disk full" in each for each in status_of(address, live).headline.responses)
        event_log.record_attempt(database, error, "log", None)
        assert status_of(address, live).undelivered == []


def test_errors_are_daily_means_and_means_of_two_weeks(address: str, live: LiveModels) -> None:
    fill_database(address)
    days = status_of(address, live).days
    assert len(days) == 100
    assert (days[43].error, days[44].error) == (2 * ERROR, ERROR)
    assert days[43].recent_error == pytest.approx(ERROR * (1 + 4 / 14), abs=1e-3)
    assert days[-1].recent_error == ERROR
    with closing(open_database(address)) as database, database.writing() as session:
        session.execute(update(DailyStats).values(error_sum=DailyStats.known * 1e-6))
    assert status_of(address, live).days[-1].error == pytest.approx(1e-6)
    # The baseline is unknown in the first week.
    assert [days[number].recent_baseline for number in (6, 99)] == [None, BASELINE]


def test_traffic_comes_from_the_metrics(address: str, live: LiveModels) -> None:
    traffic = status_of(address, live).traffic
    assert (traffic.requests, traffic.rejected, traffic.failed) == (1002, 1, 1)
    assert traffic.rows == {"2": 1000}
    assert traffic.buckets[0] == (0.0005, 2)
    assert dict(traffic.buckets)[0.001] == 902
    assert traffic.buckets[-1] == (None, 1002)


def test_empty_database_shows_that_no_model_is_live(address: str) -> None:
    status = status_of(address, None)
    assert headline(status) == ("none", "No model is live yet")
    assert (status.as_of, status.days, status.models) == (None, [], [])


def test_worker_without_model_is_critical(address: str) -> None:
    fill_database(address)
    assert headline(status_of(address, None, "the registry is away")) == ("bad", "No model is loaded")


def test_unreadable_database_is_reported_and_recovered_from(
    tmp_path: Path, address: str, live: LiveModels
) -> None:
    fill_database(address)
    file, aside = tmp_path / "log.db", tmp_path / "aside"
    made = reporter(address)

    def refresh() -> StatusDocument:
        made._cached = None  # as a second later
        return StatusDocument.model_validate_json(made.json(live, None))

    assert refresh().headline.state == "good"
    for each in tmp_path.glob("log.db?*"):
        each.unlink()
    file.rename(aside)
    file.write_bytes(b"not a database" * 100)
    away = refresh()
    assert headline(away) == ("bad", "The database does not respond")
    assert "not a database" in away.errors[0]
    assert [each.version for each in away.models] == ["2"]
    assert away.traffic.requests == 1002
    aside.replace(file)
    assert refresh().headline.state == "good"
    for each in tmp_path.glob("log.db*"):
        each.unlink()
    assert refresh().days == []  # it was created again


def test_unreachable_registry_is_a_warning(address: str, live: LiveModels) -> None:
    fill_database(address)
    status = status_of(address, live, "the registry is away")
    assert headline(status) == ("warn", "The model registry is unreachable")
    assert status.errors == ["the registry is away"]


def test_stopped_loop_is_a_warning(address: str, live: LiveModels) -> None:
    fill_database(address)
    with closing(open_database(address)) as database:
        event_log.publish_fields(database, {"last_cycle_at": "2026-01-01T00:00:00+00:00"}, NOW)
    assert headline(status_of(address, live)) == ("warn", "The loop is not running")


def test_a_rollback_is_a_warning_for_a_day(address: str, live: LiveModels) -> None:
    fill_database(address)
    with closing(open_database(address)) as database:
        for hours, expected in ((2, "warn"), (30, "good")):
            event_log.publish_fields(
                database,
                {name: each.content for name, each in event_log.published_fields(database).items()},
                at(62) + timedelta(hours=hours),
            )
            assert status_of(address, live).headline.state == expected


def test_served_model_takes_precedence_over_published_facts(tmp_path: Path, address: str) -> None:
    fill_database(address)
    newer = load_model(constant(tmp_path / "made", 5.0), "5")
    status = status_of(address, LiveModels(newer))
    assert ([each.version for each in status.models], status.live_since) == (["5"], None)


def test_concurrent_polls_read_the_database_once(address: str, live: LiveModels) -> None:
    fill_database(address)
    made = reporter(address)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(made.json(live, None))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(each) for each in found}) == 1


# ---- who may look


@pytest.fixture
def guarded(tmp_path: Path, address: str) -> Iterator[tuple[Client, str, str]]:
    """The application with keys in use, one for a client and one for operations."""
    file = tmp_path / "keys.yaml"
    keys = make_key(file, "planning", "client"), make_key(file, "duty", "operations")
    made = reporter(address)
    with (
        serve_in_thread(create_app(ModelHolder(), keys=ApiKeys(file=file), status=made)) as client,
    ):
        yield client, *keys


@pytest.mark.parametrize("path", ["/dashboard", "/status"])
def test_operations_key_is_required_when_keys_exist(guarded: tuple[Client, str, str], path: str) -> None:
    client, client_key, duty = guarded
    refused = client.get(path)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert client.get(path, auth=("anybody", duty)).status_code == 200
    assert client.get(path, headers={HEADER: duty}).status_code == 200
    wrong_role = client.get(path, auth=("anybody", client_key))  # a browser would keep it on any other status
    assert (wrong_role.status_code, wrong_role.headers["WWW-Authenticate"]) == (
        401,
        refused.headers["WWW-Authenticate"],
    )
    assert client.get(path, auth=("anybody", "wrong")).status_code == 401
    for corrupt in ("Basic", "Basic ====", "Basic /w==", f"Bearer {duty}"):
        assert client.get(path, headers={"Authorization": corrupt}).status_code == 401
    assert (
        client.post("/predict", json=EXAMPLE, auth=("anybody", client_key)).status_code == 401
    )  # by header only
    assert "403" not in client.get("/openapi.json").json()["paths"]["/status"]["get"]["responses"]


def test_page_loads_only_its_own_files(guarded: tuple[Client, str, str]) -> None:
    client, _, duty = guarded
    page = client.get("/dashboard", headers={HEADER: duty})
    assert client.head("/dashboard", headers={HEADER: duty}).status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy
    loaded = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
    assert len(loaded) == 4
    for each in loaded:
        file = client.get(f"/{each}")
        assert (file.status_code, file.headers["Cache-Control"]) == (200, "no-cache")
    assert client.get("/status", headers={HEADER: duty}).headers["Cache-Control"] == "no-store"


def test_openapi_describes_status(guarded: tuple[Client, str, str]) -> None:
    api = guarded[0].get("/openapi.json").json()
    answer = api["paths"]["/status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["$ref"].endswith("/StatusDocument")
    assert all(
        "content" in answer
        for calls in api["paths"].values()
        for call in calls.values()
        for answer in call["responses"].values()
    )
    schemas = api["components"]["schemas"]
    with_offset = {
        (name, field)
        for name, schema in schemas.items()
        for field, kind in schema.get("properties", {}).items()
        if "date-time" in str(kind)
    }
    assert with_offset == {
        ("StatusDocument", "generated_at"),
        ("StatusDocument", "last_cycle_at"),
        ("Worker", "seen_at"),
    }
    assert re.fullmatch(schemas["Release"]["properties"]["at"]["pattern"], NOW.isoformat())


@pytest.mark.slow
def test_service_counts_predictions_and_failures(stored: Path) -> None:
    change_params(stored, poll_seconds="0.1")
    with running(stored, "--workers", "2") as service:
        assert service.client.post("/predict", json=EXAMPLE).status_code == 503
        put_live(constant(Path("made"), 5.0))
        until = time.monotonic() + 30
        while len([each for each in status_from(service.client)["workers"] if each["version"] == 1]) < 2:
            assert time.monotonic() < until
            time.sleep(0.1)
        for _ in range(3):
            service.client.post("/predict", json=[EXAMPLE] * 4).raise_for_status()
        for _ in range(2):
            assert service.client.post("/predict", json={}).status_code == 422
        time.sleep(1.1)  # the document is as old as a second
        status = status_from(service.client)
    traffic = status["traffic"]
    assert (traffic["requests"], traffic["rejected"], traffic["failed"]) == (6, 2, 1)
    assert traffic["rows"] == {"1": 12}
    assert traffic["buckets"][-1] == [None, 6]
    assert [(each["version"], each["role"]) for each in status["models"]] == [("1", "champion")]


def status_from(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/status").raise_for_status().json()
    return found


# ---- settings


def test_links_can_be_set_by_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project
    links = {"MLflow": "http://127.0.0.1:5000/?a=b", "Prefect": "https://prefect.example.org"}
    monkeypatch.setenv("BIKE_DASHBOARD__LINKS", json.dumps(links))
    assert load_settings().dashboard.links == links


@pytest.mark.parametrize(
    "links",
    ["MLflow", '{"MLflow": ""}', '{"MLflow": "javascript:alert(1)"}', '{"": "http://x"}', '{"a": "//x"}'],
)
def test_invalid_link_is_rejected(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, links: str
) -> None:
    assert project
    monkeypatch.setenv("BIKE_DASHBOARD__LINKS", links)
    assert "dashboard" in run("ingest").refusal().lower()


# ---- in a real browser


@contextmanager
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
        flags += " disable-component-update disable-sync"
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[f"--{flag}" for flag in flags.split()]
        )
        try:
            yield started
        finally:
            started.close()


LAYOUT = """() => {
  const root = document.documentElement;
  const visible = [...document.querySelectorAll('main *')].filter(each => each.getClientRects().length);
  const inside = 'canvas, #events';
  const wide = visible.filter(each => !each.closest(inside)
      && each.getBoundingClientRect().right > root.clientWidth + 1).map(each => each.outerHTML.slice(0, 80));
  const light = colour => { const part = colour.match(/[\\d.]+/g).map(Number).slice(0, 3).map(each => {
      const value = each / 255; return value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4; });
      return .2126 * part[0] + .7152 * part[1] + .0722 * part[2]; };
  const behind = node => { for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)' && colour !== 'transparent') return colour; }
    return 'rgb(255,255,255)'; };
  const hasText = each => [...each.childNodes].some(one => one.nodeType === 3 && one.data.trim());
  const faint = visible.filter(hasText).filter(each => {
      const [one, other] = [light(getComputedStyle(each).color), light(behind(each))].sort((a, b) => b - a);
      return (one + .05) / (other + .05) < 4.5; }).map(each => each.outerHTML.slice(0, 80));
  return {over: root.scrollWidth - root.clientWidth, wide, faint,
          title: parseFloat(getComputedStyle(document.querySelector('h1')).fontSize)};
}"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_layout_and_contrast_in_all_sizes_and_color_schemes(
    tmp_path: Path, address: str, empty_database: Path, live: LiveModels
) -> None:
    fill_database(
        address, [signal(SignalKind.QUALITY, "heat"), signal(SignalKind.DRIFT, "inputs")], [example_test()]
    )
    empty = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'empty.db')}"
    holder = ModelHolder()
    holder.live = live
    full = reporter(address, MLflow="http://127.0.0.1:9")
    bare = StatusReporter(database_at(empty), "production", Metrics(), Dashboard(), 1e9)
    with (
        serve_in_thread(create_app(holder, status=full)) as client,
        serve_in_thread(create_app(ModelHolder(), status=bare)) as nothing,
        browser() as chromium,
    ):
        for url, charts in ((client.base_url, 3), (nothing.base_url, 1)):
            requested: set[str] = set()
            page = chromium.new_page()
            page.on("request", lambda request, requested=requested: requested.add(request.url))
            page.on("pageerror", lambda error: pytest.fail(str(error)))
            page.on("console", lambda message: pytest.fail(message.text))
            page.goto(f"{url}/dashboard")
            page.wait_for_selector("#requests-chart canvas")
            assert page.locator("canvas").count() == charts
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                for width, least in ((390, 25), (1280, 38), (1920, 48)):
                    page.set_viewport_size({"width": width, "height": 900})
                    page.wait_for_timeout(100)
                    layout = page.evaluate(LAYOUT)
                    assert (layout["over"], layout["wide"], layout["faint"]) == (0, [], []), (width, scheme)
                    assert layout["title"] >= least
            page.close()
            assert {each for each in requested if not each.startswith("data:")} == {
                f"{url}/{path}"
                for path in (
                    *("dashboard", "status", "static/dashboard.css", "static/dashboard.js"),
                    *("static/uplot/uPlot.min.css", "static/uplot/uPlot.iife.min.js"),
                )
            }


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_page_updates_in_place_and_shows_an_outage(address: str, live: LiveModels) -> None:
    fill_database(address, [], [example_test()])
    holder = ModelHolder()
    holder.live = live
    made = reporter(address)
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 600})
        with serve_in_thread(create_app(holder, status=made)) as client:
            page.goto(f"{client.base_url}/dashboard")
            page.get_by_role("heading", name="A/B test in progress", level=1).wait_for()
            page.evaluate("window.same = 1; scrollTo(0, 400)")
            with closing(open_database(address)) as database:
                event_log.update_signals(database, [signal(SignalKind.QUALITY, "moisture")], NOW)
            page.get_by_role("heading", name="Bad data: moisture", level=1).wait_for()
            assert page.evaluate("window.same") == 1
            assert page.title().startswith("Bad data: moisture")
            # What comes from outside is text, never HTML.
            assert page.locator("#signals").inner_text().count("<b>as it is</b>") == 1
            assert not page.is_visible("#stale")
        page.wait_for_selector("#stale", state="visible")
        assert page.inner_text("h1") == "Bad data: moisture"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_rates_of_two_services_behind_a_proxy_are_not_mixed(address: str, live: LiveModels) -> None:
    document = status_of(address, live).model_dump(mode="json") | {"refresh_seconds": 1}
    polls = 0

    def answer(route: Any) -> None:
        nonlocal polls
        polls += 1
        service = "busy" if polls % 2 else "idle"
        requests = (1_000_000 if service == "busy" else 0) + polls
        traffic = document["traffic"] | {"instance": f"{service}:1", "requests": requests}
        now = datetime.now(UTC).isoformat()
        route.fulfill(json=document | {"generated_at": now, "traffic": traffic})

    made = reporter(address)
    with (
        serve_in_thread(create_app(ModelHolder(), status=made)) as client,
        browser() as chromium,
    ):
        page = chromium.new_page()
        page.route("**/status", answer)
        page.goto(f"{client.base_url}/dashboard")
        page.get_by_text(re.compile("[0-9] requests/s")).wait_for()
        page.wait_for_timeout(1500)
        found = re.search(r"([0-9.,]+) requests/s", page.inner_text("#tiles"))
    assert found
    assert float(found[1].replace(",", "")) < 10


# Notes the texts of the last drawing of each canvas.
NOTE_TEXTS = """
const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.clearRect = function (...where) {
  this.canvas.texts = []; clearRect.apply(this, where); };
CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
  this.canvas.texts?.push(text); fillText.call(this, text, ...where); };
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_first_days_negative_errors_rejections_and_refusals_are_shown(address: str, live: LiveModels) -> None:
    fill_database(address)
    document = status_of(address, live).model_dump(mode="json") | {"refresh_seconds": 1}
    document |= {"reference_error": 40.0, "last_cycle_at": "2026-01-02T03:04:05Z", "live_since": None}
    document |= {"days": document["days"][-3:], "releases": [], "trainings": [], "incidents": []}
    for each in document["days"]:
        each |= {"error": -3.0, "recent_error": -2.0, "recent_baseline": None}
    refused = False

    def answer(route: Any) -> None:
        for name in ("requests", "rejected"):
            document["traffic"][name] += 50
        now = datetime.now(UTC).isoformat()
        route.fulfill(status=401 if refused else 200, json=document | {"generated_at": now})

    made = reporter(address)
    with (
        serve_in_thread(create_app(ModelHolder(), status=made)) as client,
        browser() as chromium,
    ):
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        page.add_init_script(NOTE_TEXTS)
        page.route("**/status", answer)
        page.goto(f"{client.base_url}/dashboard")
        page.get_by_text(re.compile("[0-9] rejected/s")).first.wait_for()
        page.get_by_text("monitored at 2 Jan 2026").wait_for()
        for days in (3, 1):
            document["days"] = document["days"][-days:]
            page.wait_for_timeout(1500)
            texts = page.evaluate("document.querySelector('#error-chart canvas').texts")
            dates = [each for each in texts if "Jan" in each]
            assert len(dates) == len(set(dates)) >= 2
            assert any(each.startswith("-") for each in texts)
        document["live_since"] = "2012-01-01T00:00:00"  # so that the reference error is drawn
        page.wait_for_timeout(1500)
        assert "40" in page.evaluate("document.querySelector('#error-chart canvas').texts")
        refused = True
        page.get_by_text("key is no longer accepted").wait_for()
        refused = False
        del document["days"]
        page.get_by_text("do not fit together").wait_for()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_latency_tile_uses_requests_since_opening(address: str, live: LiveModels) -> None:
    """Of 1,002 requests before it was opened half were within 0.8 ms; the 100 afterwards take 30 ms."""
    counted = example_metrics()
    holder = ModelHolder()
    holder.live = live
    made = StatusReporter(database_at(address), "production", counted, Dashboard(refresh_seconds=2), 1e9)
    with (
        serve_in_thread(create_app(holder, status=made)) as client,
        browser() as chromium,
    ):
        page = chromium.new_page()
        page.goto(f"{client.base_url}/dashboard")
        page.get_by_text("p50 0.78 ms").wait_for()
        for _ in range(100):
            counted.request("/predict", 200, 0.03)
        page.get_by_text(re.compile("^4[89] ms p95")).wait_for()
