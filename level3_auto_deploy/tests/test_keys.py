"""API keys: who gets in, and what is kept of them."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from httpx import Client

from bike_demand.core.current import OUTCOME_EXAMPLE
from bike_demand.core.settings import load_settings
from bike_demand.serving.app import create_app
from bike_demand.serving.keys import HEADER, OPEN, ApiKeys, make_key, read_keys, revoke_key
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.onnx_model import load_model
from bike_demand.serving.worker import ServiceWorker
from tests.conftest import Run
from tests.service import serve_in_thread
from tests.toy import EXAMPLE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OUTCOME = [OUTCOME_EXAMPLE]
READ_ONLY = ("/metrics", "/model")


@pytest.fixture(autouse=True)
def check_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let changes of the key file take effect with the next request."""
    monkeypatch.setattr("bike_demand.serving.keys.CHECK_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def keys(file: Path) -> tuple[str, str]:
    """A client's key and one for operations."""
    return make_key(file, "planning", "client"), make_key(file, "duty", "operations")


@pytest.fixture
def loaded(file: Path, keys: tuple[str, str]) -> ApiKeys:
    assert keys
    loaded = ApiKeys(file=file)
    loaded.update()
    return loaded


@pytest.fixture
def client(handoff: Path, loaded: ApiKeys) -> Iterator[Client]:
    with serve_in_thread(create_app(ModelHolder(load_model(handoff, "1")), keys=loaded)) as client:
        yield client


def statuses(client: Client, key: str | bytes | None) -> dict[str, int]:
    value = key.encode() if isinstance(key, str) else key
    headers = {} if value is None else {HEADER.encode(): value}
    return {
        "/predict": client.post("/predict", json=EXAMPLE, headers=headers).status_code,
        "/outcomes": client.post("/outcomes", json=OUTCOME, headers=headers).status_code,
        **{path: client.get(path, headers=headers).status_code for path in READ_ONLY},
    }


def test_a_clients_key_is_for_predictions_and_outcomes_only(client: Client, keys: tuple[str, str]) -> None:
    # There is no database in this application, so outcomes that are let in get 503.
    assert statuses(client, keys[0]) == {"/predict": 200, "/outcomes": 503, "/metrics": 403, "/model": 403}


def test_a_key_for_operations_is_for_looking_inside_only(client: Client, keys: tuple[str, str]) -> None:
    assert statuses(client, keys[1]) == {"/predict": 403, "/outcomes": 403, "/metrics": 200, "/model": 200}
    for key, status in ((keys[1], 200), (keys[0], 403), ("", 401)):
        assert {client.head(path, headers={HEADER: key}).status_code for path in READ_ONLY} == {status}


@pytest.mark.parametrize("key", [None, "", "wrong", "x" * 43, "\xe9".encode()])
def test_without_a_known_key_nothing_is_let_in(client: Client, key: str | bytes | None) -> None:
    assert set(statuses(client, key).values()) == {401}


def test_a_digest_from_the_file_is_no_key(client: Client, file: Path) -> None:
    digest = yaml.safe_load(file.read_bytes())["planning"]["sha256"]
    assert set(statuses(client, digest).values()) == {401}


def test_body_is_not_validated_without_key(client: Client) -> None:
    assert client.post("/predict", json={}).status_code == 401


def test_a_key_for_operations_may_be_the_password_of_http_basic(
    client: Client, keys: tuple[str, str]
) -> None:
    assert client.post("/predict", json=EXAMPLE, auth=("planning", keys[0])).status_code == 401
    assert client.get("/metrics", auth=("prometheus", keys[1])).status_code == 200
    assert client.get("/metrics", auth=("prometheus", "wrong")).status_code == 401
    # A proxy in front may have a password of its own.
    assert client.get("/metrics", auth=("a", "b"), headers={HEADER: keys[1]}).status_code == 200
    assert client.get("/metrics", headers={b"Authorization": b"Basic \xe9"}).status_code == 401


def test_life_readiness_and_documentation_are_open(client: Client) -> None:
    for path in ("/live", "/ready", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    api = client.get("/openapi.json").json()
    assert all(re.fullmatch(r"[\w.-]+", name) for name in api["components"]["securitySchemes"])
    calls = api["paths"]
    assert all(calls[path]["post"]["security"] for path in ("/predict", "/outcomes"))
    assert "security" not in calls["/live"]["get"]


def test_a_key_that_was_made_or_deleted_counts_without_a_restart(
    client: Client, file: Path, keys: tuple[str, str]
) -> None:
    new = make_key(file, "another", "client")
    assert statuses(client, new)["/predict"] == 200
    left = {name: key for name, key in yaml.safe_load(file.read_bytes()).items() if name != "planning"}
    file.write_text(yaml.safe_dump(left), encoding="utf-8")
    assert statuses(client, keys[0])["/predict"] == 401


def test_first_key_ends_open_access(handoff: Path, file: Path) -> None:
    loaded = ApiKeys(file=file)
    with serve_in_thread(create_app(ModelHolder(load_model(handoff, "1")), keys=loaded)) as client:
        assert statuses(client, None)["/predict"] == 200
        key = make_key(file, "planning", "client")
        assert statuses(client, None)["/predict"] == 401
        assert statuses(client, key)["/predict"] == 200


@pytest.mark.parametrize("content", ["", "{}\n"])
def test_emptied_key_file_denies_access(
    client: Client, keys: tuple[str, str], file: Path, content: str
) -> None:
    file.write_text(content, encoding="utf-8")
    assert set(statuses(client, None).values()) | set(statuses(client, keys[0]).values()) == {401}


@pytest.mark.parametrize("spoilt", [None, "planning: [", "planning: {sha256: 1}", "planning: 2012-99-99"])
def test_a_file_that_is_gone_or_spoilt_lets_nobody_else_in(
    client: Client,
    file: Path,
    keys: tuple[str, str],
    spoilt: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if spoilt is None:
        file.unlink()
    else:
        file.write_text(spoilt, encoding="utf-8")
    assert statuses(client, None)["/predict"] == 401
    assert statuses(client, keys[0])["/predict"] == 200
    assert [each.getMessage() for each in caplog.records].count("keys_error") == 1


def test_the_command_prints_a_key_once_and_keeps_its_digest(project: Path, run: Run) -> None:
    output = run("key", "planning")
    assert output.status == 0
    key = output.out.strip()
    kept = (project / "state" / "keys.yaml").read_text(encoding="utf-8")
    assert len(key) == 43
    assert key not in kept
    assert hashlib.sha256(key.encode()).hexdigest() in kept
    assert ApiKeys(project / "state" / "keys.yaml").holder(key) == ("planning", "client")
    other = run("key", "duty", "--operations").out.strip()
    assert ApiKeys(project / "state" / "keys.yaml").holder(other) == ("duty", "operations")
    newer = run("key", "duty", "--replace").out.strip()  # with the role of the old one
    assert ApiKeys(project / "state" / "keys.yaml").holder(newer) == ("duty", "operations")


def test_the_environment_says_where_the_keys_lie(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIKE_SERVING__KEYS", str(project / "secret" / "keys.yaml"))
    assert run("key", "planning").status == 0
    assert not (project / "state" / "keys.yaml").exists()
    assert read_keys(project / "secret" / "keys.yaml")


def test_a_key_is_replaced_and_revoked(project: Path, run: Run) -> None:
    file = project / "state" / "keys.yaml"
    first, second = run("key", "planning").out.strip(), run("key", "planning", "--replace").out.strip()
    assert (ApiKeys(file).holder(first), ApiKeys(file).holder(second)) == (None, ("planning", "client"))
    assert "--revoke" in run("key", "planning", "--revoke", "--replace").refusal()
    assert "no key of nobody; keys there: planning" in run("key", "nobody", "--revoke").refusal()
    assert run("key", "planning", "--revoke").status == 0
    assert read_keys(file) == {}
    assert ApiKeys(file).holder(None) is None


def test_keys_made_at_the_same_time_are_all_kept(file: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: make_key(file, name, "client"), "abcdefgh"))
    assert sorted(read_keys(file)) == list("abcdefgh")


@pytest.mark.parametrize(("name", "message"), [("planning", "has a key already"), ("a b", "give up to 64")])
def test_duplicate_or_invalid_name_is_refused(project: Path, run: Run, name: str, message: str) -> None:
    run("key", "planning")
    before = (project / "state" / "keys.yaml").read_bytes()
    assert message in run("key", name).refusal()
    assert (project / "state" / "keys.yaml").read_bytes() == before


def test_public_service_needs_keys(released: Path, run: Run) -> None:
    assert released
    assert "no API keys" in run("serve", "--host", "0.0.0.0", "--port", 0).refusal()


@pytest.mark.parametrize("last_key", ["in force", "revoked", "never made"])
def test_a_worker_that_restarts_without_the_key_file_does_not_open_access(
    released: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    last_key: str,
) -> None:
    file = released / "state" / "keys.yaml"
    if last_key != "never made":
        make_key(file, "planning", "client")
    if last_key == "revoked":
        revoke_key(file, "planning")
    admitted: list[object] = []

    def start_worker(*_: object) -> None:
        file.unlink(missing_ok=True)
        admitted.append(ServiceWorker(load_settings(), "production").keys.holder(None))

    monkeypatch.setattr("bike_demand.serving.server.run", start_worker)
    assert run("serve", "--port", 0).status == 0
    assert admitted == [(OPEN, None) if last_key == "never made" else None]
    assert [each.getMessage() for each in caplog.records].count("keys_error") == (last_key != "never made")


def test_a_file_that_holds_no_keys_is_reported_before_it_serves(released: Path, run: Run) -> None:
    (released / "state" / "keys.yaml").write_text("- planning\n", encoding="utf-8")
    assert "keys by name" in run("serve", "--port", 0).refusal()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_the_documentation_sends_the_key_that_a_browser_was_given(
    client: Client, keys: tuple[str, str]
) -> None:
    pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{client.base_url}/docs")
        predict = page.locator(".opblock", has_text="/predict")
        predict.locator(".opblock-summary-control").click()
        predict.get_by_role("button", name="Try it out").click()
        for key, status in ((None, "401"), (keys[0], "200")):
            if key is not None:
                page.locator(".auth-wrapper .authorize").first.click()
                dialog = page.locator(".dialog-ux .auth-container", has_text=HEADER)
                dialog.locator("input").fill(key)
                dialog.get_by_role("button", name="Apply credentials").click()
                page.locator(".dialog-ux").get_by_role("button", name="Close").first.click()
            predict.get_by_role("button", name="Execute").click()
            predict.locator(".live-responses-table .response-col_status", has_text=status).wait_for()
        browser.close()
