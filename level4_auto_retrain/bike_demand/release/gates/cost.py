"""Gate: an answer takes hardly more time than the champion's, and a process hardly more memory."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bike_demand.errors import UserError
from bike_demand.release.gates.case import Case, Finding
from bike_demand.release.process import command, environment

PATIENCE_SECONDS = 120


def costs_no_more(case: Case) -> Finding:
    """Measures the memory of each in a process of its own, and the times in turns in one of these, so that a
    busy machine slows both alike.

    Raises UserError where a model cannot be loaded or tried.
    """
    if case.champion is None:
        return Finding(True, "nothing is live to compare with")
    folders = [case.handoff(version.run_id) for version in (case.version, case.champion)]
    (champion,) = measure(folders[1:])["megabytes"]
    measured = measure(folders)
    (candidate,), times = measured["megabytes"], measured["microseconds"]
    limits = case.settings.deploy
    evidence: dict[str, Any] = {
        "microseconds": dict(zip(("candidate", "champion"), times, strict=True)),
        "megabytes": {"candidate": candidate, "champion": champion},
        "latency_factor": limits.latency_factor,
        "memory_factor": limits.memory_factor,
    }
    said = (
        f"{times[0]:.0f} microseconds a row, the champion {times[1]:.0f}; {candidate:.0f} MB a process, the"
        f" champion {champion:.0f}"
    )
    passed = times[0] <= limits.latency_factor * times[1] and candidate <= limits.memory_factor * champion
    return Finding(passed, said, evidence)


def measure(folders: Sequence[Path]) -> dict[str, list[float]]:
    """What `release.measure` measures of these hand-offs, in a new process. Raises UserError."""
    try:
        done = subprocess.run(
            command("bike_demand.release.measure", *folders),
            env=environment(),
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"its cost could not be measured in {PATIENCE_SECONDS} seconds") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = lines[-1].removeprefix("error: ") if lines else f"status {done.returncode}"
        raise UserError(f"its cost could not be measured: {said}")
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found
