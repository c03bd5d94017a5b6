"""Reads lock files, and regenerates them: `python -m ladder.locks`.

The root's lock is made first; each level's is a part of it.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ladder import ROOT

# No index, no header with a command line: a lock names packages, versions and hashes, nothing of a machine.
COMPILE = ["pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
COMPILE += ["--no-emit-index-url", "--no-header", "--no-annotate", "--all-extras"]


def entries(lock: str) -> list[tuple[str, str]]:
    """The packages of a lock in order: `name==version`, with a marker if there is one, and all its lines."""
    found = re.findall(r"(?m)^[A-Za-z0-9].*\n(?:[ \t].*\n)*", lock if lock.endswith("\n") else f"{lock}\n")
    return [(lines.split(" --hash")[0].split("\n")[0].rstrip("\\ "), lines) for lines in found]


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
