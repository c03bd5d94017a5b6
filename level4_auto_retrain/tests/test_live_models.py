"""Following the registry: what goes live, what does not, and what answers while the registry is away."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from bike_demand.core.settings import load_settings
from bike_demand.handoff import read_handoff, write_handoff
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import NO_MODEL, ModelHolder, RegistryModels, RegistryPoller
from bike_demand.store.tracking import DIGEST_TAG, MODEL_NAME, Tracking
from tests.registry import put_live, register
from tests.service import serve_in_thread
from tests.tiny import constant, network
from tests.tree import contents

CACHE = Path("state") / "serving" / "production"


class Service:
    """What a process of the service has of the model; `poll` is one poll of the registry."""

    def __init__(self) -> None:
        self.holder = ModelHolder()
        models = RegistryModels(Tracking(load_settings()))
        self.poller = RegistryPoller(self.holder, models, poll_seconds=0.01)
        self.poll = self.poller.poll

    @property
    def version(self) -> str | None:
        return self.holder.live.model.version if self.holder.live else None


@pytest.fixture
def service(stored: Path) -> Service:
    assert stored
    return Service()


def problems(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str | None]]:
    """What was logged about the registry, and which version was served meanwhile."""
    return [
        (vars(each)["detail"], vars(each)["serving"])
        for each in caplog.records
        if each.getMessage() == "registry_error"
    ]


def release(answer: float) -> None:
    put_live(constant(Path("made") / str(answer), answer))


def spoil(run_id: str) -> None:
    """Damage the model file that a run keeps."""
    (kept,) = Path("state").glob(f"artifacts/*/{run_id}/artifacts/handoff/model.onnx")
    kept.write_bytes(b"half")


def test_no_model_and_no_error_before_first_release(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.poll()
    register(constant(Path("made"), 5.0))  # registered is not released
    service.poll()
    assert (service.version, service.holder.error, service.holder.reason()) == (None, None, NO_MODEL)
    assert problems(caplog) == []


def test_poller_loads_releases_and_rollbacks(service: Service) -> None:
    for number in (1, 2):
        release(float(number))
        service.poll()
        assert service.version == str(number)
    Tracking(load_settings()).set_alias("champion", 1)
    service.poll()
    assert service.version == "1"


def test_what_did_not_change_is_not_loaded_again(service: Service) -> None:
    release(5.0)
    service.poll()
    live = service.holder.live
    service.poll()
    assert service.holder.live is live


def test_a_version_that_cannot_be_read_never_goes_live(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    release(1.0)
    service.poll()
    spoil(put_live(constant(Path("made") / "2", 2.0)).run_id)
    service.poll()
    service.poll()
    assert service.version == "1"
    assert service.holder.error is not None
    assert "checksum mismatch" in service.holder.error
    assert problems(caplog) == [(service.holder.error, "1")]
    release(3.0)
    service.poll()
    assert service.version == "3"
    assert service.holder.error is None


@pytest.mark.parametrize("answer", [-3.0, 90_000.0])
def test_a_version_that_predicts_nonsense_never_goes_live(service: Service, answer: float) -> None:
    release(1.0)
    service.poll()
    release(answer)
    service.poll()
    assert service.version == "1"
    assert "for the problem's example" in (service.holder.error or "")


def test_a_version_that_does_not_predict_its_golden_rows_never_goes_live(service: Service) -> None:
    release(1.0)
    service.poll()
    golden = read_handoff(constant(Path("made") / "3", 3.0)).golden
    write_handoff(Path("made") / "2", network(fill=2.0), golden)
    put_live(Path("made") / "2")
    service.poll()
    assert service.version == "1"
    assert "1 of 1 golden rows are predicted differently" in (service.holder.error or "")


def test_a_run_that_keeps_another_model_than_was_registered_never_goes_live(service: Service) -> None:
    version = put_live(constant(Path("made") / "1", 1.0))
    (kept,) = Path("state").glob(f"artifacts/*/{version.run_id}/artifacts/handoff")
    shutil.rmtree(kept)
    shutil.copytree(constant(Path("made") / "2", 2.0), kept)
    service.poll()
    assert service.version is None
    assert f"registered as {version.digest}" in service.holder.reason()


def test_corrupt_cache_entry_is_fetched_again(service: Service) -> None:
    release(1.0)
    service.poll()
    (copy,) = CACHE.glob("*/model.onnx")
    whole = contents(copy.parent)
    copy.write_bytes(network(fill=9.0))
    again = Service()
    again.poll()
    assert again.version == "1"
    assert contents(copy.parent) == whole


def test_live_model_is_kept_while_registry_is_down(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    release(1.0)
    service.poll()
    Path("state/mlflow.db").rename("aside")
    Path("state/mlflow.db").write_bytes(b"not a database" * 100)
    for _ in range(3):
        service.poll()
    started_meanwhile = Service()
    started_meanwhile.poll()
    assert (service.version, started_meanwhile.version) == ("1", "1")
    assert [version for _, version in problems(caplog)] == ["1", "1"]  # each reports it once
    Path("aside").replace("state/mlflow.db")
    release(2.0)
    service.poll()
    assert (service.version, service.holder.error) == ("2", None)


@pytest.mark.parametrize("digest", [None, "../.."])
def test_a_version_without_a_valid_digest_never_goes_live_and_deletes_nothing(
    service: Service, digest: str | None
) -> None:
    release(1.0)
    service.poll()
    cached = contents(CACHE)
    tracking = Tracking(load_settings())
    with tracking.client() as client:
        if digest is None:
            client.delete_model_version_tag(MODEL_NAME, "1", DIGEST_TAG)
        else:
            client.set_model_version_tag(MODEL_NAME, "1", DIGEST_TAG, digest)
    service.poll()
    assert service.version == "1"
    assert "not registered by `train`" in (service.holder.error or "")
    assert contents(CACHE) == cached


def test_a_rollback_goes_live_while_the_disk_is_full(service: Service) -> None:
    for number in (1, 2):
        release(float(number))
        service.poll()
    (CACHE / "last.json").unlink()
    (CACHE / "last.json").mkdir()  # so that it cannot be written
    Tracking(load_settings()).set_alias("champion", 1)
    service.poll()
    assert service.version == "1"
    assert "last.json" in (service.holder.error or "")
    (CACHE / "last.json").rmdir()
    service.poll()
    assert service.holder.error is None
    assert json.loads((CACHE / "last.json").read_bytes())["version"] == "1"


def test_a_version_that_cannot_be_cached_goes_live_once_it_can(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    release(1.0)
    service.poll()
    release(2.0)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", deny)
        service.poll()
    assert service.version == "1"
    assert "Permission denied" in (service.holder.error or "")
    service.poll()
    assert (service.version, service.holder.error) == ("2", None)


def test_shutdown_does_not_wait_for_a_registry_that_hangs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = threading.Event()
    monkeypatch.setattr(RegistryModels, "current", lambda *_: (None, answering.wait(30) and None))
    poller = RegistryPoller(service.holder, RegistryModels(Tracking(load_settings())), poll_seconds=3600)
    poller.start(timeout=0.01)
    began = time.monotonic()
    poller.stop()
    assert time.monotonic() - began < 20
    answering.set()


def test_live_model_is_kept_after_registry_was_deleted(service: Service) -> None:
    release(1.0)
    service.poll()
    Path("state/mlflow.db").unlink()
    service.poll()
    assert service.version == "1"
    assert "no version is live" in (service.holder.error or "")


def test_ready_gives_reason_without_registry_and_cache(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    service = Service()
    service.poll()
    with serve_in_thread(create_app(service.holder)) as client:
        response = client.get("/ready")
    assert response.status_code == 503
    assert "the tracking store does not respond" in response.json()["detail"]


def test_poller_survives_unexpected_errors(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    release(1.0)
    second = register(constant(Path("made") / "2", 2.0))  # MLflow logs no model while a thread uses it
    service.poller.start()
    try:
        assert service.version == "1"
        with monkeypatch.context() as patch:
            patch.setattr(RegistryModels, "current", lambda *_: 1 / 0)
            wait_for(lambda: service.holder.error is not None)
            assert "ZeroDivisionError" in (service.holder.error or "")
        Tracking(load_settings()).set_alias("champion", second.number)
        wait_for(lambda: service.version == "2")
    finally:
        service.poller.stop()


def test_poller_survives_errors_of_what_follows_a_poll(service: Service) -> None:
    def fail(_: bool) -> None:
        raise ZeroDivisionError

    release(1.0)
    RegistryPoller(service.holder, RegistryModels(Tracking(load_settings())), 0.01, fail).poll()
    assert service.version == "1"


def test_several_processes_share_one_copy_of_a_version(stored: Path) -> None:
    assert stored
    release(1.0)
    services = [Service() for _ in range(4)]
    threads = [threading.Thread(target=each.poll) for each in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.version for each in services] == ["1"] * 4
    (copy,) = (path for path in CACHE.iterdir() if path.is_dir())
    manifest = json.loads((copy / "model.json").read_text(encoding="utf-8"))
    assert copy.name == manifest["version"]


def wait_for(happened: object) -> None:
    assert callable(happened)
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)
