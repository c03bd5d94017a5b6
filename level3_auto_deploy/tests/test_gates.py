"""Each gate lets a good version pass, and stops something bad that no other gate would."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import psutil
import pytest
from onnx import helper

from bike_demand.__main__ import main
from bike_demand.core.current import TIME, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA, load_settings
from bike_demand.data.frames import time_range
from bike_demand.data.ingested import read_rows
from bike_demand.data.model_inputs import NUMERIC_FEATURES, TENSOR_NAME
from bike_demand.handoff import MODEL_FILE, OUTPUT_NAME, read_handoff, write_handoff
from bike_demand.release import measure
from bike_demand.release.gates import GATES, GateContext, GateResult
from bike_demand.release.gates.comparison import lower_bound
from bike_demand.release.gates.processes import compare_cost
from bike_demand.release.rollback import roll_back_champion
from bike_demand.serving.app import create_app
from bike_demand.serving.keys import make_key
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.store.database import database_at
from bike_demand.store.deployments import open_deployments
from bike_demand.store.tables import Deployment, State
from bike_demand.store.tracking import MODEL_NAME, Tracking, Version
from tests.conftest import project_in
from tests.registry import copy_state, deploy_without_gates, register
from tests.service import serve_in_thread
from tests.tiny import constant, hand_over

HOLDOUT_LAST = (
    "2011-03-24T00:00:00"  # what the trained holdout model learned from; the feed ends a week later
)
NOON = datetime(2011, 4, 1, 12)
JUDGES = {gate.id: gate.judge for gate in GATES}

Rewrite = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="session")
def registered_template(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, handoffs: tuple[Path, Path]
) -> Path:
    folder = tmp_path_factory.mktemp("registered")
    with project_in(folder, empty_store):
        assert main(["ingest"]) == 0
        for _ in range(2):
            register(*handoffs, holdout_last=HOLDOUT_LAST)
        deploy_without_gates(1)
    return folder


@pytest.fixture
def case(project: Path, registered_template: Path, tmp_path: Path) -> GateContext:
    """Version 2, a trained one, and version 1, the same model, which is live."""
    copy_state(registered_template, project)
    tracking = Tracking(load_settings())
    return GateContext(
        load_settings(),
        tracking,
        tracking.version(2),
        tracking.version(1),
        read_rows(DATA),
        tmp_path / "scratch",
    )


def run_gate(gate: str, case: GateContext, version: Version | None = None) -> GateResult:
    """What the gate finds of the version, else of the case's own."""
    return JUDGES[gate](replace(case, version=version or case.version))


def failure_message(gate: str, case: GateContext, version: Version | None = None) -> str:
    """Why the gate stops the version. Fails where it lets it pass."""
    try:
        finding = run_gate(gate, case, version)
    except UserError as error:
        return str(error)
    assert not finding.passed, finding
    return finding.summary


def register_like(case: GateContext) -> Version:
    """Register the model of the case's version once more."""
    with case.tracking.client() as client:
        known = client.get_model_version(MODEL_NAME, str(case.version.number))
        made = client.create_model_version(MODEL_NAME, known.source or "", known.run_id, tags=known.tags)
    return case.tracking.version(int(made.version))


def rewritten(source: Path, target: Path, change: Rewrite) -> Path:
    """A hand-off of its own, whose model was changed."""
    model = onnx.load(source / MODEL_FILE)
    change(model)
    return hand_over(target, model.SerializeToString())


def with_columns(*order: str) -> Rewrite:
    """The model gets its columns in another order than it learned them in."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["mixed" if name == TENSOR_NAME else name for name in node.input]
        places = [NUMERIC_FEATURES.index(name) for name in order]
        model.graph.initializer.append(
            helper.make_tensor("places", onnx.TensorProto.INT64, [len(places)], places)
        )
        model.graph.node.insert(0, helper.make_node("Gather", [TENSOR_NAME, "places"], ["mixed"], axis=1))

    return change


def times(factor: float) -> Rewrite:
    """The model predicts so many times as much."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["before" if name == OUTPUT_NAME else name for name in node.output]
        model.graph.initializer.append(helper.make_tensor("factor", onnx.TensorProto.FLOAT, [1], [factor]))
        model.graph.node.append(helper.make_node("Mul", ["before", "factor"], [OUTPUT_NAME]))

    return change


