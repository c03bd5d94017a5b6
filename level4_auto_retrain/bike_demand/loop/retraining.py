"""The loop's trainings: started by a signal or a person, deployed, and resumed after a kill.

An action is recorded before it begins (`event_log.actions`), and each step detects whether it was already
done: the training by the version of code and data, the deployment by its state.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bike_demand.core.current import loss_with_unit
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import Settings
from bike_demand.loop.context import Context
from bike_demand.monitoring.rules import Tried
from bike_demand.release import deploy as delivery
from bike_demand.release.decision import page_of
from bike_demand.store import event_log
from bike_demand.store.deployments import UNDECIDED
from bike_demand.store.event_log import BEGUN, DONE, FAILED, LEVEL_SHIFT
from bike_demand.store.tables import Action, Deployment, State

# Keys in the detail of an action.
OUTCOME = "outcome"  # the result, as text
HELPED = "helped"  # whether the version was shown not to be worse than the champion: see `monitoring.rules`
BY_HAND = "by_hand"  # requested by a person
NEWEST = "newest"  # newest version when it began
TRIES = "tries"  # attempted deployments without a decision
NOTHING_NEW = "nothing_new"  # code and data were those of an earlier version

OPEN = {State.QUEUED: "waits for its A/B test", State.TESTING: "in its A/B test"}
OUTCOMES = OPEN | {
    State.LIVE: "live",
    State.RETIRED: "live",
    State.FAILED_GATE: "refused by a gate",
    State.FAILED_TEST: "rejected after its A/B test",
    State.SUPERSEDED: "its A/B test was stopped",
    State.ROLLED_BACK: "was live and was rolled back",
    State.ERROR: "its version was deleted",
}


def train(
    context: Context,
    reason: str,
    *,
    signal: int | None = None,
    level_shift: str | None = None,
    by_hand: bool = False,
) -> str:
    """Train and deploy a version, or resume an interrupted training. Returns a sentence on the result.

    `level_shift`: the first day of a shift that this training and later ones account for.
    """
    newest = max((each.number for each in context.tracking.versions()), default=0)
    detail: dict[str, Any] = {NEWEST: newest}
    detail |= ({BY_HAND: True} if by_hand else {}) | ({LEVEL_SHIFT: level_shift} if level_shift else {})
    action = event_log.begin(context.database, reason=reason, at=context.now, signal=signal, detail=detail)
    return resume(context, action)


def resume(context: Context, action: Action) -> str:
    """Complete the action. Returns one sentence on the result.

    If a store or the feed is down, the action remains open, and the next cycle resumes it.
    """
    try:
        version = action.version or _trained(context, action)
        return _deployed(context, action, version)
    except UnreachableError as error:
        return f"The training is tried again in the next cycle: {error}."
    except UserError as error:
        event_log.write_action(
            context.database, action.id, state=FAILED, detail={OUTCOME: f"failed: {error}"}
        )
        return f"The training failed: {error}."


def drop(context: Context, action: Action, why: str) -> str:
    """Give up an action that has not done anything yet; while its signal is open, a new one may begin."""
    detail = {OUTCOME: f"given up: {why}", NOTHING_NEW: True}
    event_log.write_action(context.database, action.id, state=DONE, detail=detail)
    return f"The training that was begun on {action.at:%Y-%m-%d} is given up. {why}"


def _trained(context: Context, action: Action) -> int:
    """The trained version. Raises UserError if there is none."""
    context.report(f"Training, because {action.reason}")
    made, _ = context.execution.train(context.as_of)
    assert made.version is not None  # a training raises if no version was registered
    new = made.version > int(action.detail[NEWEST])  # or registered by an interrupted attempt of this action
    event_log.write_action(
        context.database, action.id, version=made.version, detail={NOTHING_NEW: not new, "run": made.run_id}
    )
    if new:
        version = context.tracking.version(made.version)
        because = f"Trained on {action.at:%Y-%m-%d}: {action.reason}"
        if because not in version.description:
            context.tracking.describe(made.version, f"{because}\n\n{version.description}")
        context.report(
            f"Registered as version {made.version}; holdout model off by {loss_with_unit(made.mae)}."
            f" {made.data_summary}"
        )
    else:
        context.report(f"Nothing is new since version {made.version}.")
    return made.version


def _deployed(context: Context, action: Action, number: int) -> str:
    """Deploy the version, unless that was decided before. Raises UserError if it fails."""
    version = context.tracking.version(number)
    row = delivery.last_decision(context.deployments, version)
    if row is None and not context.settings.deploy.automatic:
        _end(context, action, DONE, "registered")
        return f"Version {number} is registered (deploy.automatic is off)."
    if row is None:
        try:
            context.execution.deploy(context, number)
        except UnreachableError:
            raise
        except UserError as error:
            if delivery.last_decision(context.deployments, version) is None:
                return _put_off(context, action, number, str(error))
            _end(context, action, FAILED, f"refused: {error}", helped=False)
            return f"Version {number} was trained, and refused: {error}."
        row = delivery.last_decision(context.deployments, version)
    assert row is not None
    failed = row.state in (State.FAILED_GATE, State.FAILED_TEST, State.ROLLED_BACK)
    _end(context, action, FAILED if failed else DONE, OUTCOMES[row.state], _helped(context, row))
    return f"Version {number} was trained: {OUTCOMES[row.state]} ({page_of(number).as_posix()})."


def _put_off(context: Context, action: Action, number: int, why: str) -> str:
    """Nothing was decided, for example because another deployment is running: retry, but not forever."""
    tries = int(action.detail.get(TRIES, 0)) + 1
    if tries >= context.settings.loop.most_failures:
        raise UserError(why)
    event_log.write_action(context.database, action.id, detail={TRIES: tries})
    return f"The deployment of version {number} is tried again in the next cycle: {why}."


def _end(context: Context, action: Action, state: str, outcome: str, helped: bool | None = None) -> None:
    detail = {OUTCOME: outcome, HELPED: helped}
    event_log.write_action(context.database, action.id, state=state, detail=detail)


def follow_up(context: Context) -> None:
    """Record the results of versions that were waiting, in their tests, or live."""
    rows = {each.version: each for each in context.deployments.all()}
    for action in trainings(event_log.actions(context.database)):
        row, outcome = rows.get(action.version or 0), action.detail.get(OUTCOME)
        if row is None or outcome not in (*OPEN.values(), OUTCOMES[State.LIVE]):
            continue
        new = OUTCOMES.get(row.state, outcome)
        if new != outcome:
            detail = {OUTCOME: new, HELPED: _helped(context, row)}
            event_log.write_action(context.database, action.id, detail=detail)


def _helped(context: Context, row: Deployment) -> bool | None:
    """Whether the version was shown not to be worse than the champion; None if that was not decided."""
    if row.state in (*UNDECIDED, State.TESTING, State.SUPERSEDED):
        return None
    high = row.ab["days"][-1]["high"] if row.ab and row.ab["days"] else None
    was_good = row.state in (State.LIVE, State.RETIRED)
    return was_good and (high is None or high < 1 + context.settings.ab.worse)


def trainings(actions: Sequence[Action]) -> list[Action]:
    """The actions that cost a training, without those that found nothing new."""
    return [each for each in actions if not each.detail.get(NOTHING_NEW)]


def tried(context: Context) -> list[Tried]:
    """The trainings in the form that the retraining rules need."""
    return [
        Tried(each.at, each.detail.get(HELPED), LEVEL_SHIFT in each.detail)
        for each in trainings(event_log.actions(context.database))
    ]


def resting(settings: Settings, actions: Sequence[Action], now: datetime) -> str | None:
    """Why the loop starts no training by itself now, in a sentence; None if it would.

    After several failures or refusals in a row it pauses, then tries once more. A training requested by a
    person resets the count.
    """
    row: list[Action] = []
    for each in reversed([each for each in actions if each.state != BEGUN]):
        if each.state != FAILED or each.detail.get(BY_HAND):
            break
        row.append(each)
    until = row[0].at + timedelta(days=settings.loop.rest_days) if row else now
    if len(row) < settings.loop.most_failures or now >= until:
        return None
    return (
        f"{len(row)} trainings in a row failed, the last one on {row[0].at:%Y-%m-%d}"
        f" ({row[0].detail.get(OUTCOME)}); the loop starts none before {until:%Y-%m-%d}"
    )
