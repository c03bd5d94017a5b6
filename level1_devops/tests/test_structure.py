"""Which part of the package may import which."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "bike_demand"
# What may not be imported, directly or through others.
FORBIDDEN = {
    "data": {"training", "serving", "monitoring", "release"},
    "serving": {"training", "monitoring", "release"},
    "training": {"serving", "monitoring", "release"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(name: str) -> set[str]:
    """The package's modules that a module imports, anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are written out, not relative"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return (found & set(MODULES)) - {name, "bike_demand"}


GRAPH = {name: imports(name) for name in MODULES}


def reached(name: str) -> set[str]:
    """All modules that are loaded when this one is."""
    seen: set[str] = set()
    left = [name]
    while left:
        for following in GRAPH[left.pop()] - seen:
            seen.add(following)
            left.append(following)
    return seen


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_a_part_does_not_reach_what_stands_on_or_beside_it(part: str) -> None:
    modules = [name for name in MODULES if name.split(".")[1:2] == [part]]
    assert modules
    for name in modules:
        parts = {other.split(".")[1] for other in reached(name)}
        assert not parts & FORBIDDEN[part], name


def test_no_module_imports_itself_through_others() -> None:
    list(graphlib.TopologicalSorter(GRAPH).static_order())


def test_every_module_says_what_it_is_for() -> None:
    for name, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name


def test_the_service_loads_nothing_that_only_training_needs() -> None:
    heavy = ["pandas", "sklearn", "scipy", "onnx", "skl2onnx", "fsspec", "tenacity"]
    script = (
        "import sys, bike_demand.__main__, bike_demand.serving.server, bike_demand.serving.batch;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_loading_a_model_leaves_nothing_in_the_home_folder(tmp_path: Path, handoff: Path) -> None:
    home = {
        name: str(tmp_path) for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA", "APPDATA")
    }
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    script = (
        "import sys, pathlib, bike_demand.serving.onnx_model as model;"
        "model.load_model(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", script, str(handoff)], cwd=ROOT, env=env | home, check=True)
    assert list(tmp_path.iterdir()) == []
