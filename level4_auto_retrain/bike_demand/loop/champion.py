"""Detects missing, out-of-band or regressing champions, and responds: restores, or rolls back."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from bike_demand.core.errors import UserError
from bike_demand.loop.context import Context
from bike_demand.monitoring import retraining_policy as policy
from bike_demand.release.ab.evidence import collect, running_watch
from bike_demand.release.ab.step import stop
from bike_demand.release.rollback import WATCH_ROLLBACK, require_loadable, roll_back
from bike_demand.store import daily_stats, deployments
from bike_demand.store.deployments import OUT_OF_BAND
from bike_demand.store.tables import Signal, SignalKind, State

# Keys in the evidence of a signal.
VERSION, COMPARED_WITH, VERDICT = "version", "compared_with", "verdict"


def champion_signals(context: Context) -> list[Signal]:
    """Signals about a missing or bad champion. An out-of-band champion is reported while it is watched."""
    live = context.deployments.live()
    if live is None:
        return [_no_model_signal(context)]
    name, is_out_of_band = f"Version {live.version}", live.who == OUT_OF_BAND
    failed = context.deployments.blocking_failure(context.tracking.version(live.version))
    if failed is not None and failed.state is State.ROLLED_BACK and failed.version == live.version:
        message = f"{name} is live again although it had been rolled back ({failed.reason})."
        return [_bad_release_signal(context, live.version, message, {VERDICT: "roll back"})]
    if live.bake_until is None:
        return []
    message = f"{name} has been live since {live.changed_at:%Y-%m-%d %H:%M}"
    message += ", but no deployment promoted it" if is_out_of_band else ""
    found: dict[str, Any] = {VERDICT: "continue", COMPARED_WITH: live.against}
    if (comparison := running_watch(context.deployments)) is not None:
        evidence = collect(context.deployments, comparison)
        message += f"; it is {evidence.reason}"
        found |= {VERDICT: evidence.verdict, "since": comparison.began.isoformat(), "rows": evidence.rows}
        for last in evidence.days[-1:]:
            found |= {"error": last.error, "error_previous": last.error_against, "ratio": last.ratio}
            found |= {"low": last.low, "high": last.high}
    elif context.now >= live.bake_until:
        return []
    if found[VERDICT] != "roll back" and not is_out_of_band:
        return []
    return [_bad_release_signal(context, live.version, f"{message}.", found)]


def respond(context: Context, signal: Signal) -> str:
    """Roll back a bad champion, or watch an out-of-band one. Returns the response as one sentence."""
    number, live = signal.evidence[VERSION], context.deployments.live()
    if live is None or live.version != number:
        return f"Version {number} is no longer live."
    if signal.evidence[VERDICT] != "roll back":
        if not live.is_watched:
            return "It stays live: there is no earlier version to compare it with."
        return (
            f"It is compared with version {live.against}, the last good one, which predicts in shadow mode."
        )
    reason, more = signal.message.rstrip("."), dict[str, Any]()
    if live.who != OUT_OF_BAND and (watched := running_watch(context.deployments)) is not None:
        evidence = collect(context.deployments, watched)
        if evidence.verdict != "roll back":
            return f"It stays live: {evidence.reason}."
        reason = f"{WATCH_ROLLBACK}: {evidence.reason}"
        more = {"at": evidence.now, "watch": evidence.model_dump(mode="json")}
    try:  # without `step`, which the gates of another version would delay
        return context.runner.run_step(
            "roll back", lambda: roll_back(context.deployments, live, reason, **more)
        )
    except UserError as error:
        return f"It could not be rolled back: {error}."


def restore_last_good(context: Context) -> str | None:
    """If no version is live, make the last good champion the champion again; None if none can be loaded."""
    if (live := context.deployments.live()) is not None:
        return f"Version {live.version} is live."
    good = context.deployments.last_good()
    if good is None:
        return None
    try:
        require_loadable(context.deployments, good)
    except UserError:
        return None
    context.deployments.restore(good, None, "no version was live")
    if (live := context.deployments.live()) is not None and live.id != good.id:
        return f"Version {live.version} is live."  # meanwhile
    return f"Restored version {good.version}, the last good version."


def challenger_has_adapted(context: Context, level_shift: str) -> bool:
    """Whether the version compared with the champion, in a test or watch, is less biased since that day.

    If versions are deployed by a person, no new version would replace it, so it counts as adapted.
    """
    live, testing = context.deployments.live(), context.deployments.testing()
    if live is None or not context.settings.deploy.automatic:
        return True
    compared_with = live.against if testing is None else testing.version
    since, until = date.fromisoformat(level_shift), context.now.date()
    compared_days, champion_days = (
        daily_stats.read_days(context.database, since, until, each) for each in (compared_with, live.version)
    )
    return policy.has_adapted(compared_days, champion_days)


def end_test_or_watch(context: Context, level_shift: str) -> None:
    """End a running test or watch: neither version has adapted to the level since that day."""
    reason = f"the label level shifted on {level_shift} and neither version has adapted"
    live = context.deployments.live()
    if context.deployments.testing() is not None:
        stop(context.settings, reason, context.as_of, context.report)
    elif live is not None and live.is_watched:
        context.deployments.end_watch(live, f"its watch ends: {reason}")
        context.report(f"The watch of version {live.version} ends: {reason}.")


def _bad_release_signal(context: Context, number: int, message: str, evidence: Mapping[str, Any]) -> Signal:
    evidence = {VERSION: number, **evidence}
    now = context.now
    return Signal(SignalKind.BAD_RELEASE, f"version {number}", now, now, message, evidence)


def _no_model_signal(context: Context) -> Signal:
    message = "No model is live."
    departures = [
        each for each in deployments.history(context.database) if each.old is State.LIVE is not each.new
    ]
    if departures:
        version = {each.id: each.version for each in context.deployments.all()}[departures[-1].deployment]
        message = f"No model is live: version {version} or its alias was deleted."
    return Signal(SignalKind.NO_MODEL, "production", context.now, context.now, message, {})
