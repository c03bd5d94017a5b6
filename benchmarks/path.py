"""Counts what runs from a deployment to the promotion: `python -m benchmarks.path`.

Two tests of level 3 are profiled: a `deploy` with all eight gates, and the `ab step` that promotes a version.
The package's functions count once each, and so do calls from one module to another. Left out are `core/` and
`problem/`, which belong to no step of the path.
"""

import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from types import CodeType, FrameType

import pytest

from ladder import ROOT
from ladder.levels import level

TESTS = (
    "tests/test_deploy.py::test_by_the_command_a_version_passes_all_gates_and_a_bad_one_does_not",
    "tests/test_ab.py::test_better_challenger_goes_live_early_and_is_watched",
)
ASIDE = {"core", "problem", "migrations"}
RESULT = "LADDER_PATH_RESULT"  # names the file for the numbers

_package = level(3).folder / "bike_demand"
_functions: set[tuple[str, str]] = set()
_calls: set[tuple[str, str]] = set()


def _module(code: CodeType) -> str:
    """The package's module of a function; empty for other code."""
    if not code.co_flags & inspect.CO_OPTIMIZED or not code.co_filename.startswith(str(_package)):
        return ""
    module = Path(code.co_filename).relative_to(_package)
    return "" if module.parts[0] in ASIDE else module.as_posix()


def _count(frame: FrameType, event: str, _: object) -> None:
    if event == "call" and (module := _module(frame.f_code)):
        if not frame.f_code.co_name.startswith("<"):  # a comprehension or lambda
            _functions.add((module, frame.f_code.co_qualname))
        caller = "" if frame.f_back is None else _module(frame.f_back.f_code)
        if caller not in ("", module):
            _calls.add((caller, module))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Profile the test, without its fixtures."""
    threading.setprofile(_count)
    sys.setprofile(_count)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def pytest_sessionfinish() -> None:
    """Store the numbers."""
    modules = {module for module, _ in _functions}
    numbers = {"functions": len(_functions), "modules": len(modules), "calls": len(_calls)}
    Path(os.environ[RESULT]).write_text(json.dumps(numbers), encoding="utf-8")


def main() -> None:
    """Run the tests, and print the numbers."""
    pytest_command = [sys.executable, "-m", "pytest", "-q", "--all", "-p", "no:xdist"]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "numbers.json")
        environment = os.environ | {"PYTHONPATH": str(ROOT), RESULT: str(result)}
        subprocess.run(
            [*pytest_command, "-p", "benchmarks.path", *TESTS],
            cwd=level(3).folder,
            env=environment,
            check=True,
        )
        found = json.loads(result.read_text(encoding="utf-8"))
    print("{functions} functions in {modules} modules, {calls} calls between modules".format_map(found))


if __name__ == "__main__":
    main()