def test_a_version_as_good_as_the_live_one_passes_and_so_does_the_first_of_all(case: GateContext) -> None:
    for gate in sorted(set(JUDGES) - {"test-environment"}):
        for each in (case, replace(case, champion=None)):
            finding = run_gate(gate, each)
            assert finding.passed, finding
            json.dumps(finding.evidence, allow_nan=False)


def test_a_version_that_was_rolled_back_is_stopped(case: GateContext) -> None:
    failed = Deployment(
        2, "r", case.version.digest, "", NOON, NOON, state=State.ROLLED_BACK, reason="dark red"
    )
    output = failure_message("blocked", replace(case, failed=failed))
    assert output.startswith("it was live and was rolled back: dark red; train with newer data")


@pytest.mark.parametrize(
    ("state", "became"), [(State.FAILED_TEST, "rejected"), (State.ROLLED_BACK, "rolled back")]
)
def test_same_model_as_failed_version_is_refused(case: GateContext, state: State, became: str) -> None:
    deploy_without_gates(2, State.TESTING, *([state] if state is State.FAILED_TEST else [State.LIVE]))
    with open_deployments(load_settings(), NOON, print) as deployments:
        if state is State.ROLLED_BACK:
            roll_back_champion(deployments, "nonsense")
        version = register_like(case)
        failed = deployments.blocking_failure(version)
        again = deployments.blocking_failure(case.version)
    output = failure_message("blocked", replace(case, version=version, failed=failed))
    assert f"same model as version 2, which was {became}" in output
    # By its own number a rejected one may be tried again, by somebody who knows why.
    assert (again is None) == (state is State.FAILED_TEST)


# ---- the file


def kept(case: GateContext, name: str) -> Path:
    """Where the run of the case's version keeps a file."""
    (path,) = Path("state").glob(f"artifacts/*/{case.version.run_id}/artifacts/{name}")
    return path


def test_a_file_that_was_damaged_is_stopped(case: GateContext) -> None:
    path = kept(case, "handoff/model.onnx")
    path.write_bytes(path.read_bytes()[:-1])
    assert "checksum mismatch" in failure_message("artifact", case)


def test_a_whole_hand_off_of_another_model_in_its_place_is_stopped(case: GateContext) -> None:
    constant(Path("other"), 50.0)
    shutil.copytree("other", kept(case, "handoff"), dirs_exist_ok=True)
    assert "is registered, but its run has" in failure_message("artifact", case)


def test_a_version_whose_files_are_gone_is_stopped(case: GateContext) -> None:
    shutil.rmtree(kept(case, "handoff"))
    assert "it has no handoff" in failure_message("artifact", case)


# ---- golden rows


def test_a_model_that_predicts_otherwise_than_when_it_was_trained_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(handoffs[0], tmp_path / "other")
    golden = json.loads((folder / "golden.json").read_bytes())
    golden[0]["prediction"] *= 1.01
    rewrite(folder, "golden.json", golden)
    version = register(folder, handoffs[1], tracking=case.tracking, holdout_last=HOLDOUT_LAST)
    assert "1 of 47 golden rows are predicted differently" in failure_message("golden", case, version)
    assert run_gate("artifact", case, version).passed


def test_a_model_that_cannot_be_loaded_is_stopped(case: GateContext) -> None:
    golden = read_handoff(kept(case, "handoff")).golden
    write_handoff(kept(case, "handoff"), b"no model at all", golden)
    assert "ONNX Runtime cannot load it" in failure_message("golden", case)


# ---- schema


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [("heat", "unit", "degrees F"), ("moisture", "nullable", False), ("prediction", "unit", "pieces a day")],
)
def test_a_model_of_another_schema_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path, part: str, field: str, value: object
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(handoffs[0], folder)
    manifest = json.loads((folder / "model.json").read_bytes())
    (changed,) = (each for each in (*manifest["inputs"], manifest["output"]) if each["name"] == part)
    before = changed[field]
    changed[field] = value
    rewrite(folder, "model.json", manifest)
    version = register(folder, handoffs[1], tracking=case.tracking, holdout_last=HOLDOUT_LAST)
    assert failure_message("schema", case, version) == (
        f"{part}: {field} is {value!r} for the model, but {before!r} for the service"
    )
    for gate in ("artifact", "golden"):
        assert run_gate(gate, case, version).passed


