"""One step of the A/B test: evaluates the evidence, applies the decision, and stores why. To be run daily.

A repeated step changes nothing, and an interrupted one is completed by the next.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from bike_demand import clock
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import Settings
from bike_demand.release import transitions
from bike_demand.release.ab.evidence import Evidence, TrialKind, gather, under_test, under_watch
from bike_demand.release.ab.status import as_page
from bike_demand.release.decision import store, stored
from bike_demand.release.deploy import deploy, deployment_lock
from bike_demand.release.rollback import GUARD, roll_back
from bike_demand.release.transitions import wait_for_rollout
from bike_demand.store.tracking import CHALLENGER, CHAMPION, DEPLOYMENT_TAG, PREVIOUS, Tracking, Version

Report = Callable[[str], None]


def step(settings: Settings, as_of: datetime | None, report: Report) -> None:
    """Watch what was promoted, decide on the test under way, begin the next one; `report` gets a line each.

    Raises UserError where the store or the database is down, or a deployment is at work.
    """
    tracking = Tracking(settings)
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        report(line)

    with deployment_lock():
        watched = _watch(settings, tracking, as_of, note)
        busy = _test(settings, tracking, as_of, note) or watched
    if not busy:
        _begin_next(settings, tracking, as_of, note)
    if not lines:
        report("No test is under way, nothing is watched and nothing waits; nothing was changed.")


def stop(settings: Settings, reason: str, as_of: datetime | None, report: Report) -> None:
    """End the test under way, for a person's reason. Raises UserError where there is none."""
    tracking = Tracking(settings)
    with deployment_lock():
        aliases = tracking.aliases()
        challenger, champion = aliases.get(CHALLENGER), aliases.get(CHAMPION)
        if challenger is None or challenger == champion:
            raise UserError("no test is under way, so there is none to stop")
        try:
            trial = under_test(settings, tracking)
            if trial is not None:
                verdict = {"verdict": "stop", "reason": f"stopped by a person: {reason}"}
                evidence = gather(settings, trial, as_of).model_copy(update=verdict)
                _store(tracking, tracking.version(challenger), evidence, transitions.STOPPED)
        except UserError as error:  # whatever is broken, a person can end it
            report(f"No evidence is stored: {error}")
        transitions.end_test(tracking, transitions.STOPPED, f"stopped by a person: {reason}")
        report(
            f"The test of version {challenger} is stopped; version {champion} stays."
            f" {wait_for_rollout(settings, tracking)}"
        )


def _watch(settings: Settings, tracking: Tracking, as_of: datetime | None, report: Report) -> bool:
    """Roll the champion back where it turned out worse, or end its watch; whether that goes on."""
    trial = under_watch(settings, tracking)
    if trial is None:
        return False
    evidence = gather(settings, trial, as_of)
    champion = tracking.version(trial.version)
    if evidence.verdict == "roll back":
        _store(tracking, champion, evidence, None)
        report(roll_back(settings, tracking, f"{GUARD}: {evidence.reason}", evidence.now))
        return False
    if evidence.verdict == "end":
        _store(tracking, champion, evidence, None)
        tracking.remove_alias(PREVIOUS)
        report(f"Version {trial.version} was watched for {trial.days} days: {evidence.reason}.")
        return False
    report(f"Version {trial.version} is watched until {_end(evidence)}: {evidence.reason}.")
    return True


def _test(settings: Settings, tracking: Tracking, as_of: datetime | None, report: Report) -> bool:
    """Decide on the test under way; whether it goes on, or a promotion is to be watched now."""
    aliases = tracking.aliases()
    if CHALLENGER in aliases and aliases[CHALLENGER] == aliases.get(CHAMPION):
        # A promotion that was interrupted after the alias moved.
        transitions.go_live(tracking, tracking.version(aliases[CHAMPION]), clock.now(settings, as_of))
        report(f"The interrupted promotion of version {aliases[CHAMPION]} is complete.")
        return True
    trial = under_test(settings, tracking)
    if trial is None:
        return False
    evidence = gather(settings, trial, as_of)
    challenger = tracking.version(trial.version)
    name = f"Version {trial.version}"
    if evidence.verdict == "keep on":
        report(
            f"{name} is tested against version {trial.against} until {_end(evidence)} at most:"
            f" {evidence.reason}."
        )
        return True
    if evidence.verdict == "promote":
        _store(tracking, challenger, evidence, transitions.LIVE)
        transitions.go_live(tracking, challenger, evidence.now)
        watched = settings.ab.watch_days > 0
        if not watched:
            tracking.remove_alias(PREVIOUS)
        report(f"{name} is promoted, {evidence.reason}. {wait_for_rollout(settings, tracking)}")
        return watched
    _store(tracking, challenger, evidence, transitions.REJECTED)
    transitions.end_test(tracking, transitions.REJECTED, evidence.reason)
    rollout = wait_for_rollout(settings, tracking)
    report(f"{name} is rejected, {evidence.reason}. Version {trial.against} stays. {rollout}")
    return False


def _begin_next(settings: Settings, tracking: Tracking, as_of: datetime | None, report: Report) -> None:
    """Begin the test of the newest queued version; those before it are out of date."""
    queued = transitions.waiting(tracking)
    if not queued:
        return
    *older, newest = queued
    for version in older:
        _drop(tracking, version, f"version {newest.number} is newer and is tested instead")
        report(f"Version {version.number} is not tested: version {newest.number} is newer.")
    try:
        # By its deployment: gates that compared it with an earlier champion run again.
        deploy(settings, str(newest.number), as_of, report)
    except UnreachableError:
        raise
    except UserError as error:
        _drop(tracking, newest, str(error))
        report(f"Version {newest.number} waited for its test, but: {error}")


def _drop(tracking: Tracking, version: Version, reason: str) -> None:
    tracking.untag(version.number, transitions.WAITING_TAG)
    if record := version.tags.get(DEPLOYMENT_TAG):
        tags = {transitions.STATE_TAG: transitions.STOPPED, "reason": reason[:5000]}
        tracking.write_record(record, tags=tags)
        tracking.close_record(record, False)


def _store(tracking: Tracking, version: Version, evidence: Evidence, state: str | None) -> None:
    """Put the evidence on the record of the version's deployment, before any alias moves."""
    record = version.tags.get(DEPLOYMENT_TAG)
    if record is None:  # promoted out of band
        return
    name = "ab" if evidence.trial.kind is TrialKind.TEST else "watch"
    texts = {f"{name}.json": evidence.model_dump_json(indent=1), f"{name}.html": as_page(evidence)}
    tags = {f"{name}.verdict": evidence.verdict, f"{name}.reason": evidence.reason}
    metrics: dict[str, float | None] = {f"{name}_rows": evidence.rows}
    for last in evidence.days[-1:]:
        metrics |= {f"{name}_ratio": last.ratio, f"{name}_low": last.low, f"{name}_high": last.high}
    known = {key: float(value) for key, value in metrics.items() if value is not None}
    tracking.write_record(record, tags=tags, metrics=known, texts=texts)
    decision = stored(tracking, record)
    if state is not None and decision is not None:
        outcome = f"{decision.outcome.split(' Then: ')[0]} Then: {evidence.verdict}, {evidence.reason}."
        store(tracking, record, decision.model_copy(update={"state": state, "outcome": outcome}), page=True)


def _end(evidence: Evidence) -> str:
    return f"{evidence.trial.began + timedelta(days=evidence.trial.days):%Y-%m-%d}"
