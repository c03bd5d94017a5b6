"""Runs a program and waits for it, with nothing but the standard library: the set-up uses it too."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    arguments: Sequence[str], env: Mapping[str, str], folder: Path | None = None, seconds: float | None = None
) -> tuple[int, str]:
    """Run a program without standard input. Returns exit status and output, both streams together.

    Raises subprocess.TimeoutExpired after so many seconds.
    """
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
    )
    return done.returncode, done.stdout
