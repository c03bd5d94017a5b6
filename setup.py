"""Builds the wheel with the files that the tool works on: levels, problems, data and what describes them."""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
CARRIED = ("level*/**/*", "problems/**/*", "data/**/*", "docs/*.yaml", "tests/maturity/*.py")
CACHES = {"__pycache__", "state", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


def carried() -> list[Path]:
    """The files, as git knows them; in an unpacked source distribution all but caches."""
    if (HERE / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=HERE, check=True, capture_output=True, text=True
        )
        known = {HERE / name for name in listed.stdout.split("\0")}
    else:
        known = {path for path in HERE.rglob("*") if not CACHES & set(path.relative_to(HERE).parts)}
    found = {path for pattern in CARRIED for path in HERE.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(HERE) for path in found & known)


class Build(build_py):
    """Puts the files into `ladder/files`, which `ladder.ROOT` is where it exists."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in carried():
                target = Path(self.build_lib, "ladder", "files", name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(HERE / name, target)


setup(cmdclass={"build_py": Build})
