"""Fallback: implausible request values are replaced per row."""

import contextlib
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from bike_demand.core.current import Inputs, Row
from bike_demand.core.settings import QualityRules, load_settings
from bike_demand.data.frames import features_of, row_ids, to_frame
from bike_demand.serving.app import create_app
from bike_demand.serving.fallback import Fallback
from bike_demand.serving.live_models import LiveModels, ModelHolder, SecondModel
from bike_demand.serving.metrics import Metrics
from bike_demand.serving.onnx_model import load_model
from bike_demand.serving.prediction import PredictedBatch, to_log_rows
from bike_demand.serving.telemetry import Recorder
from bike_demand.serving.worker import ServiceWorker
from bike_demand.store import expected_ranges, queries
from bike_demand.store.database import database_at, open_database
from bike_demand.store.tables import ExpectedRange, LoggedPrediction
from bike_demand.store.writer import PredictionLog
from bike_demand.training.train import train
from tests.conftest import ROOT, Run
from tests.corrupted import feed_rows
from tests.echo_model import NOTHING, echo
from tests.ingested import frame
from tests.predictions import log, model_with_error, rows_between
from tests.project_copy import change_params
from tests.registry import put_live
from tests.service import running, serve_in_thread
from tests.toy import EXAMPLE, MACHINES

AS_OF = datetime(2012, 6, 13)
BY_HOUR = [10.0 + hour for hour in range(24)]
KEY_MEANS = {machine: 10.0 + position for position, machine in enumerate(MACHINES)}  # 27 of the example's


def expected_range(field: str, low: float, high: float, means: Mapping[str, float]) -> ExpectedRange:
    """What is expected where these are the means of machines, which are the same at all hours."""
    by_key = {machine: [mean] * 24 for machine, mean in means.items()}
    return ExpectedRange(field, low, high, BY_HOUR, AS_OF, by_key=by_key)


HEAT = expected_range("heat", 0.0, 40.0, KEY_MEANS)
MOISTURE = expected_range(
    "moisture", 0.1, 1.0, {machine: 0.4 + mean / 100 for machine, mean in KEY_MEANS.items()}
)
FAHRENHEIT = EXAMPLE | {"heat": 76.28}  # the 24.6 degrees of the example in Fahrenheit


def fallback(*given: ExpectedRange, rules: QualityRules | None = None, **fields: str) -> Fallback:
    settings = load_settings(ROOT / "params.yaml").serving.fallback
    made = Fallback(settings.model_copy(update={"fields": {**settings.fields, **fields}}), rules)
    made.update_ranges({each.field: each for each in given})
    return made


def send(
    folder: Path, field: str, applied: Fallback, *bodies: Any, second_model: bool = False
) -> tuple[list[Any], list[LoggedPrediction], str]:
    """The predictions of a model that returns this field, the logged predictions, and the metrics."""
    metrics = Metrics()
    address = f"sqlite:///{folder / 'log.db'}"
    kept: PredictionLog[PredictedBatch] = PredictionLog(
        database_at(address), 0.01, 10_000, lambda entries: to_log_rows(entries, metrics.failed)
    )
    model = load_model(echo(folder / "model", field), "1")
    other = SecondModel(load_model(folder / "model", "2"), "second", "challenger", 0.5, "salt", "key")
    holder = ModelHolder()
    holder.live = LiveModels(model, "first", other if second_model else None)
    kept.start()
    app = create_app(holder, recorder=Recorder(metrics, kept), fallback=applied)
    with serve_in_thread(app) as client:
        replies = [client.post("/predict", json=body).json() for body in bodies]
    kept.stop()
    answers = [each for reply in replies for each in (reply if isinstance(reply, list) else [reply])]
    with contextlib.closing(open_database(address)) as database:
        logged = [queries.find_prediction(database, each["id"]) for each in answers]
    return answers, [each for each in logged if each], metrics.text().decode()


