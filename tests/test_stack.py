"""The locked versions run together: resolving says nothing of that, so each tool does its work once."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from ladder.service import free_port

pytestmark = pytest.mark.slow  # by default the levels' own tests use them all

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


def run_script(script: str, folder: Path, **env: str) -> str:
    """What a script prints in a fresh interpreter; it fails the test if the script fails."""
    home = {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "DVC_SITE_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=os.environ | QUIET | home | env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_scikit_learn_model_becomes_onnx_and_runs(tmp_path: Path) -> None:
    script = """
import numpy as np, onnxruntime
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingRegressor
X = np.random.default_rng(0).random((500, 3), dtype=np.float32)
model = HistGradientBoostingRegressor(max_iter=10).fit(X, X[:, 0] * 10)
session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
said = session.run(None, {session.get_inputs()[0].name: X})[0].ravel()
print(float(np.abs(said - model.predict(X)).max()) < 1e-3)
"""
    assert run_script(script, tmp_path).strip() == "True"


def test_mlflow_logs_a_run_and_moves_an_alias(tmp_path: Path) -> None:
    script = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
experiment = mlflow.create_experiment("smoke", artifact_location="artifacts")
with mlflow.start_run(experiment_id=experiment) as run:
    mlflow.log_params({"half_life": 30})
    mlflow.log_metric("mae", 40.0)
client = mlflow.MlflowClient()
client.create_registered_model("demand")
version = client.create_model_version("demand", "artifacts/model", run.info.run_id).version
client.set_registered_model_alias("demand", "champion", version)
print(client.get_run(run.info.run_id).data.metrics["mae"])
print(client.get_model_version_by_alias("demand", "champion").version)
"""
    assert run_script(script, tmp_path).split() == ["40.0", "1"]


def test_dvc_runs_a_stage_once_and_then_not_again(tmp_path: Path) -> None:
    command = "python -c \"open('b','w').write(open('a').read())\""
    stage = f"stages:\n  copy:\n    cmd: {command}\n    deps: [a]\n    outs: [b]\n"
    (tmp_path / "dvc.yaml").write_text(stage, encoding="utf-8")
    (tmp_path / "a").write_text("1", encoding="utf-8")
    script = """
from dvc.repo import Repo
Repo.init(no_scm=True).close()
with Repo() as repo:
    print(len(repo.reproduce()), len(repo.reproduce()))
"""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    assert run_script(script, tmp_path, PATH=path).split()[-2:] == ["1", "0"]
    assert (tmp_path / "b").read_text(encoding="utf-8") == "1"


def test_evidently_sees_a_column_drift_and_another_stay(tmp_path: Path) -> None:
    script = """
import json
import numpy as np, pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
dice = np.random.default_rng(0)
frame = lambda shift: Dataset.from_pandas(
    pd.DataFrame({"a": dice.normal(shift, 1, 500), "b": dice.normal(0, 1, 500)}),
    data_definition=DataDefinition(numerical_columns=["a", "b"]))
snapshot = Report([DataDriftPreset(num_method="psi", num_threshold=0.2)]).run(frame(3), frame(0))
print([m["value"]["count"] for m in json.loads(snapshot.json())["metrics"] if isinstance(m["value"], dict)])
"""
    assert run_script(script, tmp_path).strip() == "[1.0]"


def test_pandera_refuses_a_value_out_of_range(tmp_path: Path) -> None:
    script = """
import pandas as pd, pandera.pandas as pa
schema = pa.DataFrameSchema({"humidity": pa.Column(float, pa.Check.in_range(0, 1))})
try:
    schema.validate(pd.DataFrame({"humidity": [0.5, 55.0]}))
except pa.errors.SchemaError as error:
    print(error.failure_cases["failure_case"].tolist())
"""
    assert run_script(script, tmp_path).strip() == "[55.0]"


@pytest.fixture
def prefect_api(tmp_path: Path) -> Iterator[str]:
    """A Prefect server of this test's own: only a real one has the services that schedule."""
    port = free_port()
    env = {"PREFECT_HOME": str(tmp_path / "server"), "HOME": str(tmp_path)}
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | QUIET | env,
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(400):
            try:
                httpx.get(f"http://127.0.0.1:{port}/api/health").raise_for_status()
                break
            except httpx.TransportError:
                assert server.poll() is None, (tmp_path / "server.log").read_text(encoding="utf-8")
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        for process in family:
            process.terminate()
        for process in psutil.wait_procs(family, timeout=10)[1]:
            process.kill()


@pytest.mark.timeout(300)
def test_prefect_runs_a_flow_and_schedules_a_deployment(tmp_path: Path, prefect_api: str) -> None:
    (tmp_path / "flows.py").write_text(
        "from prefect import flow, task\n\n\n@task\ndef double(x: int) -> int:\n    return 2 * x\n\n\n"
        "@flow\ndef smoke(x: int = 21) -> int:\n    return double(x)\n",
        encoding="utf-8",
    )
    script = """
import time
from flows import smoke
from prefect.client.orchestration import get_client
print(smoke())
identity = smoke.to_deployment(name="daily", cron="0 3 * * *").apply()
with get_client(sync_client=True) as client:
    for _ in range(120):
        runs = [run for run in client.read_flow_runs() if run.deployment_id == identity]
        if runs:
            break
        time.sleep(0.5)
print(len(runs) > 0)
"""
    said = run_script(script, tmp_path, PYTHONPATH=str(tmp_path), PREFECT_API_URL=prefect_api).split()
    assert said == ["42", "True"]
