"""One step of the A/B test: looks at what is known by now, does what follows, and keeps why. Made daily.

To repeat it changes nothing, and a step that was cut off is finished by the next one.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from bike_demand import clock
from bike_demand.data.store import gathered_months
from bike_demand.errors import UnreachableError, UserError
from bike_demand.prediction_log.database import open_database
from bike_demand.prediction_log.queries import Pair, pairs, waiting
from bike_demand.release import moves
from bike_demand.release.ab.evidence import Evidence, Kind, Trial, weigh
from bike_demand.release.ab.page import rendered
from bike_demand.release.converge import wait_until_taken
from bike_demand.release.decision import keep, kept
from bike_demand.release.deploy import alone, deploy
from bike_demand.release.rollback import GUARD, take_back
from bike_demand.settings import DATA, Settings
from bike_demand.tracking import AB_TAG, CHALLENGER, CHAMPION, DEPLOYMENT_TAG, PREVIOUS, Tracking, Version

PRODUCTION = "production"
MOST_APART = timedelta(days=3)  # hours with outcomes, for the later one to say how late it is
JSON, PAGE = "ab.json", "ab.html"  # evidence of a test, with the record of the deployment
WATCH_JSON, WATCH_PAGE = "watch.json", "watch.html"

Tell = Callable[[str], None]


def step(settings: Settings, as_of: datetime | None, tell: Tell) -> None:
    """Watch what was promoted, decide on the test under way, begin the next one; `tell` gets a line for each.

    Raises UserError where the store or the database is away, or a deployment is at work.
    """
    tracking = Tracking(settings)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        tell(line)

    with alone():
        watched = _watch(settings, tracking, as_of, say)
        busy = _test(settings, tracking, as_of, say) or watched
    if not busy:
        _begin_next(settings, tracking, as_of, say)
    if not said:
        tell("No test is under way, nothing is watched and nothing waits; nothing was changed.")


def stop(settings: Settings, reason: str, as_of: datetime | None, tell: Tell) -> None:
    """End the test under way, for a person's reason. Raises UserError where there is none."""
    tracking = Tracking(settings)
    with alone():
        aliases = tracking.aliases()
        challenger, champion = aliases.get(CHALLENGER), aliases.get(CHAMPION)
        if challenger is None or challenger == champion:
            raise UserError("no test is under way, so there is none to stop")
        try:
            trial = under_test(settings, tracking)
            if trial is not None:
                said = {"verdict": "stop", "reason": f"stopped by a person: {reason}"}
                evidence = gathered(settings, trial, as_of).model_copy(update=said)
                _keep(tracking, tracking.version(challenger), evidence, moves.STOPPED)
        except UserError as error:  # whatever is broken, a person can end it
            tell(f"No evidence is kept: {error}")
        moves.end_test(tracking, moves.STOPPED, f"stopped by a person: {reason}")
        tell(
            f"The test of version {challenger} is stopped; version {champion} stays."
            f" {_taken(settings, tracking)}"
        )


def under_test(settings: Settings, tracking: Tracking) -> Trial | None:
    """The test that is under way; None where there is none."""
    aliases = tracking.aliases()
    challenger, champion = aliases.get(CHALLENGER), aliases.get(CHAMPION)
    if challenger is None or champion is None or challenger == champion:
        return None
    try:
        test = json.loads(tracking.version(challenger).tags[AB_TAG])
        return Trial(
            kind=Kind.TEST,
            version=challenger,
            against=champion,
            mode=test["mode"],
            share=test["share"],
            salt=test["salt"],
            # A shadow is never shown: there are only pairs.
            paired=settings.ab.paired or test["mode"] == "shadow",
            began=datetime.fromisoformat(test["began"]),
            days=settings.ab.days,
        )
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"version {challenger} is the challenger, but its tag {AB_TAG} says of no test; end it by"
            " `ab stop` and deploy it again"
        ) from None


def under_watch(settings: Settings, tracking: Tracking) -> Trial | None:
    """The promotion that is watched; None where there is none."""
    aliases = tracking.aliases()
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if champion is None or previous is None or champion == previous:
        return None
    since = tracking.version(champion).tags.get(moves.LIVE_SINCE_TAG)
    if since is None:
        return None
    return Trial(
        kind=Kind.WATCH,
        version=champion,
        against=previous,
        mode="shadow",
        share=0.0,
        salt="",
        paired=True,
        began=datetime.fromisoformat(since),
        days=settings.ab.watch_days,
    )


def gathered(settings: Settings, trial: Trial, as_of: datetime | None) -> Evidence:
    """What is known of a test or a watch by now. Raises UserError where the database is away."""
    with closing(open_database(settings.environments.production.database)) as database:
        found = pairs(database, trial.version, trial.against, trial.began, as_of or datetime.max)
        now = _now(settings, as_of, trial.began, found)
        found = [pair for pair in found if pair.hour < now]
        return weigh(found, trial, settings.ab, now, waiting(database, trial.began, now))


def _now(settings: Settings, as_of: datetime | None, began: datetime, found: Sequence[Pair]) -> datetime:
    """Data are gathered for trainings only, outcomes come each hour: by the feed's clock the later counts.

    Outcomes that follow on each other, that is: somebody who tries the service with an hour of next year does
    not turn the clock.
    """
    if as_of is not None or settings.clock == "wall":
        return clock.now(settings, as_of)
    now = max(began, clock.now(settings, None)) if gathered_months(DATA) else began
    for pair in found:
        if pair.hour > now + MOST_APART:
            break
        now = max(now, pair.hour + clock.HOUR)
    return now