def test_implausible_value_is_replaced_by_mean_of_key(tmp_path: Path) -> None:
    answers, logged, text = send(tmp_path, "heat", fallback(HEAT, MOISTURE), FAHRENHEIT)
    assert answers[0]["prediction"] == 27.0
    assert answers[0]["replaced"] == ["heat"]
    assert (logged[0].inputs["heat"], logged[0].replaced) == (
        76.28,
        {"heat": 27.0},
    )  # the input as sent is kept
    assert 'bike_demand_inputs_replaced_total{field="heat"} 1.0' in text


def test_unexpected_null_is_replaced(tmp_path: Path) -> None:
    dry = EXAMPLE | {"moisture": None}
    answers, logged, _ = send(tmp_path, "moisture", fallback(HEAT, MOISTURE), dry)
    assert answers[0]["prediction"] == pytest.approx(0.67)
    assert (logged[0].inputs["moisture"], logged[0].replaced) == (None, {"moisture": 0.67})


def test_nulls_and_texts_that_quality_accepts_are_left_alone() -> None:
    accepted = {"nulls": {"allowed": ["moisture"]}, "texts": {"known": {"material": ["oak"]}}}
    materials = ExpectedRange("material", 0.0, 0.0, [0.0] * 24, AS_OF, ["steel"])
    applied = fallback(MOISTURE, materials, rules=QualityRules.model_validate(accepted))
    rows = [Inputs(**EXAMPLE | {"begins": AS_OF, "moisture": None, "material": "oak"})]
    assert applied.apply(rows) == (rows, None)
    rows = [Inputs(**EXAMPLE | {"begins": AS_OF, "moisture": 0.01, "material": "stahl"})]
    assert applied.apply(rows)[1] == [{"moisture": 0.67, "material": "steel"}]


def test_field_that_is_often_null_has_no_range(tmp_path: Path) -> None:
    answers, logged, _ = send(tmp_path, "moisture", fallback(HEAT), EXAMPLE | {"moisture": None})
    assert answers[0]["prediction"] == NOTHING
    assert "replaced" not in answers[0]
    assert logged[0].replaced is None


def test_replacement_is_per_row(tmp_path: Path) -> None:
    answers, logged, text = send(
        tmp_path, "heat", fallback(HEAT), [EXAMPLE, FAHRENHEIT, EXAMPLE], FAHRENHEIT, EXAMPLE
    )
    assert [each["prediction"] for each in answers] == [24.6, 27.0, 24.6, 27.0, 24.6]
    assert ["replaced" in each for each in answers] == [False, True, False, True, False]
    assert [each.inputs["heat"] for each in logged] == [24.6, 76.28, 24.6, 76.28, 24.6]
    assert 'bike_demand_inputs_replaced_total{field="heat"} 2.0' in text


def test_champion_and_challenger_get_the_same_row(tmp_path: Path) -> None:
    rows = [FAHRENHEIT | {"machine": machine} for machine in MACHINES]
    answers, logged, _ = send(tmp_path, "heat", fallback(HEAT), rows, second_model=True)
    assert {each["variant"] for each in answers} == {"champion", "challenger"}
    assert [each["prediction"] for each in answers] == list(KEY_MEANS.values())
    assert [each.other_prediction for each in logged] == list(KEY_MEANS.values())


def test_none_disables_fallback(tmp_path: Path) -> None:
    answers, logged, _ = send(tmp_path, "heat", fallback(HEAT, heat="none"), FAHRENHEIT)
    assert answers[0]["prediction"] == pytest.approx(76.28)
    assert logged[0].replaced is None


def test_key_without_means_uses_hourly_mean() -> None:
    at = AS_OF + timedelta(hours=17)
    rows: Any = [Inputs.model_construct(**EXAMPLE | {"begins": at, "machine": "m99", "heat": 76.28})]
    _, replaced = fallback(HEAT).apply(rows)
    assert replaced == [{"heat": 27.0}]


@pytest.mark.parametrize("days", [-46, 46])
def test_range_does_not_apply_far_from_its_computation(tmp_path: Path, days: int) -> None:
    there = datetime.fromisoformat(FAHRENHEIT["begins"]) + timedelta(days=days)
    answers, _, _ = send(tmp_path, "heat", fallback(HEAT), FAHRENHEIT | {"begins": there.isoformat()})
    assert answers[0]["prediction"] == pytest.approx(76.28)


