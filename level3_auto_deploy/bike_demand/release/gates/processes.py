"""Gates that run the version in other processes: the integration test in a real service, and its cost."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bike_demand
from bike_demand.core.errors import UserError
from bike_demand.release.checks import CHECKS, CLIENT, OPERATIONS, client, failures
from bike_demand.release.gates.integrity import GateContext, GateResult
from bike_demand.serving.onnx_model import load_model

CODE = Path(bike_demand.__file__).absolute().parents[1]
ENVIRONMENT = "test"
# Keys for an existing service. A service started by the gate is not reachable for others and needs none.
KEYS = {CLIENT: "BIKE_TEST_KEY", OPERATIONS: "BIKE_TEST_OPERATIONS_KEY"}
# Errors of a service that does not respond, or not in the expected form.
UNUSABLE = (OSError, http.client.HTTPException, ValueError, LookupError, TypeError)
POLL_SECONDS = 0.1
GRACE_SECONDS = 20
MEASURE_SECONDS = 120


def run_integration_test(context: GateContext) -> GateResult:
    """Moves the test environment's alias to the version, waits for the service, and runs the checks.

    The service is the one at environments.test.url, or is started for this. Raises UserError if the model
    cannot be loaded.
    """
    number = str(context.version.number)
    model = load_model(context.handoff(context.version.run_id), number)
    place = context.settings.environments.test
    context.tracking.set_alias(place.alias, context.version.number)
    evidence = {"checks": [check.__name__ for check in CHECKS], "service": place.url or "started for this"}
    keys = {whose: os.environ[name] for whose, name in KEYS.items() if place.url and os.environ.get(name)}
    began = time.monotonic()
    patience = context.settings.deploy.start_seconds
    try:
        with _service(place.url, context.scratch, patience) as address:
            _wait_for(address, number, keys, began + patience)
            evidence["seconds_until_ready"] = f"{time.monotonic() - began:.1f}"
            failed = failures(address, model, keys)
    except (UserError, *UNUSABLE) as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        problem = f"the test environment does not serve the version: {kind}{error}"
        return GateResult(False, problem, evidence)
    if failed:
        return GateResult(False, failed[0], evidence | {"failed": failed})
    return GateResult(True, f"{len(CHECKS)} checks over HTTP", evidence)


@contextlib.contextmanager
def _service(url: str, scratch: Path, patience: float) -> Iterator[str]:
    """The address of the service: `url`, or that of a service that runs inside the block if it is empty."""
    if url:
        yield url
        return
    output, errors = scratch / "service.out", scratch / "service.err"
    where = ("--environment", ENVIRONMENT, "--host", "127.0.0.1", "--port", "0", "--workers", "1")
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "bike_demand", "serve", *where],
            env=_environment(
                BIKE_SERVING__KEYS=str(scratch / "no-keys.yaml"),
                BIKE_SERVING__DRAIN_SECONDS="0",
                PYTHONUNBUFFERED="1",
            ),
            stdout=out,
            stderr=err,
        )
    try:
        until = time.monotonic() + patience
        while not (first := output.read_text(encoding="utf-8").partition("\n"))[1]:
            if process.poll() is not None:
                raise UserError(_complaint(errors.read_bytes(), process.returncode))
            if time.monotonic() > until:
                raise UserError(f"it did not start in {patience:g} seconds (deploy.start_seconds)")
            time.sleep(POLL_SECONDS)
        yield first[0].strip()
    finally:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(address: str, version: str, keys: Mapping[str, str], until: float) -> None:
    """Wait until the service serves the version. Raises UserError if it does not before `until`."""
    while True:
        try:
            with client(address, keys) as request:
                status, about = request("GET", "/model")
            if status in (401, 403):
                raise UserError(f"{address}: {about['detail']}; set {' and '.join(KEYS.values())}")
            if status == 200 and about["version"] == version:
                return
            problem = f"it serves version {about['version']}" if status == 200 else f"status {status}"
        except UNUSABLE as error:
            problem = f"{type(error).__name__}: {error}"
        if time.monotonic() > until:
            raise UserError(f"{address}: {problem}")
        time.sleep(POLL_SECONDS)


def compare_cost(context: GateContext) -> GateResult:
    """Measures each version's memory in a process of its own, and the latencies of both alternately in one
    process, so that other load on the machine slows both alike.

    Raises UserError if a model cannot be loaded or run.
    """
    if context.champion is None:
        return GateResult(True, "no champion to compare with")
    folders = [context.handoff(version.run_id) for version in (context.version, context.champion)]
    (champion,) = measure(folders[1:])["megabytes"]
    measured = measure(folders)
    (candidate,), times = measured["megabytes"], measured["microseconds"]
    limits = context.settings.deploy
    evidence: dict[str, Any] = {
        "microseconds": dict(zip(("candidate", "champion"), times, strict=True)),
        "megabytes": {"candidate": candidate, "champion": champion},
        "latency_factor": limits.latency_factor,
        "memory_factor": limits.memory_factor,
    }
    summary = (
        f"{times[0]:.0f} microseconds per row (champion {times[1]:.0f}), {candidate:.0f} MB per process"
        f" (champion {champion:.0f})"
    )
    passed = times[0] <= limits.latency_factor * times[1] and candidate <= limits.memory_factor * champion
    return GateResult(passed, summary, evidence)


def measure(folders: Sequence[Path]) -> dict[str, list[float]]:
    """Measure these hand-offs with `release.measure` in a new process. Raises UserError."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bike_demand.release.measure", *map(str, folders)],
            env=_environment(),
            capture_output=True,
            timeout=MEASURE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"its cost could not be measured in {MEASURE_SECONDS} seconds") from None
    if done.returncode:
        problem = _complaint(done.stderr, done.returncode)
        raise UserError(f"its cost could not be measured: {problem}")
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def _complaint(errors: bytes, status: int) -> str:
    """The last line that a failed process wrote to standard error."""
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"it ended with status {status}"


def _environment(**values: str) -> dict[str, str]:
    """This process's environment with these values, in which this project's code is importable."""
    path = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | values
