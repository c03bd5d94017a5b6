"""Promoting a version to the registry of the next environment: what goes with it, once, past its gates."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bike_demand.__main__ import main
from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.handoff import read_handoff
from bike_demand.release.deploy import deploy
from bike_demand.release.gates import GATES, Gate, GateContext, GateResult
from bike_demand.release.promotion import SOURCE_REGISTRY, SOURCE_RUN, SOURCE_VERSION
from bike_demand.store.deployments import open_deployments
from bike_demand.store.tables import State
from bike_demand.store.tracking import DIGEST_TAG, HANDOFF_ARTIFACT, Tracking
from tests.conftest import Make, Run
from tests.mlflow_server import mlflow_server
from tests.registry import copy_store, deploy_without_gates, register
from tests.tiny import constant

NEXT = "sqlite:///next/state/mlflow.db"
PROMOTE = "BIKE_DEPLOY__PROMOTE_TO"
QUICK = tuple(gate for gate in GATES if gate.id not in ("test-environment", "cost"))


def passes(_: GateContext) -> GateResult:
    return GateResult(True, "blue")


def refuses(_: GateContext) -> GateResult:
    return GateResult(False, "not blue")


def deployed(number: int, *gates: Gate) -> list[str]:
    """Deploys a version with these gates, by default one that passes; returns the messages."""
    output: list[str] = []
    deploy(load_settings(), str(number), None, output.append, gates or [Gate("colour", "It is blue", passes)])
    return output


def two_versions() -> None:
    assert main(["ingest"]) == 0
    register(constant(Path("five"), 5.0), constant(Path("four"), 4.0))
    register(constant(Path("six"), 6.0))


@pytest.fixture
def source(project: Path, empty_store: Path, prepare: Callable[[Make], None]) -> Tracking:
    """A registry with two versions, neither deployed. The next one is empty."""
    prepare(two_versions)
    copy_store(empty_store, project / "next")
    return Tracking(load_settings())


@pytest.fixture
def target(source: Tracking) -> Tracking:
    """The next registry. Version 1 of the first one has passed its gates and is live there."""
    assert source
    deployed(1)
    return Tracking(load_settings(), NEXT)


def kept(tracking: Tracking, run_id: str, folder: Path) -> dict[str, bytes]:
    """The files of a run."""
    found = tracking.fetch(run_id, "", folder)
    return {
        path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()
    }


def test_promoted_version_is_complete(source: Tracking, target: Tracking, run: Run) -> None:
    source.tag(1, {"reviewed": "yes"})
    source.describe(1, "What it learned from.")
    assert "version 1 of" in run("promote", "champion", "--to", NEXT).out
    original, (copy,) = source.version(1), target.versions()
    assert (copy.digest, copy.tags["reviewed"]) == (original.digest, "yes")
    assert copy.description == original.description == "What it learned from."
    assert {copy.tags[SOURCE_REGISTRY], copy.tags[SOURCE_VERSION], copy.tags[SOURCE_RUN]} == {
        source.where,
        "1",
        original.run_id,
    }
    assert not {"deployment", "ab", "ab_ratio"} & copy.tags.keys()  # it is deployed there by itself
    assert target.aliases() == {}
    assert original.holdout_run_id is not None
    assert copy.holdout_run_id is not None
    for at, (here, there) in enumerate(
        [(original.run_id, copy.run_id), (original.holdout_run_id, copy.holdout_run_id)]
    ):
        before, after = source.run(here), target.run(there)
        assert (after.name, after.params, after.metrics) == (before.name, before.params, before.metrics)
        assert (after.dataset, after.tags["kind"]) == (before.dataset, before.tags["kind"])
        files = kept(source, here, Path(f"here-{at}"))
        assert kept(target, there, Path(f"there-{at}")) == files
    assert (
        read_handoff(target.fetch(copy.run_id, HANDOFF_ARTIFACT, Path("one"))).manifest.version == copy.digest
    )


@pytest.mark.slow
def test_it_passes_the_gates_there_without_the_registry_that_it_came_from(
    source: Tracking, target: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("promote", 1, "--to", NEXT).status == 0
    shutil.rmtree(Path(source.where).parent / "artifacts")
    Path(source.where).unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NEXT)
    monkeypatch.setenv("BIKE_ENVIRONMENTS__PRODUCTION__DATABASE", "sqlite:///next/state/production.db")
    assert "is live" in deployed(1, *QUICK)[-1]
    assert target.aliases() == {"champion": 1}


@pytest.mark.slow
def test_promotion_is_idempotent_and_back_it_finds_the_original(
    source: Tracking, target: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        output = run("promote", "1", "--to", NEXT)
        assert output.status == 0
    assert "nothing was changed" in output.out
    assert [each.number for each in target.versions()] == [1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NEXT)
    monkeypatch.setenv("BIKE_ENVIRONMENTS__PRODUCTION__DATABASE", "sqlite:///next/state/production.db")
    deployed(1)
    assert "nothing was changed" in run("promote", 1, "--to", "sqlite:///state/mlflow.db").out
    assert [each.number for each in source.versions()] == [1, 2]


@pytest.mark.slow
def test_a_copy_that_was_cut_off_counts_for_nothing(
    target: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        tag = Tracking.tag

        def cut_off(self: Tracking, number: int, tags: dict[str, str]) -> None:
            if DIGEST_TAG in tags:
                raise KeyboardInterrupt
            tag(self, number, tags)

        patch.setattr(Tracking, "tag", cut_off)
        assert run("promote", 1, "--to", NEXT).status == 130
    assert target.versions() == []
    assert run("promote", 1, "--to", NEXT).status == 0
    assert [each.number for each in target.versions()] == [2]


def test_without_passed_gates_it_is_refused(source: Tracking, run: Run) -> None:
    assert "gates have not run" in run("promote", 1, "--to", NEXT).refusal()
    deploy_without_gates(1)  # by hand, past all gates
    assert "gates have not run" in run("promote", 1, "--to", NEXT).refusal()
    with pytest.raises(UserError):
        deployed(2, Gate("colour", "It is blue", refuses))
    assert "not blue" in run("promote", 2, "--to", NEXT).refusal()
    deployed(2)
    with open_deployments(load_settings(), None, print) as deployments:
        testing = deployments.testing()
        assert testing is not None
        deployments.transition(testing, State.FAILED_TEST, "a test")
    assert "failed test" in run("promote", 2, "--to", NEXT).refusal()
    assert Tracking(load_settings(), NEXT).versions() == []
    assert source.versions()


@pytest.mark.parametrize(
    ("address", "fragment"),
    [
        ("state/next.db", "promote_to"),
        ("http://127.0.0.1:{port}", "does not respond"),
        ("sqlite:///state/mlflow.db", "give another"),
        ("", "--to"),
    ],
)
def test_invalid_target_is_one_line_error(target: Tracking, run: Run, address: str, fragment: str) -> None:
    assert target
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        output = run("promote", 1, "--to", address.format(port=nobody.getsockname()[1]))
    assert fragment in output.refusal()
    assert output.err.count("\n") == 1


@pytest.mark.slow
def test_delivery_promotes_what_passes_its_gates(
    source: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROMOTE, "http://127.0.0.1:9")
    *_, output = deployed(1)
    assert output.startswith("warning: version 1 is not promoted yet")
    assert source.aliases() == {"champion": 1}  # what is wrong with the next registry stops nothing here
    monkeypatch.setenv(PROMOTE, NEXT)
    target = Tracking(load_settings(), NEXT)
    assert "Version 1 is promoted" in run("ab", "step").out  # the daily step tries again
    assert "promoted" not in run("ab", "step").out
    assert "Version 2 is promoted" in deployed(2)[-1]
    assert [each.tags[SOURCE_VERSION] for each in target.versions()] == ["1", "2"]


@pytest.mark.slow
def test_from_one_server_to_another(
    stored: Path, run: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored
    assert run("ingest").status == 0
    with (
        mlflow_server(tmp_path_factory.mktemp("here")) as here,
        mlflow_server(tmp_path_factory.mktemp("there")) as there,
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", here.url)
        register(constant(Path("five"), 5.0))
        deployed(1)
        assert run("promote", 1, "--to", there.url).status == 0
        here.stop()
        (copy,) = Tracking(load_settings(), there.url).versions()
        assert copy.tags[SOURCE_REGISTRY] == here.url
        assert len(kept(Tracking(load_settings(), there.url), copy.run_id, Path("kept"))) > 3
