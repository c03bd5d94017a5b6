"""`ladder test`: the levels' own tests, each in its folder, then those that hold across levels."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data import UserError
from ladder.levels import ROOT, levels

NOTHING_COLLECTED = 5  # pytest's exit status


def run_tests(every: bool, only: Sequence[str], pytest_args: Sequence[str]) -> int:
    """Run pytest in each place, one after the other, each on all cores; 0 if all of them passed.

    `only` names places: level numbers, or `tool`. Raises UserError for one that does not exist.
    """
    places = {str(level.number): level.folder for level in levels() if (level.folder / "tests").is_dir()}
    places["tool"] = ROOT
    unknown = sorted(set(only) - set(places))
    if unknown:
        raise UserError(f"no tests called {', '.join(unknown)}: choose from {', '.join(places)}")
    chosen = [name for name in places if not only or name in only]
    slow = ["--all"] if every else []
    # Tests of one file share what is costly to make, so a worker gets a file as a whole.
    workers = [] if any(arg.startswith("-n") for arg in pytest_args) else ["-n", "auto", "--dist", "loadfile"]
    failed, empty = [], []
    with tempfile.TemporaryDirectory(prefix="ladder-test-") as scratch:
        for name in chosen:
            print(
                f"\n== tests of {'the tool and across levels' if name == 'tool' else f'level {name}'}",
                flush=True,
            )
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
            command += [*workers, *slow, "--basetemp", str(Path(scratch, name)), *pytest_args]
            # Tests leave nothing behind in a level's folder, no caches either.
            env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
            status = subprocess.run(command, cwd=places[name], env=env, check=False).returncode
            if status == NOTHING_COLLECTED:
                empty.append(name)
            elif status:
                failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
        return 1
    if len(empty) == len(chosen):
        print("\nNo test was run: none matches", file=sys.stderr)
        return 1
    return 0
