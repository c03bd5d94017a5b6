"""A version's way from the registry to its A/B test: the gates in order, each with its evidence on record.

It can be cut off anywhere and taken up again: gates that were passed are not run a second time.
"""

import getpass
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from bike_demand.clock import now as now_of
from bike_demand.data.table import iso
from bike_demand.errors import UnreachableError, UserError
from bike_demand.monitoring.gathered import good_hours
from bike_demand.release import moves
from bike_demand.release.converge import wait_until_taken
from bike_demand.release.decision import Decision, Verdict, keep, kept, now_utc, page_of, plain
from bike_demand.release.gates import GATES, Gate, GateContext, GateResult
from bike_demand.release.moves import STATE_TAG
from bike_demand.settings import STATE, Settings
from bike_demand.tracking import CHALLENGER, CHAMPION, DEPLOYMENT_TAG, PREVIOUS, Tracking, Version

LATEST = "latest"
DEPLOYMENT = "deployment"  # the kind of its record

Tell = Callable[[str], None]


def deploy(
    settings: Settings, wanted: str, as_of: datetime | None, tell: Tell, gates: Sequence[Gate] = GATES
) -> None:
    """Take a version (its number, or `latest`) through the gates, and begin its A/B test.

    While another one is tested it waits, and while nothing is live it goes live. `tell` gets a line for each
    gate and one for the outcome. Raises UserError where a gate refuses it.
    """
    tracking = Tracking(settings)
    version = find(tracking, wanted)
    now = now_of(settings, as_of)
    with alone():
        standing = _standing(tracking, version)
        if standing is None and wanted == LATEST:
            standing = _decided_before(tracking, version)
        if standing:
            tell(standing)
            return
        record, decision = _taken_up(tracking, version, gates) or _begun(tracking, version, now, gates, None)
        decision = _judged(settings, tracking, version, record, decision, as_of, tell, gates)
        _go_on(settings, tracking, version, record, decision, now, tell)


def release(
    settings: Settings,
    wanted: str,
    reason: str,
    as_of: datetime | None,
    tell: Tell,
    gates: Sequence[Gate] = GATES,
) -> None:
    """What a person does where there is no time for an A/B test: all gates, none left out, and then live.

    A test under way ends. Raises UserError where a gate refuses the version.
    """
    tracking = Tracking(settings)
    version = find(tracking, wanted)
    if tracking.aliases().get(CHAMPION) == version.number:
        tell(f"Version {version.number} is live already; nothing was changed.")
        return
    now = now_of(settings, as_of)
    with alone():
        record, decision = _begun(tracking, version, now, gates, reason)
        decision = _judged(settings, tracking, version, record, decision, as_of, tell, gates)
        _must_be_champion(tracking, decision.champion)
        _keep_outcome(tracking, record, decision, moves.LIVE, f"Released by {decision.who}: {reason}.")
        moves.end_test(tracking, moves.STOPPED, f"version {version.number} was released by a person")
        tracking.tag(version.number, {DEPLOYMENT_TAG: record})
        moves.go_live(tracking, version, now)
        tell(f"Version {version.number} is live. {wait_until_taken(settings, 'production', tracking)}")


def check(
    settings: Settings, wanted: str, as_of: datetime | None, tell: Tell, gates: Sequence[Gate] = GATES
) -> None:
    """Run all gates, tell what each says, and keep nothing. Raises UserError where one refuses the version.

    The test environment has the version afterwards: that is what it is for.
    """
    tracking = Tracking(settings)
    version = find(tracking, wanted)
    refused = []
    with TemporaryDirectory() as scratch, alone():
        case = _case(settings, tracking, version, as_of, scratch)
        for number, gate in enumerate(gates, 1):
            verdict = _verdict(gate, case)
            tell(_line(number, gates, verdict))
            if not verdict.passed:
                refused.append(verdict)
    if refused:
        raise _refusal(version, refused)
    tell(f"Version {version.number} passes all gates; nothing was changed.")


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
    """What was decided on the version, as its record says; None where it still is to be, or was cut off."""
    record = version.tags.get(DEPLOYMENT_TAG)
    state = moves.GATES if record is None else tracking.run(record).tags.get(STATE_TAG, moves.GATES)
    return None if state == moves.GATES else state