def test_a_model_that_needs_what_the_application_lacks_is_stopped_before_it_is_loaded(
    case: GateContext,
) -> None:
    folder = kept(case, "handoff")
    manifest = json.loads((folder / "model.json").read_bytes())
    manifest["inputs"][-1]["name"] = "noise"
    rewrite(folder, "model.json", manifest)
    output = failure_message("schema", case)
    assert "the model uses the feature noise, which this application does not compute" in output
    assert run_gate("artifact", case).passed
    ids = [gate.id for gate in GATES]
    assert ids.index("schema") < ids.index("golden")


def rewrite(folder: Path, name: str, content: object) -> None:
    """Write a file of a hand-off anew, with its checksum."""
    path, sums = folder / name, folder / "SHA256SUMS"
    path.write_text(json.dumps(content), encoding="utf-8")
    lines = [line for line in sums.read_text(encoding="ascii").splitlines() if not line.endswith(name)]
    lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}")
    sums.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")


# ---- the test environment


@contextmanager
def answering(case: GateContext, folder: Path, version: str, seconds: float = 20) -> Iterator[GateContext]:
    """The case where a service of the test environment runs already, with that model under that version."""
    database = database_at(f"sqlite:///{(case.scratch.parent / 'test.db').as_posix()}")
    with serve_in_thread(create_app(ModelHolder(load_model(folder, version)), database=database)) as client:
        environments = case.settings.environments
        test = environments.test.model_copy(update={"url": str(client.base_url)})
        settings = case.settings.model_copy(
            update={
                "environments": environments.model_copy(update={"test": test}),
                "deploy": case.settings.deploy.model_copy(update={"start_seconds": seconds}),
            }
        )
        yield replace(case, settings=settings)


def test_a_version_that_works_in_the_service_of_the_test_environment_passes(
    case: GateContext, handoffs: tuple[Path, Path]
) -> None:
    with answering(case, handoffs[0], "2") as running:
        finding = run_gate("test-environment", running)
    assert finding.passed, finding
    assert finding.summary == "7 checks over HTTP"
    assert case.tracking.aliases() == {"champion": 1, "candidate": 2}


def test_a_version_that_does_not_know_small_from_large_is_stopped_in_the_test_environment(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = constant(tmp_path / "ninety", 90.0)
    version = register(folder, handoffs[1], tracking=case.tracking, holdout_last=HOLDOUT_LAST)
    with answering(case, folder, "3") as running:
        output = failure_message("test-environment", running, version)
    assert output == "Small machines make few pieces. 90.0 pieces by m03, 90.0 by m13 and 90.0 by m17"
    assert case.tracking.aliases() == {"champion": 1, "candidate": 3}


def test_a_version_that_the_service_does_not_take_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path]
) -> None:
    with answering(case, handoffs[0], "1", seconds=0.3) as running:
        output = failure_message("test-environment", running)
    assert output.startswith("the test environment does not serve the version: http://127.0.0.1:")
    assert output.endswith(": it serves version 1")


def test_a_version_whose_service_fails_on_requests_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = OnnxModel.predict

    def fail_in_service(model: OnnxModel, rows: Sequence[Inputs]) -> list[float]:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("no memory")
        return predict(model, rows)

    monkeypatch.setattr(OnnxModel, "predict", fail_in_service)
    with answering(case, handoffs[0], "2") as running:
        output = failure_message("test-environment", running)
    assert output.startswith("the test environment does not serve the version: JSONDecodeError: ")


def test_gate_bypasses_network_proxy(
    case: GateContext, handoffs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(case, handoffs[0], "2") as running:
        assert run_gate("test-environment", running).passed


def test_where_no_service_answers_the_version_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path]
) -> None:
    with answering(case, handoffs[0], "2", seconds=0.3) as running:
        pass
    assert "the test environment does not serve the version" in failure_message("test-environment", running)


