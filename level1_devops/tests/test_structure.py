"""The package's structure: which part may import which, where large tools are imported, unique names.

Lists the parts and tools that a package of this kind may have; those that it does not have are skipped.
"""

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "bike_demand"
# What may not be imported, directly or through others, by the parts that there are.
PRACTICE = {"data", "training", "serving", "monitoring", "release", "loop", "store"}
FORBIDDEN = {
    "core": PRACTICE | {"problem"},
    "problem": PRACTICE,
    "data": {"training", "serving", "monitoring", "release", "loop", "store"},
    "store": {"training", "serving", "monitoring", "release", "loop"},
    "serving": {"training", "monitoring", "release", "loop"},
    "training": {"serving", "monitoring", "release", "loop"},
    "monitoring": {"training", "serving", "release", "loop"},
    "release": {"loop"},
}
# Where a library may be imported, so that a new major version is a small change: modules or parts.
PLACES = {
    "alembic": ("store",),
    "dvc": ("training.pipeline",),
    "evidently": ("monitoring.reports",),
    "matplotlib": ("training.evaluate",),
    "mlflow": ("store.tracking", "store.connection"),
    "prefect": ("flows",),
    "prometheus_client": ("serving.metrics",),
    "sqlalchemy": ("store",),
}
# No tool phones home: what its variable has to be in every process of the package.
TELEMETRY = {
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true"},
    "prefect": {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "true"},
    "dvc": {"DVC_NO_ANALYTICS": "1"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
PARTS = {name.split(".")[1] for name in MODULES if name.count(".")}
LOCKED = set(re.findall(r"(?m)^([\w-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8")))


def repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def imports(name: str) -> set[str]:
    """The package's modules that a module imports, anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
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


@pytest.mark.parametrize("part", sorted(FORBIDDEN.keys() & PARTS))
def test_layers_do_not_import_upwards(part: str) -> None:
    modules = [name for name in MODULES if name.split(".")[1:2] == [part]]
    assert modules
    for name in modules:
        parts = {other.split(".")[1] for other in reached(name)}
        assert not parts & FORBIDDEN[part], name


def test_the_practice_knows_the_problem_only_by_its_interface() -> None:
    for name in MODULES:
        if name.split(".")[1:2] != ["problem"]:
            assert not any(other.split(".")[1] == "problem" for other in GRAPH[name]), name


@pytest.mark.parametrize("library", sorted(PLACES))
def test_each_of_these_libraries_is_imported_in_few_places(library: str) -> None:
    found = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(each.partition(".")[0] == library for each in named):
                found.add(name)
    for name in found:
        assert f"{name}.".startswith(tuple(f"bike_demand.{place}." for place in PLACES[library]))


def test_no_module_imports_itself_through_others() -> None:
    list(graphlib.TopologicalSorter(GRAPH).static_order())


def test_every_module_says_what_it_is_for() -> None:
    for name, tree in TREES.items():
        assert ast.get_docstring(tree), name


def test_module_and_public_class_names_are_unique() -> None:
    # A problem is somebody else's, and may call its parts what it likes.
    left_out = ("bike_demand.problem", "bike_demand.store.migrations")
    own = {name: tree for name, tree in TREES.items() if not name.startswith(left_out)}
    modules = [MODULES[name].stem for name in own]
    assert repeated(each for each in modules if not each.startswith("__")) == set()
    classes = [
        node.name
        for tree in own.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert repeated(classes) == set()


def test_no_private_name_of_another_package_is_used() -> None:
    nodes = [(name, node) for name, tree in TREES.items() for node in ast.walk(tree)]
    ours = {node.name for _, node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    ours |= {x.attr for _, x in nodes if isinstance(x, ast.Attribute) and isinstance(x.ctx, ast.Store)}
    ours.add("_replace")  # of named tuples, documented
    used = [(name, node.attr) for name, node in nodes if isinstance(node, ast.Attribute)]
    for name, node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = (node.module if isinstance(node, ast.ImportFrom) else None) or ""
            parts = ".".join([module, *(alias.name for alias in node.names)]).split(".")
            used += [(name, part) for part in parts]
    assert [use for use in used if re.match("_[^_]", use[1]) and use[1] not in ours] == []


def loaded(modules: Iterable[str], candidates: Iterable[str]) -> list[str]:
    """Which of the candidates a fresh interpreter has loaded once it has imported the modules."""
    script = f"import sys, {', '.join(modules)}; print(*[n for n in {list(candidates)} if n in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()


def test_the_service_loads_nothing_that_only_training_needs() -> None:
    heavy = ["pandas", "pandera", "pyarrow", "sklearn", "scipy", "onnx", "skl2onnx", "fsspec", "tenacity"]
    heavy += ["matplotlib", "evidently", "jinja2"]
    served = [f"bike_demand.{name}" for name in ("__main__", "serving.server", "serving.app")]
    assert loaded(served, heavy) == []


def test_a_problem_loads_nothing_that_only_training_needs() -> None:
    tools = ["pandas", "pyarrow", "sklearn", "scipy", "onnx", "skl2onnx"]
    assert loaded(["bike_demand.problem"], tools) == []


@pytest.mark.parametrize("name", ["__main__", "launch", "stages"])
def test_a_module_does_not_wait_for_tools_that_it_may_not_need(name: str) -> None:
    if f"bike_demand.{name}" not in MODULES:
        pytest.skip("no such module here")
    tools = ["dvc", "mlflow", "prefect", "pandas", "sklearn", "matplotlib", "evidently"]
    tools += ["onnxruntime"] if name == "__main__" else []
    assert loaded([f"bike_demand.{name}"], tools) == []


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


@pytest.mark.parametrize("tool", sorted(TELEMETRY.keys() & LOCKED))
def test_telemetry_is_disabled(tool: str) -> None:
    wanted = TELEMETRY[tool]
    env = {name: value for name, value in os.environ.items() if name not in wanted}
    script = f"import os, bike_demand; print(*[os.environ[name] for name in {list(wanted)}])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == list(wanted.values())


def test_dvc_reports_nothing_in_any_working_copy() -> None:
    config = ROOT / ".dvc" / "config"
    if "dvc" not in LOCKED:
        pytest.skip("no DVC here")
    lines = {line.strip() for line in config.read_text(encoding="utf-8").splitlines()}
    assert {"analytics = false", "check_update = false"} <= lines
