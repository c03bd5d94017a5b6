"""The team's MLflow server instead of a local database: one setting, the same behaviour."""

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from bike_demand.core.current import PROBLEM
from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.release.decision import page_of
from bike_demand.release.deploy import deploy
from bike_demand.release.gates import GATES
from bike_demand.release.rollback import roll_back_champion
from bike_demand.serving.live_models import RegistryModels
from bike_demand.store.deployments import open_deployments
from bike_demand.store.tables import State
from bike_demand.store.tracking import Dataset, Tracking
from bike_demand.store.traffic_split import traffic_split
from tests.conftest import Run
from tests.mlflow_server import Server, mlflow_server
from tests.registry import current_deployment, put_live, register
from tests.service import Service, running
from tests.tiny import constant
from tests.toy import EXAMPLE
from tests.tree import contents

pytestmark = pytest.mark.timeout(300)

CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def tracking(project: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    """The server as the store of a project of its own."""
    assert project
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    return Tracking(load_settings())


@pytest.mark.slow
def test_runs_versions_and_the_alias_are_kept_there_and_nothing_here(
    tracking: Tracking, server: Server
) -> None:
    Path("dvc.lock").write_text("schema: '2.0'", encoding="utf-8")
    data = Dataset("rows", "d" * 32, 1416, "2011-01-01T00:00:00", "2011-02-28T00:00:00")
    model = constant(Path("made"), 5.0)
    holdout: str | None = None
    for number in (None, 1, 2):
        logged = tracking.log_run(
            "training",
            params={"max_iter": 100},
            metrics={"holdout_error": 25.5},
            dataset=data,
            tags={"git.commit": "abc"},
            artifacts=[Path("dvc.lock"), model],
            model=model,
            holdout_run_id=holdout,
            description="Trained on two months.",
        )
        assert logged.version == number
        run = tracking.run(logged.run_id)
        assert (run.params, run.metrics, run.dataset) == ({"max_iter": "100"}, {"holdout_error": 25.5}, data)
        holdout = logged.run_id
        if number is not None:
            tracking.set_alias("champion", number)
            champion = tracking.champion()
            assert champion is not None
            assert champion.number == number
    assert contents(tracking.fetch(logged.run_id, "handoff", Path("back"))) == contents(model)
    assert [each.number for each in tracking.versions()] == [1, 2]
    with pytest.raises(UserError, match="version 999: "):
        tracking.version(999)
    assert not Path("state").exists()
    model_of, version_of = (
        httpx.get(f"{server.url}/api/2.0/mlflow/{name}", params={"name": "toy", "version": "2"}).json()
        for name in ("registered-models/get", "model-versions/get")
    )
    assert PROBLEM.description in model_of["registered_model"]["description"]
    assert PROBLEM.unit in model_of["registered_model"]["description"]
    assert version_of["model_version"]["description"] == "Trained on two months."


@pytest.mark.slow
def test_a_version_is_deployed_and_rolled_back_there(
    tracking: Tracking, run: Run, handoffs: tuple[Path, Path]
) -> None:
    assert run("ingest").status == 0
    old = put_live(constant(Path("fifty"), 50.0)).number
    new = register(*handoffs, tracking=tracking).number
    gates = [gate for gate in GATES if gate.id not in ("test-environment", "cost")]
    deploy(load_settings(), str(new), None, print, gates)
    split = traffic_split(tracking, "champion")
    assert split is not None
    assert split.other is not None
    assert (split.shown.number, split.other.number, split.role) == (old, new, "challenger")
    with open_deployments(load_settings(), datetime(2011, 4, 2), print) as deployments:
        row = deployments.testing()
        assert row is not None
        deployments.transition(row, State.LIVE, "it is better")
        assert tracking.aliases() == {"champion": new, "previous": old}
        assert page_of(new).exists()
        roll_back_champion(deployments, "nonsense")
    assert tracking.aliases() == {"champion": old}
    assert current_deployment(new).state is State.ROLLED_BACK


@pytest.mark.slow
def test_service_and_batch_survive_loss_of_tracking_server(
    project: Path, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with mlflow_server(tmp_path_factory.mktemp("short-lived")) as server:
        params = project / "params.yaml"
        text = params.read_text(encoding="utf-8")
        params.write_text(text.replace("sqlite:///state/mlflow.db", server.url), encoding="utf-8")
        put_live(constant(project / "made", 5.0))
        with running(project) as service:
            assert answering(service) == "1"
            server.stop()
            assert answering(service) == "1"
            output = run("predict", "feed/2011-02.csv", "out.csv")
            assert output.status == 0
            assert "the tracking store does not respond" in output.err
        with running(project) as service:  # started anew while the registry is away
            assert answering(service) == "1"
    model, problem = RegistryModels(Tracking(load_settings())).current()
    assert model is not None
    assert problem is not None


def answering(service: Service) -> str:
    """The version that answers a request."""
    version: str = service.client.post("/predict", json=EXAMPLE).json()["model_version"]
    return version


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
@pytest.mark.usefixtures("tracking")
def test_its_pages_show_runs_metrics_and_the_model_without_a_network(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    from playwright.sync_api import expect, sync_playwright

    version = put_live(constant(Path("made"), 5.0))
    flags = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    flags += " disable-component-update disable-sync"
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "browser",
            executable_path=CHROMIUM,
            args=[f"--{flag}" for flag in flags.split()],
            viewport={"width": 1600, "height": 2000},
        )
        requested: list[str] = []
        context.on("request", lambda request: requested.append(request.url))
        page = context.new_page()
        page.goto(f"{server.url}/#/experiments/1/runs")
        for name in ("refit 2011-03-01", "holdout 2011-02-22"):
            expect(page.get_by_text(name, exact=True).first).to_be_visible()
        page.goto(f"{server.url}/#/experiments/1/runs/{version.run_id}")
        for shown in (
            "holdout_error",
            "25.5",
            "max_iter",
            "rows 2011-01-01T00 to 2011-03-01T00",
            f"v{version.number}",
        ):
            expect(page.get_by_text(shown).first).to_be_visible()
        page.goto(f"{server.url}/#/models/toy")
        expect(page.get_by_text(PROBLEM.description).first).to_be_visible()
        expect(page.get_by_role("status", name="champion", exact=True)).to_be_visible()
        expect(page.get_by_role("link", name=f"Version {version.number}", exact=True)).to_be_visible()
        context.close()
    assert requested
    assert not [url for url in requested if not url.startswith((server.url, "data:", "blob:"))]
