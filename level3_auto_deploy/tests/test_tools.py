"""The large tools: each is imported where it is at home alone, and none where it is not needed."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ALONE = {
    "dvc": {"training/pipeline.py"},
    "mlflow": {"tracking.py"},
    "prefect": {"flows.py"},
    "prometheus_client": {"serving/metrics.py"},
    # Plots of a training, and of an A/B test.
    "matplotlib": {"training/plots.py", "release/ab/status.py"},
    "plotext": {"release/ab/status.py"},
}
PART = {"sqlalchemy": "prediction_log", "alembic": "prediction_log", "psycopg": "prediction_log"}


def importers(tool: str) -> set[str]:
    """The modules of the package whose text imports the tool."""
    found = set()
    for path in (ROOT / "bike_demand").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == tool for name in names):
                found.add(path.relative_to(ROOT / "bike_demand").as_posix())
    return found


@pytest.mark.parametrize("tool", sorted(ALONE))
def test_a_tool_is_imported_where_it_is_at_home_alone(tool: str) -> None:
    assert importers(tool) == ALONE[tool]


@pytest.mark.parametrize("tool", sorted(PART))
def test_a_tool_of_one_part_is_imported_by_no_other(tool: str) -> None:
    assert {name.split("/")[0] for name in importers(tool)} <= {PART[tool]}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("bike_demand.__main__", ["dvc", "mlflow", "prefect", "sklearn", "matplotlib", "onnxruntime"]),
        ("bike_demand.launch", ["dvc", "mlflow", "prefect", "sklearn", "matplotlib"]),
        ("bike_demand.stages", ["dvc", "mlflow", "prefect", "sklearn", "matplotlib"]),
    ],
)
def test_a_module_does_not_wait_for_tools_that_it_may_not_need(module: str, absent: list[str]) -> None:
    script = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_tool_phones_home() -> None:
    names = (
        "ORT_DISABLE_TELEMETRY",
        "MLFLOW_DISABLE_TELEMETRY",
        "PREFECT_SERVER_ANALYTICS_ENABLED",
        "DVC_NO_ANALYTICS",
        "DO_NOT_TRACK",
    )
    script = (
        f"import os; [os.environ.pop(name, None) for name in {names}]; import bike_demand;"
        f"print(*[os.environ[name] for name in {names}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "true", "false", "1", "true"]
    config = (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
    assert "analytics = false" in config
    assert "check_update = false" in config
