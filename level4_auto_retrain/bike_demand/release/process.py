"""Starts parts of this project as processes of their own."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import bike_demand

CODE = Path(bike_demand.__file__).absolute().parents[1]


def command(module: str, *arguments: object) -> list[str]:
    """The command line of a module of this project, by the Python that runs this."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def environment(values: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with these values, in which the code of this very project is found."""
    path = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | dict(values or {})
