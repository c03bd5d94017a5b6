"""Deploys versions: runs the gates in order, stores the evidence of each, and starts the A/B test.

A deployment can be interrupted at any time and resumed: gates that were passed are not run again.
"""

import getpass
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import Settings
from bike_demand.core.step_runner import StepRunner, call
from bike_demand.release import policy
from bike_demand.release.decision import decide, write_page
from bike_demand.release.gates import Gate, GateContext, GateResult
from bike_demand.release.promotion import promote_newest
from bike_demand.store.deployments import FAILED, UNDECIDED, Deployments, Emit, open_deployments
from bike_demand.store.ingested_rows import good_rows
from bike_demand.store.tables import Deployment, State
from bike_demand.store.tracking import CHAMPION, Tracking, Version

LATEST = "latest"

Result = dict[str, Any]  # of a gate, as stored; `passed` is None if it was not reached


def deploy(
    settings: Settings,
    wanted: str,
    as_of: datetime | None,
    report: Emit,
    gates: Sequence[Gate] | None = None,
    run: StepRunner = call,
    patience: float = 0.0,
) -> None:
    """Take a version (its number, or `latest`) through the gates, and start its A/B test.

    During another version's test it is queued; if nothing is live, it goes live. `report` receives a line for
    each gate and one for the outcome; `run` executes each gate, and the transition after them. `gates`
    defaults to those that the policy requires. Raises UserError if a gate
    refuses the version, or another deployment is still running after `patience` seconds.
    """
    with open_deployments(settings, as_of, report, patience=patience) as deployments:
        version = find(deployments.tracking, wanted)
        row = deployments.find(version)
        if row is not None and (standing := reason_to_skip(deployments, row, wanted)):
            report(f"Version {version.number} {standing}.")
            return
        if row is None or row.state not in UNDECIDED or row.skip_reason is not None:
            row = deployments.create(version, _user())
        attempt = _DeploymentRun(deployments, version, report, gates, run)
        attempt.run_gates(row)
        attempt.finish(row)
        promote_newest(deployments, report, run)


def release(
    settings: Settings,
    wanted: str,
    reason: str,
    as_of: datetime | None,
    report: Emit,
    gates: Sequence[Gate] | None = None,
) -> None:
    """Make a version live for a person's reason: skips the A/B test, but no gate.

    A running test ends. Raises UserError if a gate refuses the version, or the policy does not let
    this account skip the test.
    """
    policy.require_may_skip_test(settings, _user())
    with open_deployments(settings, as_of, report) as deployments:
        version = find(deployments.tracking, wanted)
        live = deployments.live()
        if live is not None and live.version == version.number:
            report(f"Version {version.number} is live already; nothing was changed.")
            return
        row = deployments.create(version, _user(), reason)
        _DeploymentRun(deployments, version, report, gates).run_gates(row)
        rollout = decide(deployments, row, State.LIVE, f"released by {row.who}: {reason}")
        report(f"Version {version.number} is live. {rollout}")


def check(
    settings: Settings, wanted: str, as_of: datetime | None, report: Emit, gates: Sequence[Gate] | None = None
) -> None:
    """Run and report all gates, and store nothing. Raises UserError if one refuses the version.

    The test environment serves the version only meanwhile.
    """
    with open_deployments(settings, as_of, report, reading=True) as deployments:
        version = find(deployments.tracking, wanted)
        refused = _DeploymentRun(deployments, version, report, gates).check()
    if refused:
        raise _refusal(version, refused)
    report(f"Version {version.number} passes all gates; nothing was changed.")


def find(tracking: Tracking, wanted: str) -> Version:
    """The version with that number, or the newest for `latest`, or the live one for `champion`.

    Raises UserError if there is none.
    """
    if wanted == CHAMPION:
        champion = tracking.champion()
        if champion is None:
            raise UserError("no version is live yet; deploy one first")
        return champion
    if wanted == LATEST:
        versions = tracking.versions()
        if not versions:
            raise UserError("no version is registered yet; run `python -m bike_demand train` first")
        return versions[-1]
    if not wanted.isdecimal():
        raise UserError(f"{wanted!r}: not a version; give its number, {LATEST} or {CHAMPION}")
    return tracking.version(int(wanted))


def earlier_decision(settings: Settings, wanted: str, as_of: datetime | None, report: Emit) -> str | None:
    """The version's current state or earlier decision, if it is not to be deployed after a training."""
    with open_deployments(settings, as_of, report, locked=False) as deployments:
        row = deployments.find(find(deployments.tracking, wanted))
        return None if row is None else reason_to_skip(deployments, row, LATEST)


def last_decision(deployments: Deployments, version: Version) -> Deployment | None:
    """The version's last deployment; None if it has none, or was interrupted."""
    row = deployments.find(version)
    return None if row is None or row.state in (State.CREATED, State.VALIDATING) else row


def reason_to_skip(deployments: Deployments, row: Deployment, wanted: str) -> str | None:
    """Why there is nothing to do: the version's current state or earlier decision; None: deploy it."""
    unchanged = "nothing was changed"
    if row.state is State.LIVE:
        return f"is live already; {unchanged}"
    if row.state is State.TESTING:
        return f"is already being tested; {unchanged}"
    if row.state is State.QUEUED and (end := deployments.queue_reason()):
        return f"is queued until {end}; {unchanged}"
    if row.state in (*FAILED, State.RETIRED) and wanted == LATEST:
        # Scheduled deployments of `latest` must not try again what was rejected, or replaced by a person.
        again = f"to try it again: python -m bike_demand deploy {row.version}"
        return f"was deployed before: {row.state.value.replace('_', ' ')}; {unchanged} ({again})"
    return None


