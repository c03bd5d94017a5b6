"""Regenerates the lock files: `python -m ladder.locks`. The root's first; each level's is a part of it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ladder import ROOT

# No index, no header with a command line: a lock names packages, versions and hashes, nothing of a machine.
COMPILE = ["pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
COMPILE += ["--no-emit-index-url", "--no-header", "--no-annotate", "--all-extras"]


def main() -> None:
    """Resolve again. What is locked stays, unless a pyproject.toml requires another version."""
    projects = sorted(path for path in ROOT.glob("level*/pyproject.toml"))
    everything = ["--group", "dev", "pyproject.toml", *map(str, projects)]
    _compile(ROOT, everything)
    for project in projects:
        _compile(project.parent, ["--constraint", str(ROOT / "requirements.lock"), "pyproject.toml"])


def _compile(folder: Path, arguments: Sequence[str]) -> None:
    print(f"{folder.name}/requirements.lock", flush=True)
    command = [sys.executable, "-m", "uv", *COMPILE, *arguments, "--output-file", "requirements.lock"]
    subprocess.run(command, cwd=folder, check=True)


if __name__ == "__main__":
    main()
