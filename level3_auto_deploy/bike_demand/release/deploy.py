"""Deploys versions: through the gates in order, each with its evidence on record, to the A/B test.

A deployment can be interrupted anywhere and resumed: gates that were passed are not run a second time.
"""

import getpass
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from bike_demand.clock import now as now_of
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import DATA, STATE, Settings
from bike_demand.data.store import read_rows
from bike_demand.release import transitions
from bike_demand.release.decision import DeploymentDecision, GateVerdict, page_of, store, stored
from bike_demand.release.gates import GATES, Gate, GateContext, GateResult
from bike_demand.release.transitions import STATE_TAG, wait_for_rollout
from bike_demand.store.tracking import CHALLENGER, CHAMPION, DEPLOYMENT_TAG, PREVIOUS, Tracking, Version

LATEST = "latest"
DEPLOYMENT = "deployment"  # the kind of its record
RECORD_TAGS = {"version", "run_id", "digest", "champion", "who", "at", "reason", "state"}

Report = Callable[[str], None]


def deploy(
    settings: Settings, wanted: str, as_of: datetime | None, report: Report, gates: Sequence[Gate] = GATES
) -> None:
    """Take a version (its number, or `latest`) through the gates, and begin its A/B test.

    While another version is tested it is queued, and while nothing is live it goes live. `report` gets a line
    for each gate and one for the outcome. Raises UserError where a gate refuses it.
    """
    tracking = Tracking(settings)
    version = find(tracking, wanted)
    with deployment_lock():
        standing = _standing(tracking, version)
        if standing is None and wanted == LATEST:
            standing = _decided_before(tracking, version)
        if standing:
            report(standing)
            return
        attempt = _Attempt(settings, tracking, version, as_of, report, gates)
        record, decision = attempt.resume() or attempt.begin(None)
        attempt.finish(record, attempt.judge(record, decision))


def release(
    settings: Settings,
    wanted: str,
    reason: str,
    as_of: datetime | None,
    report: Report,
    gates: Sequence[Gate] = GATES,
) -> None:
    """Put a version live without an A/B test, for a person's reason, but not past any gate.

    A test under way ends. Raises UserError where a gate refuses the version.
    """
    tracking = Tracking(settings)
    version = find(tracking, wanted)
    if tracking.aliases().get(CHAMPION) == version.number:
        report(f"Version {version.number} is live already; nothing was changed.")
        return
    with deployment_lock():
        attempt = _Attempt(settings, tracking, version, as_of, report, gates)
        record, decision = attempt.begin(reason)
        decision = attempt.judge(record, decision)
        attempt.require_champion(decision.champion)
        attempt.store(record, decision, transitions.LIVE, f"Released by {decision.who}: {reason}.")
        transitions.end_test(
            tracking, transitions.STOPPED, f"version {version.number} was released by a person"
        )
        tracking.tag(version.number, {DEPLOYMENT_TAG: record})
        transitions.go_live(tracking, version, now_of(settings, as_of))
        report(f"Version {version.number} is live. {wait_for_rollout(settings, tracking)}")


def check(
    settings: Settings, wanted: str, as_of: datetime | None, report: Report, gates: Sequence[Gate] = GATES
) -> None:
    """Run all gates, report each, and store nothing. Raises UserError where one refuses the version.

    The test environment has the version afterwards: that is what it is for.
    """
    tracking = Tracking(settings)
    version = find(tracking, wanted)
    with deployment_lock():
        refused = _Attempt(settings, tracking, version, as_of, report, gates).check()
    if refused:
        raise _refusal(version, refused)
    report(f"Version {version.number} passes all gates; nothing was changed.")


def find(tracking: Tracking, wanted: str) -> Version:
    """The version of that number, or the newest for `latest`, or the one that is live for `champion`.

    Raises UserError where there is none.
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
        raise UserError(f"{wanted!r}: no version; give its number, {LATEST} or {CHAMPION}")
    return tracking.version(int(wanted))


def decided(tracking: Tracking, version: Version) -> str | None:
    """The state in which the version's last deployment ended; None where it has none, or was interrupted."""
    record = tracking.find_run(version.tags.get(DEPLOYMENT_TAG))
    state = None if record is None else record.tags.get(STATE_TAG)
    return None if state == transitions.GATES else state