def _watch(settings: Settings, tracking: Tracking, as_of: datetime | None, tell: Tell) -> bool:
    """Take the champion back where it turned out worse, or end its watch; whether that goes on."""
    trial = under_watch(settings, tracking)
    if trial is None:
        return False
    evidence = gathered(settings, trial, as_of)
    champion = tracking.version(trial.version)
    if evidence.verdict == "take back":
        _keep(tracking, champion, evidence, None)
        tell(take_back(settings, tracking, f"{GUARD}: {evidence.reason}", evidence.now))
        return False
    if evidence.verdict == "end":
        _keep(tracking, champion, evidence, None)
        tracking.remove_alias(PREVIOUS)
        tell(f"Version {trial.version} was watched for {trial.days} days: {evidence.reason}.")
        return False
    tell(f"Version {trial.version} is watched until {_end(evidence)}: {evidence.reason}.")
    return True


def _test(settings: Settings, tracking: Tracking, as_of: datetime | None, tell: Tell) -> bool:
    """Decide on the test under way; whether it goes on, or a promotion is to be watched now."""
    aliases = tracking.aliases()
    if CHALLENGER in aliases and aliases[CHALLENGER] == aliases.get(CHAMPION):
        # A promotion that was cut off after the users had it.
        moves.go_live(tracking, tracking.version(aliases[CHAMPION]), clock.now(settings, as_of))
        tell(f"The promotion of version {aliases[CHAMPION]}, which was cut off, is finished.")
        return True
    trial = under_test(settings, tracking)
    if trial is None:
        return False
    evidence = gathered(settings, trial, as_of)
    challenger = tracking.version(trial.version)
    name = f"Version {trial.version}"
    if evidence.verdict == "keep on":
        tell(
            f"{name} is tested against version {trial.against} until {_end(evidence)} at most:"
            f" {evidence.reason}."
        )
        return True
    if evidence.verdict == "promote":
        _keep(tracking, challenger, evidence, moves.LIVE)
        moves.go_live(tracking, challenger, evidence.now)
        watched = settings.ab.watch_days > 0
        if not watched:
            tracking.remove_alias(PREVIOUS)
        tell(f"{name} is promoted, {evidence.reason}. {_taken(settings, tracking)}")
        return watched
    _keep(tracking, challenger, evidence, moves.REJECTED)
    moves.end_test(tracking, moves.REJECTED, evidence.reason)
    tell(
        f"{name} is rejected, {evidence.reason}. Version {trial.against} stays. {_taken(settings, tracking)}"
    )
    return False


def _begin_next(settings: Settings, tracking: Tracking, as_of: datetime | None, tell: Tell) -> None:
    """Let the newest of the versions that wait have its test; those before it are out of date."""
    waiting_ones = moves.waiting(tracking)
    if not waiting_ones:
        return
    *older, newest = waiting_ones
    for version in older:
        _drop(tracking, version, f"version {newest.number} is newer and is tested instead")
        tell(f"Version {version.number} is not tested: version {newest.number} is newer.")
    try:
        # Through its deployment: what was compared with a champion that is no more is compared again.
        deploy(settings, str(newest.number), as_of, tell)
    except UnreachableError:
        raise
    except UserError as error:
        _drop(tracking, newest, str(error))
        tell(f"Version {newest.number} waited for its test, but: {error}")


def _drop(tracking: Tracking, version: Version, reason: str) -> None:
    tracking.untag(version.number, moves.WAITING_TAG)
    if record := version.tags.get(DEPLOYMENT_TAG):
        tracking.write_record(record, tags={moves.STATE_TAG: moves.STOPPED, "reason": reason[:5000]})
        tracking.close_record(record, False)


def _keep(tracking: Tracking, version: Version, evidence: Evidence, state: str | None) -> None:
    """Put the evidence on the record of the version's deployment, before anything moves."""
    record = version.tags.get(DEPLOYMENT_TAG)
    if record is None:  # put there by other means
        return
    test = evidence.trial.kind is Kind.TEST
    with TemporaryDirectory() as scratch:
        files = [Path(scratch) / name for name in ((JSON, PAGE) if test else (WATCH_JSON, WATCH_PAGE))]
        files[0].write_text(evidence.model_dump_json(indent=1), encoding="utf-8", newline="\n")
        files[1].write_text(rendered(evidence), encoding="utf-8", newline="\n")
        what = "ab" if test else "watch"
        tags = {f"{what}.verdict": evidence.verdict, f"{what}.reason": evidence.reason}
        metrics = {f"{what}_hours": float(evidence.hours)}
        if evidence.days and (last := evidence.days[-1]).ratio is not None:
            metrics |= {f"{what}_ratio": last.ratio, f"{what}_low": last.low}
            metrics |= {} if last.high is None else {f"{what}_high": last.high}
        tracking.write_record(record, tags=tags, metrics=metrics, artifacts=files)
    decision = kept(tracking, record)
    if state is not None and decision is not None:
        outcome = f"{decision.outcome.split(' Then: ')[0]} Then: {evidence.verdict}, {evidence.reason}."
        keep(tracking, record, decision.model_copy(update={"state": state, "outcome": outcome}), page=True)


def _end(evidence: Evidence) -> str:
    return f"{evidence.trial.began + timedelta(days=evidence.trial.days):%Y-%m-%d}"


def _taken(settings: Settings, tracking: Tracking) -> str:
    return wait_until_taken(settings, PRODUCTION, tracking)
