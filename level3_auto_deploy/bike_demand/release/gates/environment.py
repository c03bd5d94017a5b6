"""Gate: the integration test, with this very version in a real service of the test environment."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from bike_demand.errors import UserError
from bike_demand.release.checks import CHECKS, CLIENT, OPERATIONS, failures
from bike_demand.release.gates.case import Case, Finding
from bike_demand.release.process import command, environment
from bike_demand.serving.onnx_model import load_model

ENVIRONMENT = "test"
# Keys of a service that runs there anyway. One that is started here is asked by nobody else and has none.
KEYS = {CLIENT: "BIKE_TEST_KEY", OPERATIONS: "BIKE_TEST_OPERATIONS_KEY"}
LOOK_SECONDS = 0.1
TIMEOUT_SECONDS = 5
GRACE_SECONDS = 20


def works_in_the_test_environment(case: Case) -> Finding:
    """Moves the alias of the test environment to the version, waits for the service, and runs the checks.

    The service is the one at environments.test.url, or one that is started for this. Raises UserError where
    the model cannot be loaded.
    """
    number = str(case.version.number)
    model = load_model(case.handoff(case.version.run_id), number)
    place = case.settings.environments.test
    case.tracking.set_alias(place.alias, case.version.number)
    evidence = {"checks": [check.__name__ for check in CHECKS], "service": place.url or "started for this"}
    keys = {whose: os.environ[name] for whose, name in KEYS.items() if place.url and os.environ.get(name)}
    began = time.monotonic()
    patience = case.settings.deploy.start_seconds
    try:
        with _service(place.url, case.scratch, patience) as address:
            _wait_for(address, number, keys.get(OPERATIONS), began + patience)
            evidence["seconds_until_ready"] = f"{time.monotonic() - began:.1f}"
            failed = failures(address, model, keys)
    except (UserError, OSError, http.client.HTTPException) as error:
        return Finding(False, f"no service of the test environment answers with it: {error}", evidence)
    if failed:
        return Finding(False, failed[0], evidence | {"failed": failed})
    return Finding(True, f"{len(CHECKS)} checks over HTTP", evidence)


@contextlib.contextmanager
def _service(url: str, scratch: Path, patience: float) -> Iterator[str]:
    """The address of the service: `url` or, where that is empty, of one that runs meanwhile."""
    if url:
        yield url
        return
    output, errors = scratch / "service.out", scratch / "service.err"
    where = ("--environment", ENVIRONMENT, "--host", "127.0.0.1", "--port", 0, "--workers", 1)
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            command("bike_demand", "serve", *where),
            env=environment({"BIKE_KEYS_FILE": str(scratch / "no-keys.yaml"), "PYTHONUNBUFFERED": "1"}),
            stdout=out,
            stderr=err,
        )
    try:
        until = time.monotonic() + patience
        while not (first := output.read_text(encoding="utf-8").partition("\n"))[1]:
            if process.poll() is not None:
                said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = said[-1] if said else f"it ended with status {process.returncode}"
                raise UserError(last.removeprefix("error: "))
            if time.monotonic() > until:
                raise UserError(f"it did not start in {patience:g} seconds (deploy.start_seconds)")
            time.sleep(LOOK_SECONDS)
        yield first[0].strip()
    finally:
        # As Ctrl-C does, at once: on SIGTERM it would drain first, and nobody sends requests to it.
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(address: str, version: str, key: str | None, until: float) -> None:
    """Wait until the service answers with the version. Raises UserError where it does not until then."""
    request = urllib.request.Request(
        f"{address.rstrip('/')}/model", headers={} if key is None else {"X-API-Key": key}
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                answering = str(json.load(response)["version"])
            problem = f"it answers with version {answering}"
        except urllib.error.HTTPError as error:
            answering, problem = "", _detail(error)
            if error.code in (401, 403):
                raise UserError(f"{address}: {problem}; set {' and '.join(KEYS.values())}") from None
        except OSError as error:
            answering, problem = "", str(error)
        if answering == version:
            return
        if time.monotonic() > until:
            raise UserError(f"{address}: {problem}")
        time.sleep(LOOK_SECONDS)


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        said: Mapping[str, object] = json.load(error)
        return str(said["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"
