"""Two models in one service: which prediction is shown and logged; the second model never does harm."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bike_demand.core.current import ID_COLUMNS, OUTCOME_EXAMPLE, Inputs
from bike_demand.core.settings import load_settings
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import LiveModels, ModelHolder, Role, SecondModel
from bike_demand.serving.metrics import Metrics
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.serving.prediction import PredictedBatch, assign_variant, log_failure, to_log_rows
from bike_demand.serving.telemetry import Recorder
from bike_demand.store import queries
from bike_demand.store.database import database_at, open_database
from bike_demand.store.tables import LoggedPrediction
from bike_demand.store.tracking import Tracking
from bike_demand.store.writer import PredictionLog
from tests.registry import put_live, register
from tests.service import serve_in_thread
from tests.test_live_models import Service, problems, spoil
from tests.tiny import constant
from tests.toy import EXAMPLE, rows_of_day

ROWS = [*rows_of_day("2012-06-13"), *rows_of_day("2012-06-14")]


class Broken:
    """A model that loads, but fails to predict."""

    def __init__(self, model: OnnxModel, answers: float | None = None) -> None:
        self._answers = answers
        self.manifest, self.digest, self.version = model.manifest, model.digest, model.version

    def predict(self, rows: Sequence[Inputs]) -> list[float]:
        if self._answers is None:
            raise RuntimeError("broken")
        return [self._answers] * len(rows)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxModel, OnnxModel]:
    """Version 1 answers 1, version 2 answers 2."""
    folder = tmp_path_factory.mktemp("models")
    first, second = (load_model(constant(folder / str(each), float(each)), str(each)) for each in (1, 2))
    return first, second


def live_of(models: tuple[OnnxModel, Any], role: Role, share: float = 0.0) -> LiveModels:
    return LiveModels(models[0], "first", SecondModel(models[1], "second", role, share, "salt", "key"))


def send(live: LiveModels, folder: Path, *bodies: Any) -> tuple[list[Any], list[LoggedPrediction], str]:
    """What the application answers, what then stands in the prediction log, and its metrics."""
    metrics = Metrics()
    address = f"sqlite:///{folder / 'log.db'}"
    log: PredictionLog[PredictedBatch] = PredictionLog(
        database_at(address), 0.01, 10_000, lambda entries: to_log_rows(entries, metrics.failed)
    )
    holder = ModelHolder()
    holder.live = live
    log.start()
    with serve_in_thread(create_app(holder, recorder=Recorder(metrics, log))) as client:
        replies = [client.post("/predict", json=body).json() for body in bodies]
    log.stop()
    answers = [each for reply in replies for each in (reply if isinstance(reply, list) else [reply])]
    with contextlib.closing(open_database(address)) as database:
        logged = [queries.find_prediction(database, each["id"]) for each in answers]
    assert all(logged)
    return answers, [each for each in logged if each], metrics.text().decode()


def test_assigned_variant_is_served_and_both_logged(
    models: tuple[OnnxModel, OnnxModel], tmp_path: Path
) -> None:
    answers, logged, text = send(live_of(models, "challenger", 0.5), tmp_path, ROWS)
    shown = [each["variant"] for each in answers]
    assert shown == [assign_variant(each.key, 0.5, "salt") for each in logged]
    assert set(shown) == {"champion", "challenger"}
    for answer, row in zip(answers, logged, strict=True):
        assert (answer["prediction"], answer["model_version"]) == (float(row.version), str(row.version))
        assert row.prediction == answer["prediction"]
        if answer["variant"] == "champion":
            assert (row.version, row.deployment) == (1, "first")
            assert (row.other_version, row.other_prediction, row.other_role) == (2, 2.0, "challenger")
        else:
            assert (row.version, row.deployment) == (2, "second")
            assert (row.other_version, row.other_prediction, row.other_role) == (1, 1.0, "champion")
    for version, who in ((1, "champion"), (2, "challenger")):
        count = shown.count(who)
        assert f'bike_demand_predictions_total{{variant="{who}",version="{version}"}} {count}.0' in text


def test_randomizing_by_time_assigns_all_keys_alike(
    models: tuple[OnnxModel, OnnxModel], tmp_path: Path
) -> None:
    live = live_of(models, "challenger", 0.5)
    assert live.other is not None
    live = replace(live, other=replace(live.other, randomize_by="time"))
    rows = [row for number in range(9) for row in rows_of_day(f"2012-06-1{number}")]
    _, logged, _ = send(live, tmp_path, rows)
    shown = {(each.event_time, each.variant) for each in logged}
    assert shown == {(each, assign_variant(each, 0.5, "salt")) for each, _ in shown}
    assert len(shown) == 9
    assert len({who for _, who in shown}) == 2


def test_assignment_is_the_same_in_lists_and_repeats(
    models: tuple[OnnxModel, OnnxModel], tmp_path: Path
) -> None:
    answers, _, _ = send(live_of(models, "challenger", 0.5), tmp_path, ROWS, *ROWS, ROWS)
    count = len(ROWS)
    shown = [(each["begins"], each["machine"], each["variant"]) for each in answers]
    assert shown[:count] == shown[count : 2 * count] == shown[2 * count :]


@pytest.mark.parametrize("role", ["shadow", "previous"])
def test_shadow_and_previous_predict_but_are_never_shown(
    models: tuple[OnnxModel, OnnxModel], tmp_path: Path, role: Role
) -> None:
    answers, logged, _ = send(live_of(models, role), tmp_path, ROWS, ROWS[0])
    assert {(each["variant"], each["model_version"]) for each in answers} == {("champion", "1")}
    assert {(each.other_version, each.other_prediction, each.other_role) for each in logged} == {
        (2, 2.0, role)
    }


@pytest.mark.parametrize("answers_with", [None, float("nan")])
@pytest.mark.parametrize("body", [ROWS, ROWS[0], ROWS[3]])
def test_a_challenger_that_fails_when_asked_does_not_harm_the_answer(
    models: tuple[OnnxModel, OnnxModel], tmp_path: Path, answers_with: float | None, body: Any
) -> None:
    broken = Broken(models[1], answers_with)
    answers, logged, text = send(live_of((models[0], broken), "challenger", 0.5), tmp_path, body)
    assert {(each["prediction"], each["variant"], each["model_version"]) for each in answers} == {
        (1.0, "champion", "1")
    }
    assert {(each.version, each.other_version, each.other_prediction) for each in logged} == {(1, 2, None)}
    assert 'bike_demand_model_failures_total{version="2"}' in text


def test_a_live_model_that_gives_no_number_is_reported_and_not_logged(
    models: tuple[OnnxModel, OnnxModel], caplog: pytest.LogCaptureFixture
) -> None:
    log_failure.cache_clear()
    holder = ModelHolder()
    holder.live = LiveModels(Broken(models[0], float("nan")))  # type: ignore[arg-type]
    with serve_in_thread(create_app(holder)) as client:
        client.post("/predict", json=EXAMPLE)
        response = client.post("/predict", json=EXAMPLE)
    assert response.status_code == 500
    assert "version 1 returned NaN or infinity" in response.json()["detail"]
    (record,) = [each for each in caplog.records if each.getMessage() == "prediction_failed"]
    assert response.json()["detail"] in record.__dict__["detail"]


def test_model_route_names_both_versions(models: tuple[OnnxModel, OnnxModel]) -> None:
    holder = ModelHolder()
    holder.live = live_of(models, "challenger", 0.25)
    with serve_in_thread(create_app(holder)) as client:
        about = client.get("/model").json()
    assert (about["version"], about["deployment"]) == ("1", "first")
    assert about["other"] == {
        "version": "2",
        "digest": models[1].digest,
        "deployment": "second",
        "role": "challenger",
        "share": 0.25,
    }


# ---- following the registry


@pytest.fixture
def service(stored: Path) -> Service:
    assert stored
    put_live(constant(Path("made") / "1", 1.0))
    return Service()


def begin_test(answer: float, share: float = 0.5, mode: str = "ab") -> int:
    """Register a model and deploy it next to the champion; returns its number."""
    tracking = Tracking(load_settings())
    version = register(constant(Path("made") / str(answer), answer), tracking=tracking)
    ab = {"mode": mode, "share": share, "salt": "salt", "began": "2012-01-01T00:00:00"}
    tracking.set_alias("challenger", version.number, {"deployment": "second", "ab": json.dumps(ab)})
    return version.number


def test_a_challenger_joins_and_is_promoted_and_the_previous_version_stays_loaded(service: Service) -> None:
    service.poll()
    live = service.holder.live
    assert live is not None
    assert live.other is None
    begin_test(2.0, share=0.3)
    service.poll()
    tested = service.holder.live
    assert tested is not None
    assert tested.other is not None
    assert (tested.model, tested.other.role, tested.other.share, tested.other.deployment) == (
        live.model,
        "challenger",
        0.3,
        "second",
    )
    tracking = Tracking(load_settings())
    tracking.set_alias("previous", 1)
    tracking.set_alias("champion", 2, {"deployment": "third"})
    service.poll()
    promoted = service.holder.live
    assert promoted is not None
    assert promoted.other is not None
    assert promoted.model is tested.other.model  # loaded already, so not again
    assert (promoted.deployment, promoted.other.role, promoted.other.share) == ("third", "previous", 0.0)
    assert promoted.other.model is live.model


def test_prediction_is_stored_before_its_outcome(models: tuple[OnnxModel, OnnxModel], tmp_path: Path) -> None:
    database = database_at(f"sqlite:///{tmp_path / 'log.db'}")
    metrics = Metrics()
    log: PredictionLog[PredictedBatch] = PredictionLog(
        database, 60.0, 10_000, lambda entries: to_log_rows(entries, metrics.failed)
    )
    holder = ModelHolder()
    holder.live = live_of(models, "challenger", 0.5)
    log.start()
    app = create_app(holder, recorder=Recorder(metrics, log), database=database)
    with serve_in_thread(app) as client:
        for row in ROWS[:3]:
            made = client.post("/predict", json=row).json()
            reported = client.post(
                "/outcomes", json=[OUTCOME_EXAMPLE | {name: row[name] for name in ID_COLUMNS}]
            )
            assert reported.status_code == 200
            assert queries.find_prediction(database, made["id"]) is not None
    log.stop()


def test_a_shadow_is_never_shown_whatever_its_share(service: Service) -> None:
    begin_test(2.0, share=0.9, mode="shadow")
    service.poll()
    assert service.holder.live is not None
    assert service.holder.live.other is not None
    assert (service.holder.live.other.role, service.holder.live.other.share) == ("shadow", 0.0)


@pytest.mark.slow
def test_a_challenger_that_cannot_be_loaded_never_answers_and_the_champion_goes_on(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.poll()
    number = begin_test(2.0)
    spoil(Tracking(load_settings()).version(number).run_id)
    service.poll()
    service.poll()
    assert service.version == "1"
    assert service.holder.live is not None
    assert service.holder.live.other is None
    ((problem, serving),) = problems(caplog)
    assert "challenger" in problem
    assert serving == "1"
    begin_test(3.0)
    service.poll()
    assert service.holder.error is None
    assert service.holder.live.other is not None


def test_live_models_are_immutable(models: tuple[OnnxModel, OnnxModel]) -> None:
    holder = ModelHolder()
    holder.live = live_of(models, "challenger", 0.5)
    first = holder.live
    holder.live = replace(first, other=None)
    assert first.other is not None  # what a request took before does not change under it
    with pytest.raises(AttributeError):
        first.other = None  # type: ignore[misc]


def test_both_models_get_the_same_inputs(handoff: Path, tmp_path: Path) -> None:
    model = load_model(handoff, "1")
    same = load_model(handoff, "2")
    _, logged, _ = send(live_of((model, same), "challenger", 0.5), tmp_path, ROWS, *ROWS[:5])
    assert [each.prediction for each in logged] == [each.other_prediction for each in logged]