@pytest.mark.slow
def test_service_applies_newly_published_ranges(stored: Path) -> None:
    change_params(stored, poll_seconds="0.1")
    put_live(echo(Path("made"), "heat"))
    address = load_settings().environments.production.database
    with running(stored) as service, contextlib.closing(open_database(address)) as database:
        assert service.client.post("/predict", json=FAHRENHEIT).json()["prediction"] == pytest.approx(76.28)
        expected_ranges.publish_ranges(database, [HEAT])
        until = time.monotonic() + 30
        while service.client.post("/predict", json=FAHRENHEIT).json()["prediction"] != 27.0:
            assert time.monotonic() < until
            time.sleep(0.02)
    with running(stored) as service:
        first = service.client.post("/predict", json=FAHRENHEIT).json()
    assert (first["prediction"], first["replaced"]) == (27.0, ["heat"])


@pytest.mark.slow
def test_get_model_refreshes_ranges(stored: Path) -> None:
    change_params(stored, poll_seconds="3600")  # it would not look again by itself
    put_live(echo(Path("made"), "heat"))
    address = load_settings().environments.production.database
    with running(stored) as service, contextlib.closing(open_database(address)) as database:
        assert service.client.post("/predict", json=FAHRENHEIT).json()["prediction"] == pytest.approx(76.28)
        expected_ranges.publish_ranges(database, [HEAT])
        service.client.get("/model")
        assert service.client.post("/predict", json=FAHRENHEIT).json()["prediction"] == 27.0


def test_unknown_fallback_is_rejected(project: Path, run: Run) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "fields: {}" in text
    params.write_text(text.replace("fields: {}", "fields: {moisture: guess}"), encoding="utf-8")
    assert "serving.fallback.fields.moisture" in run("ingest").refusal()


def test_ranges_are_loaded_before_serving(stored: Path) -> None:
    assert stored
    settings = load_settings()
    with contextlib.closing(open_database(settings.environments.production.database)) as database:
        expected_ranges.publish_ranges(database, [HEAT])
    worker = ServiceWorker(settings, "production")
    worker.start()
    try:
        _, replaced = worker.fallback.apply([Inputs.model_validate_json(json.dumps(FAHRENHEIT))])
        assert replaced == [{"heat": 27.0}]
    finally:
        worker.stop()


def test_trace_shows_inputs_as_sent_and_as_replaced(released: Path, run: Run) -> None:
    assert released
    assert run("ingest").status == 0
    first, second = log(rows_between("2011-03-01", "2011-03-02")[:2], (1, model_with_error(10.0)))
    address = load_settings().environments.production.database
    with contextlib.closing(open_database(address)) as database, database.writing() as connection:
        connection.execute(
            update(LoggedPrediction).where(LoggedPrediction.id == first).values(replaced={"heat": 27.5})
        )
    assert "27.5" in run("trace", first).out
    assert "27.5" not in run("trace", second).out


def rows_by_heat() -> list[Row]:
    """Ten weeks of rows whose amount follows the machine and the heat."""
    rng = random.Random(0)
    rows = []
    for number in range(24 * 70):
        day, position = divmod(number, 24)
        at = datetime(2012, 3, 1) + timedelta(days=day)
        heat = 8 + number / 140 + 6 * math.sin((position - 9) / 24 * math.tau) + rng.gauss(0, 2)
        mean = (20 + 120 * math.exp(-(((position - 17) / 4) ** 2))) * math.exp((heat - 12) / 20)
        values: dict[str, Any] = {"begins": at, "machine": MACHINES[position], "special": False}
        values |= {
            "attended": int(at.weekday() < 5),
            "grade": 1,
            "heat": round(heat, 2),
            "core_heat": round(heat - 1, 2),
        }
        values |= {
            "moisture": 0.6,
            "speed": 10.0,
            "material": "steel",
            "amount": max(0, round(rng.gauss(mean, mean**0.5))),
        }
        rows.append(Row(**values))
    return rows