@pytest.mark.slow
@pytest.mark.parametrize("bad", [None, "not a database"])
def test_without_a_service_one_is_started_for_the_test_and_ends_with_it(
    case: GateContext, monkeypatch: pytest.MonkeyPatch, bad: str | None
) -> None:
    make_key(Path(case.settings.serving.keys), "somebody", "client")  # whose key this gate does not know
    if bad is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", bad)
        output = failure_message("test-environment", case)
        assert output.startswith("the test environment does not serve the version: tracking.uri")
    else:
        finding = run_gate("test-environment", case)
        assert finding.passed, finding
    assert [child.name() for child in psutil.Process().children() if "python" in child.name()] == []


# ---- what it costs


@pytest.mark.slow
def test_a_model_that_takes_longer_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    def slow(model: onnx.ModelProto) -> None:
        """Multiplies large matrices on the way, to no effect."""
        size = 300
        noise = np.random.default_rng(0).random((size, size), dtype=np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(noise, "noise"))
        for node in model.graph.node:
            node.input[:] = ["late" if name == TENSOR_NAME else name for name in node.input]
        zero = helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [0.0])
        column = helper.make_tensor("column", onnx.TensorProto.INT64, [1], [0])
        axis = helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [0])
        model.graph.initializer.extend([zero, column, axis])
        steps = [
            helper.make_node("Gather", [TENSOR_NAME, "column"], ["position"], axis=1),
            helper.make_node("ReduceSum", ["position", "axis"], ["some"], keepdims=1),
            helper.make_node("Mul", ["noise", "some"], ["varied"]),
            helper.make_node("MatMul", ["varied", "noise"], ["product"]),
            helper.make_node("ReduceSum", ["product"], ["total"], keepdims=0),
            helper.make_node("Mul", ["total", "zero"], ["nothing"]),
            helper.make_node("Add", [TENSOR_NAME, "nothing"], ["late"]),
        ]
        for number, step in enumerate(steps):
            model.graph.node.insert(number, step)

    version = register(
        rewritten(handoffs[0], tmp_path / "slow", slow),
        handoffs[1],
        tracking=case.tracking,
        holdout_last=HOLDOUT_LAST,
    )
    assert "microseconds per row (champion" in failure_message("cost", case, version)
    assert run_gate("error", case, version).passed


