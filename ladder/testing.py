"""`ladder test`: the levels' own tests, each in its folder, then those that hold across levels.

A level carries over tests with the code, byte by byte. Without `--all`, a test file or single test that the
next level has too is therefore run only at the highest level, where the most is built on the tested code.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from ladder import PACKAGED_FILES, ROOT, UserError
from ladder.levels import levels
from ladder.workers import cores

NOTHING_COLLECTED = 5  # pytest's exit status
MEMORY = Path("/dev/shm")  # an in-memory file system, if the system has one
MIN_FREE_BYTES = 2_000_000_000  # bytes; tests of a level take a third of it
# About the level's own code, which may differ above.
RUN_EVERYWHERE = ("test_structure.py", "test_domain.py")
EXTRA_WORKERS = 1  # workers than cores: a third of the time, a test waits for a process that it started


def run_tests(every: bool, only: Sequence[str], pytest_args: Sequence[str]) -> int:
    """Run pytest in each place, with one more process than cores. Returns 0 if all passed.

    `only` names places: level numbers, or `tool`. Raises UserError for one that does not exist.
    """
    if ROOT == PACKAGED_FILES:
        raise UserError(
            "the tests are not in the wheel: run `python3 -m ladder test` in a clone of mlops-ladder"
        )
    places = {str(level.number): level.folder for level in levels() if (level.folder / "tests").is_dir()}
    places["tool"] = ROOT
    unknown = sorted(set(only) - set(places))
    if unknown:
        raise UserError(f"no tests called {', '.join(unknown)}: choose from {', '.join(places)}")
    chosen = [name for name in places if not only or name in only]
    slow = ["--all"] if every else []
    # Tests of one file share expensive fixtures, so each file goes to one worker; by name, because
    # otherwise the files with the fewest tests come last, and some of them take longest.
    given = any(arg.startswith("-n") for arg in pytest_args)
    workers = (
        [] if given else ["-n", str(cores() + EXTRA_WORKERS), "--dist=loadfile", "--no-loadscope-reorder"]
    )
    carried = {} if every or only or given_files(pytest_args) else repeated_above()
    failed, empty = [], []
    with tempfile.TemporaryDirectory(prefix="ladder-test-", dir=scratch_folder()) as scratch:

        def run(name: str, workers: Sequence[str], output: int | None = None) -> tuple[int, str]:
            """The exit status, and the output if it is captured."""
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
            command += ["--basetemp", str(Path(scratch, name)), "-o", "tmp_path_retention_policy=failed"]
            command += [*workers, *slow, *pytest_args]
            command += [
                f"{'--deselect' if '::' in each else '--ignore'}={each}" for each in carried.get(name, [])
            ]
            with _without_caches(places[name]) as env:
                done = subprocess.run(
                    command, cwd=places[name], env=env, stdout=output, text=True, check=False
                )
            return done.returncode, done.stdout or ""

        # With most of their tests left to the next level, these are short: one process each, side by side.
        short = [name for name in chosen if carried.get(name)] if not given else []
        pool = ThreadPoolExecutor(cores() + EXTRA_WORKERS)
        try:
            # In a process of its own, because a command under test may catch Ctrl-C.
            started = {name: pool.submit(run, name, ["-n", "1"], subprocess.PIPE) for name in short}
            for name in chosen:
                above = carried.get(name, [])
                more = f" ({len(above)} files and tests skipped: repeated at the next level)" if above else ""
                print(f"\n== tests of {name if name == 'tool' else f'level {name}'}{more}", flush=True)
                status, output = started[name].result() if name in started else run(name, workers)
                print(output, end="", flush=True)
                if status == NOTHING_COLLECTED:
                    empty.append(name)
                elif status:
                    failed.append(name)
        finally:  # after Ctrl-C none begins that waited
            pool.shutdown(cancel_futures=True)
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
        return 1
    if len(empty) == len(chosen):
        print("\nNo tests matched", file=sys.stderr)
        return 1
    return 0


def repeated_above() -> dict[str, list[str]]:
    """By level number, the tests that the next level has too, unchanged: whole files, and single tests of
    other files, like tests/test_app.py::test_one_row.
    """
    found = {}
    for lower, upper in pairwise(levels()):
        same = []
        for name in sorted(
            path.relative_to(lower.folder) for path in lower.folder.glob("tests/**/test_*.py")
        ):
            if name.name in RUN_EVERYWHERE:
                continue
            if _same(lower.folder / name, upper.folder / name):
                same.append(name.as_posix())
            elif (upper.folder / name).is_file():
                tests, above = _tests(lower.folder / name), _tests(upper.folder / name)
                left = [test for test, code in tests.items() if above.get(test) == code]
                kept = tests.keys() - set(left)
                # pytest would also deselect everything with the same prefix.
                same += [
                    f"{name.as_posix()}::{test}"
                    for test in left
                    if not any(other.startswith(test) for other in kept)
                ]
        found[str(lower.number)] = same
    return found


def scratch_folder() -> Path | None:
    """The folder for test output: in memory if there is room, because each database commit waits for its
    disk. None: the system's default, or TMPDIR.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return MEMORY if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MIN_FREE_BYTES else None


def _tests(file: Path) -> dict[str, str]:
    """The code of each test in a file, by name."""
    functions = (node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.FunctionDef))
    return {node.name: ast.unparse(node) for node in functions if node.name.startswith("test_")}


def given_files(pytest_args: Sequence[str]) -> bool:
    """Whether the arguments name tests to run."""
    return any(arg.partition("::")[0].endswith(".py") for arg in pytest_args)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


@contextmanager
def _without_caches(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of tests. Compiled code is kept while they run: they start hundreds of processes, which
    would each compile the level's package again. Nothing of it is left behind in a level's folder.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if folder == ROOT:
        yield env
        return
    before = set(folder.rglob("__pycache__"))
    try:
        yield env
    finally:
        for made in set(folder.rglob("__pycache__")) - before:
            shutil.rmtree(made, ignore_errors=True)