def test_fallback_limits_error_of_fahrenheit_faults() -> None:
    settings = load_settings(ROOT / "params.yaml")
    rows = rows_by_heat()
    past, during = rows[: -24 * 10], rows[-24 * 10 :]
    pipeline = train(frame(past), settings.training).pipeline
    applied = Fallback(settings.serving.fallback)
    found = expected_ranges.compute_ranges(frame(past), {}, during[0].begins, settings.monitoring.ranges)
    applied.update_ranges({each.field: each for each in found})

    def error(given: Sequence[Inputs]) -> float:
        truth = np.array([row.amount for row in during])
        return float(np.abs(pipeline.predict(features_of(to_frame(given))) - truth).mean())

    fahrenheit = [
        row.model_copy(update={name: getattr(row, name) * 9 / 5 + 32 for name in ("heat", "core_heat")})
        for row in during
    ]
    normally = error(during)
    used, replaced = applied.apply(fahrenheit)
    assert replaced is not None
    assert all(replaced)
    assert error(used) < 1.5 * normally
    assert error(fahrenheit) > 1.5 * normally  # so the fallback is what keeps it
    good, nothing = applied.apply(during)
    assert (good, nothing) == (during, None)  # and good rows are left alone


# ---- by key


def test_typical_values_of_a_small_field_are_not_rounded_away() -> None:
    rows = frame(rows_by_heat())
    rows["heat"] = 2e-5
    settings = load_settings(ROOT / "params.yaml").monitoring.ranges
    (heat,) = [
        each for each in expected_ranges.compute_ranges(rows, {}, AS_OF, settings) if each.field == "heat"
    ]
    assert heat.by_hour == pytest.approx([2e-5] * 24)


def test_ranges_by_key_need_enough_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = frame(rows_by_heat())
    rows["heat"] += np.where(rows["machine"] == "m02", 60.0, 0.0)
    rows.loc[rows.index[-1], "machine"] = "m99"  # just added
    settings = load_settings(ROOT / "params.yaml").monitoring.ranges
    found = {each.field: each for each in expected_ranges.compute_ranges(rows, {}, AS_OF, settings)}
    heat = found["heat"]
    assert heat.by_key is not None
    assert sorted(heat.by_key) == list(MACHINES)
    requests: Any = [
        Inputs(**{**EXAMPLE, "begins": AS_OF, "machine": machine, "heat": 149.0})
        for machine in ("m01", "m02", "m99")
    ]
    used, _ = fallback(heat).apply(requests)
    first, second, third = (each.heat for each in used)
    assert 50 < second - first < 70
    assert first < third < second  # as nothing is known of it, what all have

    monkeypatch.setattr(expected_ranges, "MAX_KEYS", 1)
    shared = {each.field: each for each in expected_ranges.compute_ranges(rows, {}, AS_OF, settings)}
    assert shared["heat"].by_key is None


# ---- texts


def test_unseen_text_becomes_the_most_frequent_one() -> None:
    materials = ExpectedRange("material", 0.0, 0.0, [0.0] * 24, AS_OF, ["steel", "brass"])
    rows: Any = [
        Inputs.model_construct(begins=AS_OF, machine="m17", material=each)
        for each in ("brass", "stahl", None)
    ]
    used, replaced = fallback(materials).apply(rows)
    assert [each.material for each in used] == ["brass", "steel", None]
    assert replaced == [None, {"material": "steel"}, None]
    assert fallback(materials, material="none").apply(rows) == (rows, None)


def test_texts_of_good_rows_are_expected_most_frequent_first() -> None:
    rows = frame(feed_rows())
    rows["material"] = [("brass", "steel", "steel", "stahl")[at % 4] for at in range(len(rows))]
    bad = {"material": set(row_ids(rows[rows["material"] == "stahl"]))}
    settings = load_settings(ROOT / "params.yaml").monitoring.ranges
    found = {each.field: each for each in expected_ranges.compute_ranges(rows, bad, AS_OF, settings)}
    assert found["material"].texts == ["steel", "brass"]
    names = rows.assign(material=[f"material {at}" for at in range(len(rows))])
    assert "material" not in {
        each.field for each in expected_ranges.compute_ranges(names, {}, AS_OF, settings)
    }
