"""Detects missing, out-of-band or regressing champions, and responds: restores, adopts, rolls back.

A promotion is watched by pairs of predictions. One out of band has none yet, so the last good version
predicts the same rows again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bike_demand.core.errors import UserError
from bike_demand.loop.context import Context
from bike_demand.release import transitions
from bike_demand.release.ab.evidence import Evidence, gather, under_watch
from bike_demand.release.ab.step import step
from bike_demand.release.deploy import deployment_lock
from bike_demand.release.out_of_band import (
    OUT_OF_BAND_TAG,
    OutOfBandPromotion,
    adopt,
    out_of_band_promotion,
)
from bike_demand.release.rescored import compared
from bike_demand.release.rollback import last_good, roll_back
from bike_demand.release.transitions import LIVE_SINCE_TAG
from bike_demand.store import event_log
from bike_demand.store.event_log import DONE, FAILED, LIVE, ROLL_BACK, Signal
from bike_demand.store.queries import first_time_after
from bike_demand.store.tables import Kind, Raised
from bike_demand.store.tracking import BLOCKED_TAG, CHAMPION, PREVIOUS, Version

# Keys of a signal's evidence.
VERSION, GOOD, VERDICT, OUT_OF_BAND = "version", "against", "verdict", "put_there_by_other_means"


def signals(context: Context) -> list[Signal]:
    """What is wrong with the champion, or that there is none. One out of band is reported while watched."""
    champion = context.tracking.champion()
    if champion is None:
        return [_none(context)]
    if (reason := champion.tags.get(BLOCKED_TAG)) is not None:
        says = f"Version {champion.number} is live, though it was rolled back before ({reason})."
        return [_release(context, champion, says, {VERDICT: "roll back"})]
    if (found := out_of_band_promotion(context.tracking)) is not None:
        return [_out_of_band(context, found.version, found.good, _since(context, found))]
    trial = under_watch(context.settings, context.tracking)
    if trial is None:
        return []
    if OUT_OF_BAND_TAG in champion.tags:
        good = context.tracking.version(trial.against)
        return [_out_of_band(context, champion, good, trial.began)]
    evidence = gather(context.settings, trial, context.as_of)
    if evidence.verdict != "roll back":
        return []
    says = f"Version {champion.number}, live since {trial.began:%Y-%m-%d}, is {evidence.reason}."
    return [_release(context, champion, says, _numbers(evidence))]


def act(context: Context, signal: Raised) -> str:
    """Roll a bad champion back, or watch an out-of-band one; one sentence on what was done. Repeatable."""
    champion = context.tracking.aliases().get(CHAMPION)
    if champion != signal.evidence[VERSION]:
        return f"Version {signal.evidence[VERSION]} is not live any more."
    if signal.evidence[VERDICT] == "roll back":
        return _roll_back(context, signal)
    if (found := out_of_band_promotion(context.tracking)) is None:
        return f"It is watched beside version {signal.evidence[GOOD]}."
    with deployment_lock():
        adopt(context.tracking, found, _since(context, found))
    if found.good is None:
        return "It stays: there is no earlier version to compare it with."
    return f"It is compared with version {found.good.number}, the last good one, which predicts too, unseen."


def finish(context: Context) -> None:
    """Complete the rollbacks that an earlier process began."""
    for action in event_log.under_way(context.database):
        if action.kind == ROLL_BACK:
            context.report(_complete_rollback(context, action.id, int(action.detail[VERSION]), action.reason))


def restore(context: Context) -> str | None:
    """Where nothing is live, make the last good champion the champion again; None: there is none."""
    version = last_good(context.tracking)
    if version is None:
        return None
    with deployment_lock():
        transitions.go_live(context.tracking, version, context.now)
    return f"Version {version.number}, the last good one that was live, is live again."


def note(context: Context) -> None:
    """Record what is live since when, where that changed."""
    champion = context.tracking.aliases().get(CHAMPION)
    known = event_log.actions(context.database, LIVE)
    before = known[-1].version if known else None
    if champion is None or champion == before:
        return
    version = context.tracking.version(champion)
    how = "promoted out of band" if OUT_OF_BAND_TAG in version.tags else "released"
    if before in context.tracking.tagged(BLOCKED_TAG):
        how = f"instead of version {before}, which was rolled back"
    since = datetime.fromisoformat(version.tags.get(LIVE_SINCE_TAG, context.now.isoformat()))
    action = event_log.begin(
        context.database, LIVE, reason=how, at=min(since, context.now), detail={"instead_of": before}
    )
    event_log.write_action(context.database, action.id, state=DONE, version=champion)


def rolled_back_by_a_person(context: Context) -> list[Version]:
    """The versions that were rolled back without the loop and are not recorded yet."""
    actions = event_log.actions(context.database, ROLL_BACK)
    known = {each.detail.get(VERSION) for each in actions}
    champion = context.tracking.aliases().get(CHAMPION)
    found = []
    for number in context.tracking.tagged(BLOCKED_TAG):
        if number in known or number == champion:
            continue
        version = context.tracking.version(number)
        if LIVE_SINCE_TAG not in version.tags and _first_time(context, number) is None:
            continue  # blocked before it was ever shown
        found.append(version)
    return found


def note_rolled_back(context: Context, version: Version) -> None:
    """Record that a person rolled the version back."""
    detail = {VERSION: version.number, "outcome": "rolled back"}
    action = event_log.begin(
        context.database, ROLL_BACK, reason=version.tags[BLOCKED_TAG], at=context.now, detail=detail
    )
    champion = context.tracking.aliases().get(CHAMPION)
    event_log.write_action(context.database, action.id, state=DONE, version=champion)


def _roll_back(context: Context, signal: Raised) -> str:
    number = int(signal.evidence[VERSION])
    action = event_log.begin(
        context.database,
        ROLL_BACK,
        reason=signal.says,
        at=context.now,
        signal=signal.id,
        detail={VERSION: number, OUT_OF_BAND: signal.evidence.get(OUT_OF_BAND, False)},
    )
    return _complete_rollback(context, action.id, number, signal.says)


def _complete_rollback(context: Context, action: int, number: int, reason: str) -> str:
    """Roll the version back, unless that was done before; one sentence on it."""
    lines: list[str] = []
    if context.tracking.aliases().get(CHAMPION) == number:
        watched = under_watch(context.settings, context.tracking)
        if watched is not None and OUT_OF_BAND_TAG not in context.tracking.version(number).tags:
            # The step stores the evidence with the record of the deployment.
            step(context.settings, context.as_of, lines.append)
        if context.tracking.aliases().get(CHAMPION) == number:
            try:
                with deployment_lock():
                    reason = reason.rstrip(".")
                    lines.append(roll_back(context.settings, context.tracking, reason, context.now))
            except UserError as error:
                event_log.write_action(context.database, action, state=FAILED, detail={"outcome": str(error)})
                return f"It could not be rolled back: {error}."
    elif context.tracking.aliases().get(PREVIOUS) == context.tracking.aliases().get(CHAMPION):
        context.tracking.remove_alias(PREVIOUS)  # a rollback was interrupted right before its end
    good = context.tracking.aliases().get(CHAMPION)
    event_log.write_action(
        context.database, action, state=DONE, version=good, detail={"outcome": "rolled back"}
    )
    return lines[0] if lines else f"Version {number} is rolled back; version {good} is live."


def _since(context: Context, found: OutOfBandPromotion) -> datetime:
    """When the out-of-band champion took the place of the good one."""
    if found.good is None:
        return min(_first_time(context, found.version.number) or context.now, context.now)
    first = first_time_after(context.database, found.version.number, found.good.number) or context.now
    good_since = found.good.tags.get(LIVE_SINCE_TAG)
    if good_since is not None:
        first = max(first, datetime.fromisoformat(good_since))
    return min(first, context.now)


def _first_time(context: Context, number: int) -> datetime | None:
    return first_time_after(context.database, number, None)


def _out_of_band(context: Context, version: Version, good: Version | None, since: datetime) -> Signal:
    says = f"Version {version.number} is live since {since:%Y-%m-%d %H:%M}, but no deployment put it there"
    if good is None:
        return _release(context, version, f"{says}.", {VERDICT: "keep on", GOOD: None, OUT_OF_BAND: True})
    evidence = compared(
        context.settings, context.tracking, context.database, version, good, since, context.now
    )
    return _release(context, version, f"{says}; {evidence.reason}.", _numbers(evidence) | {OUT_OF_BAND: True})


def _numbers(evidence: Evidence) -> dict[str, Any]:
    found: dict[str, Any] = {
        GOOD: evidence.trial.against,
        VERDICT: evidence.verdict,
        "since": evidence.trial.began.isoformat(),
        "rows": evidence.rows,
    }
    if evidence.days:
        last = evidence.days[-1]
        found |= {"error": last.error, "error_of_the_other": last.error_against, "ratio": last.ratio}
        found |= {"low": last.low, "high": last.high}
    return found


def _release(context: Context, version: Version, says: str, evidence: Mapping[str, Any]) -> Signal:
    numbers = {VERSION: version.number, **evidence}
    return Signal(Kind.RELEASE, f"version {version.number}", context.now, says, numbers)


def _none(context: Context) -> Signal:
    says = "No model is live."
    if known := event_log.actions(context.database, LIVE):
        says = f"No model is live any more: version {known[-1].version} or its alias was deleted."
    return Signal(Kind.NO_MODEL, "production", context.now, says, {})