@dataclass(frozen=True)
class _DeploymentRun:
    """One attempt to deploy a version."""

    deployments: Deployments
    version: Version
    report: Emit
    gate_override: Sequence[Gate] | None
    run: StepRunner = call

    @property
    def gates(self) -> Sequence[Gate]:
        """The given gates, else those that the policy requires."""
        given = self.gate_override
        return policy.required_gates(self.deployments.settings) if given is None else given

    def run_gates(self, row: Deployment) -> None:
        """Run the gates that were not passed yet. Raises UserError if one refuses the version."""
        self.deployments.transition(row, State.VALIDATING, "running the gates")
        snapshot = policy.snapshot(self.deployments.settings)
        if snapshot["skipped_gates"]:
            self.report(f"Gates not required by the policy: {', '.join(snapshot['skipped_gates'])}.")
        known = {each["gate"]: each for each in row.gates}
        results = [
            known.get(gate.id, {"gate": gate.id, "title": gate.title, "passed": None}) for gate in self.gates
        ]
        self.deployments.save_evidence(row, policy=snapshot, gates=[*results])
        with TemporaryDirectory() as scratch:
            context = self._context(scratch)
            for at, gate in enumerate(self.gates):
                if results[at]["passed"] and (not gate.compares or results[at]["champion"] == row.against):
                    self._report(at, results[at], " (passed before)")
                    continue
                self.run(f"gate: {gate.id}", partial(self._run_gate, row, at, gate, context, results))

    def _run_gate(
        self, row: Deployment, at: int, gate: Gate, context: GateContext, results: list[Result]
    ) -> None:
        """Run a gate and store its result. Raises UserError if it refuses the version."""
        results[at] = _result(gate, context)
        self._report(at, results[at])
        self.deployments.save_evidence(row, gates=[*results])
        if not results[at]["passed"]:
            reason = f"refused by gate {gate.id}: {results[at]['message']}"
            self.deployments.transition(row, State.FAILED_GATE, reason)
            page = write_page(self.deployments.database, row)
            raise UserError(f"{_refusal(self.version, [results[at]])} (evidence: {page})")

    def check(self) -> list[Result]:
        """Run all gates. Returns the results of those that refuse the version."""
        tracking, alias = self.deployments.tracking, self.deployments.settings.environments.test.alias
        before = tracking.aliases().get(alias)
        with TemporaryDirectory() as scratch:
            context, results = self._context(scratch), []
            try:
                for at, gate in enumerate(self.gates):
                    results.append(_result(gate, context))
                    self._report(at, results[at])
            finally:
                if before is not None:
                    tracking.set_alias(alias, before)
                elif alias in tracking.aliases():
                    self.deployments.remove_alias(alias)
        return [each for each in results if not each["passed"]]

    def finish(self, row: Deployment) -> None:
        """Start the A/B test or queue for it; if nothing is live, go live."""
        name, ab = f"Version {row.version}", self.deployments.settings.ab
        if row.against is None:
            step, state, reason = "go live", State.LIVE, "no champion to test it against"
            outcome = f"{name} is live: {reason}."
        elif end := self.deployments.queue_reason():
            step, state, reason = "queue for the A/B test", State.QUEUED, f"queued until {end}"
            outcome = f"{name} passed all gates and is {reason}."
        elif self.deployments.settings.promotion_policy.test == "none":
            step, state, reason = "go live", State.LIVE, "the policy requires no test"
            outcome = f"{name} passed all gates and is live: {reason}."
        else:
            kind = "shadow test" if ab.mode == "shadow" else "A/B test"
            begins = f"{kind} against version {row.against} starts (planned: {ab.days} days)"
            step, state, reason = f"start the {kind}", State.TESTING, f"its {begins}"
            outcome = f"{name} passed all gates; its {begins}."

        def begin() -> None:
            self.report(f"{outcome} {decide(self.deployments, row, state, reason)}".rstrip())

        self.run(step, begin)

    def _context(self, scratch: str) -> GateContext:
        deployments, version = self.deployments, self.version
        return GateContext(
            deployments.settings,
            deployments.tracking,
            version,
            deployments.tracking.champion(),
            good_rows(deployments.settings, deployments.as_of),
            Path(scratch),
            deployments.blocking_failure(version),
        )

    def _report(self, at: int, result: Result, more: str = "") -> None:
        word = "passed" if result["passed"] else "REFUSED"
        self.report(f"{at + 1}/{len(self.gates)} {result['gate']:<16} {word}: {result['message']}{more}")


def _result(gate: Gate, context: GateContext) -> Result:
    """Run a gate. A version that cannot be evaluated is refused.

    Raises UnreachableError if that is because the store is down.
    """
    began, at = time.monotonic(), datetime.now(UTC)
    try:
        result = gate.judge(context)
    except UserError as error:
        try:
            context.tracking.version(context.version.number)
        except UserError as down:
            raise UnreachableError(str(down)) from None
        result = GateResult(False, str(error))
    return {
        "gate": gate.id,
        "title": gate.title,
        "passed": result.passed,
        "message": result.summary,
        "evidence": dict(result.evidence),
        "seconds": round(time.monotonic() - began, 3),
        "at": at.isoformat(timespec="seconds"),
        "champion": None if context.champion is None else context.champion.number,
    }


def _refusal(version: Version, refused: Sequence[Result]) -> UserError:
    reasons = "; ".join(f"{each['gate']}: {each['message']}" for each in refused)
    return UserError(f"version {version.number} is refused by gate {reasons}; the champion is unchanged")


def _user() -> str:
    """The account that requested the deployment."""
    return os.environ.get("GITHUB_ACTOR") or getpass.getuser()