def test_machine_load_does_not_change_latency_result(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    class Model:
        """Takes 10 microseconds for a row, and 16 in the first blocks, in which the machine is busy."""

        def __init__(self, busy_blocks: int, slow: float = 1.0) -> None:
            self.busy, self.slow = busy_blocks * (1 + measure.BLOCK_ROWS), slow

        def predict(self, _: object) -> None:
            self.busy -= 1
            clock[0] += (16e-6 if self.busy >= 0 else 10e-6) * self.slow

    def measured(*models: Any) -> list[float]:
        with monkeypatch.context() as patched:
            patched.setattr(time, "perf_counter", lambda: clock[0])
            return measure.latency(models)

    most = measure.BLOCKS // 2 + 1
    assert measured(Model(most), Model(measure.BLOCKS - most)) == pytest.approx([10, 10])
    assert measured(Model(most, slow=2), Model(most)) == pytest.approx([20, 10])


@pytest.mark.slow
def test_a_model_that_needs_much_memory_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    def heavy(model: onnx.ModelProto) -> None:
        """Carries a large table, of which it uses one number, which is zero."""
        table = np.random.default_rng(0).random((5000, 5000), dtype=np.float32)
        table[0, 0] = 0
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
        first = helper.make_tensor("first", onnx.TensorProto.INT64, [1, 2], [0, 0])
        model.graph.initializer.append(first)
        for node in model.graph.node:
            node.input[:] = ["same" if name == TENSOR_NAME else name for name in node.input]
        model.graph.node.insert(0, helper.make_node("GatherND", ["table", "first"], ["zero"]))
        model.graph.node.insert(1, helper.make_node("Add", [TENSOR_NAME, "zero"], ["same"]))

    version = register(
        rewritten(handoffs[0], tmp_path / "heavy", heavy),
        handoffs[1],
        tracking=case.tracking,
        holdout_last=HOLDOUT_LAST,
    )
    finding = compare_cost(replace(case, version=version))
    assert not finding.passed
    memory = finding.evidence["megabytes"]
    assert memory["candidate"] > memory["champion"] + 90


# ---- the refit and its holdout model


@pytest.mark.parametrize("order", [("day", "position", *NUMERIC_FEATURES[2:]), NUMERIC_FEATURES[::-1]])
def test_a_refit_whose_inputs_were_swapped_is_stopped_although_its_holdout_model_is_good(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path, order: tuple[str, ...]
) -> None:
    folder = rewritten(handoffs[0], tmp_path / "swapped", with_columns(*order))
    version = register(folder, handoffs[1], tracking=case.tracking, holdout_last=HOLDOUT_LAST)
    for champion in (case.champion, None):
        assert "check the refit" in failure_message("error", replace(case, champion=champion), version)
    for gate in ("artifact", "golden", "schema", "slices"):
        assert run_gate(gate, case, version).passed, gate


def test_refit_without_training_rows_is_refused(case: GateContext, handoffs: tuple[Path, Path]) -> None:
    version = register(
        *handoffs, tracking=case.tracking, holdout_last=HOLDOUT_LAST, last="2010-12-31T00:00:00"
    )
    assert "0 training rows" in failure_message("error", case, version)


# ---- the error on fresh rows


def error_of(answer: float, rows: pd.DataFrame) -> float:
    return float(np.abs(rows["amount"] - answer).mean())


def fresh(case: GateContext, after: str = HOLDOUT_LAST) -> pd.DataFrame:
    return case.rows[case.rows["begins"] > after]


def with_holdout(
    case: GateContext, holdout: Path, handoffs: tuple[Path, Path], holdout_last: str = HOLDOUT_LAST
) -> Version:
    return register(handoffs[0], holdout, tracking=case.tracking, holdout_last=holdout_last)


def test_a_version_that_is_worse_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    worse = rewritten(handoffs[1], tmp_path / "worse", times(1.5))
    output = failure_message("error", case, with_holdout(case, worse, handoffs))
    assert f"on {len(fresh(case))} fresh rows, champion " in output


def test_significantly_worse_is_refused(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    live = replace(case, champion=with_holdout(case, handoffs[1], handoffs))
    for factor, passes in ((1.01, True), (1.2, False)):
        version = with_holdout(case, rewritten(handoffs[1], tmp_path / f"{factor}", times(factor)), handoffs)
        found = run_gate("error", live, version)
        assert found.passed == passes, found
        assert passes or "with 95% confidence" in found.summary


@pytest.mark.slow
def test_much_worse_is_refused_even_if_not_significant(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    limit = case.settings.deploy.error_worse
    rows = fresh(case)[:24]  # of one day nothing is sure
    live = with_holdout(case, constant(tmp_path / "live", 50.0), handoffs)
    answers = np.arange(50, 200, 0.05)
    errors = np.abs(np.subtract.outer(answers, rows["amount"].to_numpy())).mean(axis=1)
    one_day = replace(case, champion=live, rows=case.rows[case.rows["begins"] <= time_range(rows)[1]])
    for factor, passes in ((limit - 0.1, True), (limit + 0.1, False)):
        answer = float(answers[errors >= error_of(50.0, rows) * (1 + factor)][0])
        found = run_gate("error", one_day, with_holdout(case, constant(tmp_path / "c", answer), handoffs))
        assert found.passed == passes, found
        assert passes or "more than 25% worse" in found.summary


@pytest.mark.slow
def test_both_are_compared_only_on_rows_after_what_either_holdout_model_saw(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    later = "2011-03-28T00:00:00"
    for champion_last, candidate_last in ((later, HOLDOUT_LAST), (HOLDOUT_LAST, later)):
        champion = with_holdout(case, constant(tmp_path / "c", 50.0), handoffs, champion_last)
        candidate = with_holdout(case, constant(tmp_path / "d", 70.0), handoffs, candidate_last)
        found = run_gate("error", replace(case, champion=champion), candidate).evidence
        assert (found["first"], found["last"]) == ("2011-03-29T00:00:00", "2011-03-31T00:00:00")
        rows = fresh(case, later)
        assert found["rows"] == len(rows)
        assert found["candidate"] == pytest.approx(error_of(70.0, rows))
        assert found["champion"] == pytest.approx(error_of(50.0, rows))


def test_without_fresh_rows_there_is_nothing_to_judge_by(
    case: GateContext, handoffs: tuple[Path, Path]
) -> None:
    version = with_holdout(case, handoffs[1], handoffs, "2011-03-31T00:00:00")
    assert "only 0 fresh rows" in failure_message("error", case, version)
    assert "no fresh rows" in failure_message("slices", case, version)


def test_a_holdout_model_that_cannot_be_read_is_stopped(case: GateContext) -> None:
    (path,) = Path("state").glob(f"artifacts/*/{case.version.holdout_run_id}/artifacts/handoff/model.onnx")
    path.write_bytes(b"half")
    for gate in ("error", "slices"):
        assert "checksum mismatch" in failure_message(gate, case)


def test_a_version_that_is_better_on_the_whole_but_bad_in_one_slice_is_stopped(
    case: GateContext, handoffs: tuple[Path, Path], tmp_path: Path
) -> None:
    """Right in all rows but those of small machines: better than a champion that is off everywhere."""
    last = "2011-02-28T00:00:00"
    champion = with_holdout(case, rewritten(handoffs[1], tmp_path / "off", times(1.2)), handoffs, last)

    def wrong_of_small(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["before" if name == OUTPUT_NAME else name for name in node.output]
        for name, value in (("factor", 1.6), ("one", 1.0), ("last", 5.5)):
            model.graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.FLOAT, [1], [value]))
        model.graph.initializer.append(helper.make_tensor("column", onnx.TensorProto.INT64, [1], [0]))
        model.graph.node.extend(
            [
                helper.make_node("Gather", [TENSOR_NAME, "column"], ["position"], axis=1),
                helper.make_node("Less", ["position", "last"], ["small"]),
                helper.make_node("Where", ["small", "factor", "one"], ["times"]),
                helper.make_node("Mul", ["before", "times"], [OUTPUT_NAME]),
            ]
        )

    holdout = rewritten(handoffs[1], tmp_path / "small", wrong_of_small)
    version = with_holdout(case, holdout, handoffs, last)
    case = replace(case, champion=champion)
    assert failure_message("slices", case, version).startswith("small machines: error ")
    found = run_gate("slices", case, version).evidence["slices"]
    assert [each["slice"] for each in found if each.get("bound", -1) > 0][:1] == ["small machines"]


def test_slice_bound_keeps_confidence_with_correlated_rows() -> None:
    rng = np.random.default_rng(7)
    days, hours, runs = 14, 24, 2000
    times = np.datetime64("2011-03-01T00") + np.arange(days * hours)
    stopped = by_rows = 0
    for _ in range(runs):
        values = (rng.normal(0, 1, (days, 1)) + rng.normal(0, 1, (days, hours))).ravel()
        stopped += lower_bound(values, times, np.full(len(values), 1 / len(values)), 0.95) > 0
        by_rows += values.mean() > 1.645 * values.std() / np.sqrt(len(values))
    assert 0.03 <= stopped / runs <= 0.07
    assert by_rows / runs > 0.2  # what taking the rows for independent would do


def test_bound_is_of_the_weighted_mean() -> None:
    times = np.datetime64("2011-03-01") + np.repeat(np.arange(10), 10)
    values = np.tile([1.0] + [0.0] * 9, 10)  # nine rows of one group a day, one of the other
    by_row, by_group = np.full(100, 0.01), np.tile([0.05] + [0.05 / 9] * 9, 10)
    assert lower_bound(values, times, by_row, 0.95) == pytest.approx(0.1)
    assert lower_bound(values, times, by_group, 0.95) == pytest.approx(0.5)


def test_a_bound_from_one_day_stops_nothing(case: GateContext, handoffs: tuple[Path, Path]) -> None:
    last = "2011-03-30T23:00:00"
    version = with_holdout(case, handoffs[1], handoffs, last)
    rows = case.rows[case.rows[TIME] < datetime(2011, 4, 1)]
    few = case.settings.model_copy(
        update={"deploy": case.settings.deploy.model_copy(update={"slice_rows": 1})}
    )
    result = run_gate("slices", replace(case, champion=version, rows=rows, settings=few), version)
    assert result.passed
    assert {each["bound"] for each in result.evidence["slices"]} == {None}
