"""Measures `ladder assess` on 5,000 files of installed libraries: `python -m benchmarks.assess`.

Status 1 if that is 5 s or more.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from ladder import ROOT

FILES, SECONDS = 5000, 5.0


def main() -> None:
    """Copy files of the environment to another folder, and assess that."""
    installed = Path(sysconfig.get_paths()["purelib"])
    every = sorted(installed.rglob("*.py"))
    with tempfile.TemporaryDirectory(prefix="ladder-bench-") as name:
        for path in every[:FILES]:  # whole packages: a sample of all breaks imports, and is read faster
            copy = Path(name) / path.relative_to(installed)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        began = time.perf_counter()
        command = [sys.executable, "-m", "ladder", "assess", name, "--json"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - began
    print(f"{seconds:.1f} s (less than {SECONDS:g})")
    sys.exit(seconds >= SECONDS)


if __name__ == "__main__":
    main()