@contextmanager
def deployment_lock() -> Iterator[None]:
    """Inside, no other deployment of this folder is at work. Raises UserError where one is."""
    STATE.mkdir(exist_ok=True)
    lock = FileLock(STATE / "deploy.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError("another deployment is at work in this folder; try again when it is done") from None
    try:
        yield
    finally:
        lock.release()


def _standing(tracking: Tracking, version: Version) -> str | None:
    """Where the version is already; None where it is to be deployed."""
    aliases = tracking.aliases()
    if aliases.get(CHAMPION) == version.number:
        where = "is live already"
    elif aliases.get(CHALLENGER) == version.number:
        where = "is in its test already"
    elif transitions.WAITING_TAG in version.tags and (end := _blocker(tracking)):
        where = f"waits until {end}"
    else:
        return None
    return f"Version {version.number} {where}; nothing was changed."


def _decided_before(tracking: Tracking, version: Version) -> str | None:
    """What was decided on the newest version before: a schedule that asks for it must not try it again."""
    state = decided(tracking, version)
    failed = (transitions.REFUSED, transitions.REJECTED, transitions.STOPPED, transitions.ROLLED_BACK)
    if state not in failed:
        return None
    again = f"to try it again: python -m bike_demand deploy {version.number}"
    return f"Version {version.number} was deployed before: {state}; nothing was changed ({again})."


def _blocker(tracking: Tracking) -> str | None:
    """What has to end before another test may begin; None: nothing has to.

    During the watch of a promotion the version before predicts beside the champion: a challenger would take
    its place, and a bad promotion could not be detected any more.
    """
    aliases = tracking.aliases()
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    if challenger is not None and challenger != champion:
        return f"the test of version {challenger} ends"
    if aliases.get(PREVIOUS, champion) != champion:
        return f"the watch of version {champion} ends"
    return None


@dataclass(frozen=True)
class _Attempt:
    """One attempt to deploy a version."""

    settings: Settings
    tracking: Tracking
    version: Version
    as_of: datetime | None
    report: Report
    gates: Sequence[Gate]

    def resume(self) -> tuple[str, DeploymentDecision] | None:
        """The record of an interrupted deployment of the version, and how far it came."""
        record = self.tracking.find_run(self.version.tags.get(DEPLOYMENT_TAG))
        # The state is written before the alias moves: where they differ, the deployment was interrupted.
        if record is None or record.tags.get(STATE_TAG) not in transitions.UNDER_WAY:
            return None
        decision = stored(self.tracking, record.id)
        if decision is None or decision.reason is not None:
            return None
        changes = {"champion": self.tracking.aliases().get(CHAMPION), "gates": self._titles()}
        return record.id, decision.model_copy(update=changes)

    def begin(self, reason: str | None) -> tuple[str, DeploymentDecision]:
        """A new record. `reason`: of a person who skips the A/B test."""
        decision = DeploymentDecision(
            version=self.version.number,
            run_id=self.version.run_id,
            digest=self.version.digest,
            champion=self.tracking.aliases().get(CHAMPION),
            who=_user(),
            reason=reason,
            at=now_of(self.settings, self.as_of),
            began=_now(),
            gates=self._titles(),
            state=transitions.GATES,
        )
        tags = decision.model_dump(mode="json", include=RECORD_TAGS, exclude_none=True)
        record = self.tracking.open_record(
            DEPLOYMENT, f"version {decision.version}", {key: str(value) for key, value in tags.items()}
        )
        store(self.tracking, record, decision)
        if reason is None:  # what a person releases may be under test meanwhile, with another record
            self.tracking.tag(decision.version, {DEPLOYMENT_TAG: record})
        return record, decision

    def judge(self, record: str, decision: DeploymentDecision) -> DeploymentDecision:
        """Run the gates that were not passed yet. Raises UserError where one refuses the version."""
        with TemporaryDirectory() as scratch:
            context = self._context(scratch)
            for number, gate in enumerate(self.gates, 1):
                before = decision.passed(gate.id)
                if before is not None and (not gate.compares or before.champion == decision.champion):
                    self.report(f"{self._line(number, before)} (passed before)")
                    continue
                verdict = _verdict(gate, context)
                self.report(self._line(number, verdict))
                decision = decision.with_verdict(verdict)
                if not verdict.passed:
                    outcome = f"Refused by gate {gate.id}: {verdict.says}. What is live stays."
                    self.store(record, decision, transitions.REFUSED, outcome)
                    self.tracking.write_record(record, tags={STATE_TAG: transitions.REFUSED})
                    self.tracking.close_record(record, False)
                    page = page_of(self.version.number)
                    raise UserError(f"{_refusal(self.version, [verdict])} (evidence: {page})")
                store(self.tracking, record, decision)
        return decision

    def check(self) -> list[GateVerdict]:
        """Run all gates; the verdicts of those that refuse the version."""
        refused = []
        with TemporaryDirectory() as scratch:
            context = self._context(scratch)
            for number, gate in enumerate(self.gates, 1):
                verdict = _verdict(gate, context)
                self.report(self._line(number, verdict))
                if not verdict.passed:
                    refused.append(verdict)
        return refused

    def finish(self, record: str, decision: DeploymentDecision) -> None:
        """Begin the A/B test or queue for it; where nothing is live, go live."""
        self.require_champion(decision.champion)
        now, name = now_of(self.settings, self.as_of), f"Version {self.version.number}"
        if decision.champion is None:
            self.store(record, decision, transitions.LIVE, "Nothing was live to test it against.")
            transitions.go_live(self.tracking, self.version, now)
            outcome = f"{name} is live: nothing was live to test it against."
        elif end := _blocker(self.tracking):
            self.store(record, decision, transitions.WAITING, f"It waits until {end}.")
            transitions.wait_for_test(self.tracking, self.version, now)
            self.report(f"{name} passed all gates and waits until {end}.")
            return
        else:
            ab = self.settings.ab
            kind = "shadow test" if ab.mode == "shadow" else "A/B test"
            begins = f"Its {kind} against version {decision.champion} begins: {ab.days} days at most."
            self.store(record, decision, transitions.TESTING, begins)
            transitions.begin_test(self.settings, self.tracking, self.version, now)
            outcome = f"{name} passed all gates. {begins}"
        self.report(f"{outcome} {wait_for_rollout(self.settings, self.tracking)}")

    def require_champion(self, compared: int | None) -> None:
        """Raises UserError where the champion is not the one any more that the gates compared with."""
        live = self.tracking.aliases().get(CHAMPION)
        if live != compared:
            raise UserError(f"version {live or 'none'} went live in the meantime; deploy again")

    def store(self, record: str, decision: DeploymentDecision, state: str, outcome: str) -> None:
        """Store the whole evidence, before any alias moves."""
        changes = {"state": state, "outcome": outcome}
        store(self.tracking, record, decision.model_copy(update=changes), page=True)

    def _context(self, scratch: str) -> GateContext:
        rows = read_rows(DATA, self.as_of)
        champion = self.tracking.champion()
        return GateContext(self.settings, self.tracking, self.version, champion, rows, Path(scratch))

    def _titles(self) -> tuple[tuple[str, str], ...]:
        return tuple((gate.id, gate.title) for gate in self.gates)

    def _line(self, number: int, verdict: GateVerdict) -> str:
        word = "passed" if verdict.passed else "REFUSED"
        return f"{number}/{len(self.gates)} {verdict.gate:<16} {word}: {verdict.says}"


def _verdict(gate: Gate, context: GateContext) -> GateVerdict:
    """Run a gate. A version that cannot be judged is refused.

    Raises UnreachableError where that is because the store is down.
    """
    began, at = time.monotonic(), _now()
    try:
        result = gate.judge(context)
    except UserError as error:
        try:
            context.tracking.version(context.version.number)
        except UserError as down:
            raise UnreachableError(str(down)) from None
        result = GateResult(False, str(error))
    return GateVerdict(
        gate=gate.id,
        title=gate.title,
        passed=result.passed,
        says=result.summary,
        evidence=dict(result.evidence),
        seconds=round(time.monotonic() - began, 3),
        at=at,
        champion=None if context.champion is None else context.champion.number,
    )


def _refusal(version: Version, verdicts: Sequence[GateVerdict]) -> UserError:
    reasons = "; ".join(f"{each.gate}: {each.says}" for each in verdicts)
    return UserError(f"version {version.number} is refused by gate {reasons}; it stays registered")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _user() -> str:
    """The account that asked for it."""
    try:
        return os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in some containers
        return "unknown"
