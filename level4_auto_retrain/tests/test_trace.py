"""`trace`: from an answer back to the deployment, the run, the code, the environment and the very rows."""

import hashlib
import json
import shutil
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
import yaml

from bike_demand.core.settings import DATA, load_settings
from bike_demand.data.ingested import read_rows
from bike_demand.data.month import iso
from bike_demand.release import deploy as delivery
from bike_demand.release.gates import Gate, GateResult
from bike_demand.store.tracking import Tracking
from bike_demand.training import steps
from tests.conftest import Run
from tests.ingested import ingested, rows_of
from tests.predictions import log, model_with_error, rows_between, store_outcomes
from tests.project_copy import git
from tests.registry import current_deployment, put_live, register

passing = Gate("example", "Example", lambda _: GateResult(True, "the reason", {"rows": 3}))


def quiet(_: str) -> None:
    """Nobody reads it here."""


def trained(as_of: str) -> None:
    steps.run(datetime.fromisoformat(as_of), False)


@pytest.mark.slow
def test_trace_restores_training_rows_after_three_releases(copy: Path, run: Run) -> None:
    deploy = partial(delivery.deploy, load_settings(), gates=(passing,))
    trained("2011-03-01")
    deploy("latest", datetime(2011, 3, 1), quiet)
    tracking = Tracking(load_settings())
    taught = rows_of(read_rows(DATA))
    assert taught[-1].begins == datetime(2011, 2, 28)
    first = tracking.version(1)
    requested = rows_between("2011-02-28", "2011-03-01")
    ids = log(requested, (1, model_with_error(10.0)), deployments=(current_deployment(1).id, ""))
    store_outcomes(requested)
    for number, day in ((2, "2011-03-10"), (3, "2011-03-20"), (4, "2011-03-30")):
        trained(day)
        delivery.release(load_settings(), str(number), "a test", None, quiet, gates=(passing,))
    assert tracking.aliases()["champion"] == 4
    shutil.rmtree(copy / "state" / "dvc-cache")  # the rows come from the remote storage then
    before = (git(copy, "status", "--porcelain"), (copy / "dvc.lock").read_bytes(), ingested())

    output = run("trace", ids[7], "--rows")
    assert (output.status, output.err) == (0, "")
    record = tracking.run(first.run_id)
    for fact in (
        ids[7],
        "2011-02-28T00:00:00",
        "m07",
        current_deployment(1).id,
        "no champion to test it against",
        "the reason",
        first.digest,
        first.run_id,
        "max_iter: '100'",
        git(copy, "rev-parse", "HEAD").strip(),
        hashlib.sha256((copy / "requirements.lock").read_bytes()).hexdigest(),
        record.tags["python"],
        iso(taught[-1].begins),
    ):
        assert fact in output.out, fact
    folder = copy / "state" / "traced" / first.run_id
    assert rows_of(read_rows(folder)) == taught
    assert sorted(path.name for path in folder.iterdir()) == ["2011-01.parquet", "2011-02.parquet"]
    assert [path.name for path in folder.parent.iterdir()] == [first.run_id]
    assert (git(copy, "status", "--porcelain"), (copy / "dvc.lock").read_bytes(), ingested()) == before

    again = json.loads(run("trace", ids[7], "--rows", "--json").out)
    assert yaml.safe_load(output.out) == again
    assert again["model"]["version"] == 1
    assert again["model"]["parameters"]["max_iter"] == "100"
    assert again["deployment"]["gates"] == [{"gate": "example", "passed": True, "message": "the reason"}]
    assert again["data"] == {
        "version": record.dataset.digest if record.dataset else None,
        "rows": len(taught),
        "first": "2011-01-01T00:00:00",
        "last": "2011-02-28T00:00:00",
        "folder": f"state/traced/{first.run_id}",
    }
    assert again["prediction"]["outcome"] == requested[7].amount

    shutil.rmtree(copy / "state" / "dvc-cache")
    shutil.rmtree(copy / "state" / "dvc-remote")
    assert "state/data" in run("trace", ids[7], "--rows").refusal()


def test_a_prediction_made_in_a_test_leads_to_its_traffic_split(
    released: Path, run: Run, handoff: Path
) -> None:
    assert released
    register(handoff)
    settings = load_settings()
    Tracking(settings).set_alias("challenger", 2)
    current_deployment(2)  # adopts both aliases
    assert run("ingest").status == 0
    # Each of another day and machine, so that both versions are shown with either randomization unit.
    requested = rows_between("2011-03-01", "2011-03-11")[::25]
    ids = log(requested, (1, model_with_error(10.0)), (2, model_with_error(5.0)))
    ids_of = {json.loads(run("trace", each, "--json").out)["traffic_split"]["variant"]: each for each in ids}
    assert set(ids_of) == {"champion", "challenger"}
    found = json.loads(run("trace", ids_of["challenger"], "--json").out)
    split, deployment = found["traffic_split"], found["deployment"]
    assert (split["other_version"], split["other_role"]) == (1, "champion")
    assert (split["share"], split["salt"]) == (settings.ab.share, settings.ab.salt)
    assert (found["prediction"]["outcome"], deployment) == (None, None)
    other = json.loads(run("trace", ids_of["champion"], "--json").out)["traffic_split"]
    assert (other["other_version"], other["other_role"]) == (2, "challenger")


def test_an_unknown_answer_is_reported_and_makes_no_database(released: Path, run: Run) -> None:
    (released / "state" / "production.db").unlink()
    assert run("trace", "0" * 32).refusal()
    assert not (released / "state" / "production.db").exists()
    assert run("ingest").status == 0
    current_deployment(1)  # adopts the alias, which the fixture set out of band
    (known,) = log(rows_between("2011-03-01", "2011-03-02")[:1], (1, model_with_error(10.0)))
    assert run("trace", known).status == 0
    assert "not found" in run("trace", "0" * 32).refusal()


@pytest.mark.slow
def test_restored_rows_are_exactly_the_training_rows(
    copy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("2011-03-01")
    Tracking(load_settings()).set_alias("champion", 1)
    current_deployment(1)  # adopts it
    taught = rows_of(read_rows(DATA))
    assert run("ingest").status == 0
    assert len(read_rows(DATA)) > len(taught)
    (known,) = log(rows_between("2011-03-01", "2011-03-02")[:1], (1, model_with_error(10.0)))
    assert run("trace", known, "--rows").status == 0
    (folder,) = (copy / "state" / "traced").iterdir()
    assert rows_of(read_rows(folder)) == taught
    monkeypatch.setattr("bike_demand.release.trace.read_labeled_rows", lambda folder: read_rows(folder)[1:])
    assert "were restored, but it was trained on" in run("trace", known, "--rows").refusal()


def test_missing_training_data_is_reported(released: Path, run: Run, handoff: Path) -> None:
    assert run("ingest").status == 0
    version = put_live(handoff)  # not made by a training, so it kept no dvc.lock
    current_deployment(version.number)
    (known,) = log(rows_between("2011-02-01", "2011-02-02")[:1], (version.number, model_with_error(10.0)))
    assert run("trace", known).status == 0
    assert "it has no dvc.lock" in run("trace", known, "--rows").refusal()
    assert list((released / "state" / "traced").iterdir()) == []