@contextmanager
def alone() -> Iterator[None]:
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
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    if champion == version.number:
        return f"Version {version.number} is live already; nothing was changed."
    if challenger == version.number:
        return f"Version {version.number} is in its test already; nothing was changed."
    if moves.WAITING_TAG in version.tags and (end := _end_to_wait_for(tracking)):
        return f"Version {version.number} waits until {end}; nothing was changed."
    return None


def _decided_before(tracking: Tracking, version: Version) -> str | None:
    """What was decided on the newest version before: a schedule that asks for it must not try it again."""
    state = decided(tracking, version)
    if state not in (moves.REFUSED, moves.REJECTED, moves.STOPPED, moves.TAKEN_BACK):
        return None
    again = f"to try it again: python -m bike_demand deploy {version.number}"
    return f"Version {version.number} was deployed before: {state}; nothing was changed ({again})."


def _end_to_wait_for(tracking: Tracking) -> str | None:
    """What has to end before another test may begin; None: nothing has to.

    During the watch of a promotion the version before is asked beside the champion: a challenger would take
    its place, and nobody could tell any more that the promotion was a mistake.
    """
    aliases = tracking.aliases()
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    if challenger is not None and challenger != champion:
        return f"the test of version {challenger} ends"
    if aliases.get(PREVIOUS, champion) != champion:
        return f"the watch of version {champion} ends"
    return None


def _taken_up(tracking: Tracking, version: Version, gates: Sequence[Gate]) -> tuple[str, Decision] | None:
    """The record of a deployment of the version that was cut off, and how far it came."""
    record = version.tags.get(DEPLOYMENT_TAG)
    # A move is noted before it is made: where the version is not where its record says, that was cut off.
    if record is None or tracking.run(record).tags.get(STATE_TAG) not in moves.UNDER_WAY:
        return None
    decision = kept(tracking, record)
    if decision is None or decision.reason is not None:
        return None
    champion = tracking.aliases().get(CHAMPION)
    return record, decision.model_copy(update={"champion": champion, "gates": _named(gates)})


def _begun(
    tracking: Tracking, version: Version, now: datetime, gates: Sequence[Gate], reason: str | None
) -> tuple[str, Decision]:
    decision = Decision(
        version=version.number,
        run_id=version.run_id,
        digest=version.digest,
        champion=tracking.aliases().get(CHAMPION),
        who=_who(),
        reason=reason,
        at=now,
        began=now_utc(),
        gates=_named(gates),
        state=moves.GATES,
    )
    tags = {
        "version": str(version.number),
        "run_id": version.run_id,
        "digest": version.digest,
        "champion": "" if decision.champion is None else str(decision.champion),
        "who": decision.who,
        "at": iso(now),
        STATE_TAG: moves.GATES,
    }
    record = tracking.open_record(
        DEPLOYMENT,
        f"version {version.number}",
        tags | ({} if reason is None else {"reason": reason}),
    )
    keep(tracking, record, decision)
    if reason is None:  # what a person releases may be under test meanwhile, by another record
        tracking.tag(version.number, {DEPLOYMENT_TAG: record})
    return record, decision


def _judged(
    settings: Settings,
    tracking: Tracking,
    version: Version,
    record: str,
    decision: Decision,
    as_of: datetime | None,
    tell: Tell,
    gates: Sequence[Gate],
) -> Decision:
    """Run the gates that were not passed yet, in order, and stop at the first that refuses."""
    with TemporaryDirectory() as scratch:
        case = _case(settings, tracking, version, as_of, scratch)
        for number, gate in enumerate(gates, 1):
            before = decision.passed(gate.id)
            if before is not None and (not gate.compares or before.champion == decision.champion):
                tell(f"{_line(number, gates, before)} (passed before)")
                continue
            verdict = _verdict(gate, case)
            tell(_line(number, gates, verdict))
            decision = decision.with_verdict(verdict)
            if not verdict.passed:
                refusal = f"{_refusal(version, [verdict])} (evidence: {page_of(version.number)})"
                outcome = f"Refused by gate {gate.id}: {verdict.says}. What is live stays."
                _keep_outcome(tracking, record, decision, moves.REFUSED, outcome)
                tracking.write_record(record, tags={STATE_TAG: moves.REFUSED})
                tracking.close_record(record, False)
                raise UserError(refusal)
            keep(tracking, record, decision)
    return decision


def _go_on(
    settings: Settings,
    tracking: Tracking,
    version: Version,
    record: str,
    decision: Decision,
    now: datetime,
    tell: Tell,
) -> None:
    """What follows on the gates: a test, the wait for one, or at once the users where nothing is live."""
    _must_be_champion(tracking, decision.champion)
    name = f"Version {version.number}"
    if decision.champion is None:
        _keep_outcome(tracking, record, decision, moves.LIVE, "Nothing was live to test it against.")
        moves.go_live(tracking, version, now)
        said = f"{name} is live: nothing was live to test it against."
    elif end := _end_to_wait_for(tracking):
        _keep_outcome(tracking, record, decision, moves.WAITING, f"It waits until {end}.")
        moves.wait_for_test(tracking, version, now)
        tell(f"{name} passed all gates and waits until {end}.")
        return
    else:
        ab = settings.ab
        kind = "shadow test" if ab.mode == "shadow" else "A/B test"
        what = f"Its {kind} against version {decision.champion} begins: {ab.days} days at most."
        _keep_outcome(tracking, record, decision, moves.TESTING, what)
        moves.begin_test(settings, tracking, version, now)
        said = f"{name} passed all gates. {what}"
    tell(f"{said} {wait_until_taken(settings, 'production', tracking)}")


def _must_be_champion(tracking: Tracking, compared: int | None) -> None:
    live = tracking.aliases().get(CHAMPION)
    if live != compared:
        raise UserError(f"version {live or 'none'} went live in the meantime; deploy again")


def _keep_outcome(tracking: Tracking, record: str, decision: Decision, state: str, outcome: str) -> None:
    """The evidence is whole before anything moves."""
    keep(tracking, record, decision.model_copy(update={"state": state, "outcome": outcome}), page=True)


def _case(
    settings: Settings, tracking: Tracking, version: Version, as_of: datetime | None, scratch: str
) -> GateContext:
    return GateContext(
        settings, tracking, version, tracking.champion(), good_hours(settings, as_of), Path(scratch)
    )


def _verdict(gate: Gate, case: GateContext) -> Verdict:
    """What the gate says. A version that cannot be judged is refused, but not for a store that is away: then
    UnreachableError is raised.
    """
    began, at = time.monotonic(), now_utc()
    try:
        result = gate.judge(case)
    except UserError as error:
        try:
            case.tracking.version(case.version.number)
        except UserError as away:
            raise UnreachableError(str(away)) from None
        result = GateResult(False, str(error))
    return Verdict(
        gate=gate.id,
        title=gate.title,
        passed=result.passed,
        says=result.summary,
        evidence=plain(result.evidence),
        seconds=round(time.monotonic() - began, 3),
        at=at,
        champion=None if case.champion is None else case.champion.number,
    )


def _refusal(version: Version, verdicts: Sequence[Verdict]) -> UserError:
    said = "; ".join(f"{each.gate}: {each.says}" for each in verdicts)
    return UserError(f"version {version.number} is refused by gate {said}; it stays registered")


def _line(number: int, gates: Sequence[Gate], verdict: Verdict) -> str:
    word = "passed" if verdict.passed else "REFUSED"
    return f"{number}/{len(gates)} {verdict.gate:<16} {word}: {verdict.says}"


def _named(gates: Sequence[Gate]) -> tuple[tuple[str, str], ...]:
    return tuple((gate.id, gate.title) for gate in gates)


def _who() -> str:
    """Who asked for it: the account at work."""
    try:
        return os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in some containers
        return "unknown"
