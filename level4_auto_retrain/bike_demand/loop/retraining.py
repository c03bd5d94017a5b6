"""The loop's trainings: started by a signal or a person, deployed, and resumed after a kill.

A training is recorded before it begins (`event_log.trainings`), and each step detects whether it was already
done: a training is found by its code and data versions, a deployment by its state.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bike_demand.core.current import loss_with_unit
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.problem import DAY
from bike_demand.core.settings import Settings
from bike_demand.loop.context import Context
from bike_demand.release import deploy as delivery
from bike_demand.release.decision import page_of
from bike_demand.store import event_log
from bike_demand.store.deployments import UNDECIDED
from bike_demand.store.event_log import BEGUN, DONE, FAILED, LEVEL_SHIFT, NOT_WORSE
from bike_demand.store.tables import Deployment, State, Training

# Keys in the detail of a training.
RESULT = "result"  # in words
MANUAL = "manual"  # requested by a person
NEWEST_BEFORE = "newest_version_before"
DEPLOYMENT_ATTEMPTS = "deployment_attempts"  # attempted deployments without a decision
REGISTERED = "registered"  # result of a version that waits for a person
NO_TRAINING = "no_training"  # nothing was trained, so it does not count
RUN = "run"  # of its version

IN_PROGRESS = {State.QUEUED: "queued for its A/B test", State.TESTING: "in its A/B test"}
RESULTS = IN_PROGRESS | {
    State.LIVE: "went live",
    State.RETIRED: "went live",
    State.FAILED_GATE: "refused by a gate",
    State.FAILED_TEST: "rejected after its A/B test",
    State.ROLLED_BACK: "was live and was rolled back",
    State.ERROR: "its version was deleted",
}


def train(
    context: Context,
    reason: str,
    *,
    signal: int | None = None,
    level_shift: str | None = None,
    manual: bool = False,
) -> str:
    """Train and deploy a version, or resume an interrupted training. Returns a sentence on the result.

    `level_shift`: the first day of a shift that this training and later ones account for.
    """
    newest = max((each.number for each in context.tracking.versions()), default=0)
    detail: dict[str, Any] = {NEWEST_BEFORE: newest}
    detail |= ({MANUAL: True} if manual else {}) | ({LEVEL_SHIFT: level_shift} if level_shift else {})
    training = event_log.begin_training(
        context.database, reason=reason, at=context.now, signal=signal, detail=detail
    )
    return resume(context, training)


def resume(context: Context, training: Training) -> str:
    """Complete the training. Returns one sentence on the result.

    If a store or the feed is down, the training remains open, and the next cycle resumes it. After any other
    failure it is over, so that the next cycle does not repeat it before it responds to anything.
    """
    try:
        version = training.version or _ensure_trained(context, training)
        return _ensure_deployed(context, training, version)
    except UnreachableError as error:
        return f"The training will be retried in the next cycle: {error}."
    except Exception as error:
        event_log.update_training(
            context.database, training.id, state=FAILED, detail={RESULT: f"failed: {error}"}
        )
        if not isinstance(error, UserError):
            raise
        return f"The training failed: {error}."


def _ensure_trained(context: Context, training: Training) -> int:
    """The trained version. Raises UserError if there is none."""
    context.report(f"Training. Reason: {training.reason}")
    made, _ = context.runner.train(context.as_of)
    assert made.version is not None  # a training raises if no version was registered
    # It may have been registered by an interrupted attempt of this training.
    new = made.version > int(training.detail[NEWEST_BEFORE])
    event_log.update_training(
        context.database, training.id, version=made.version, detail={NO_TRAINING: not new, RUN: made.run_id}
    )
    if new:
        version = context.tracking.version(made.version)
        because = f"Trained on {training.at:%Y-%m-%d}: {training.reason}"
        if because not in version.description:
            context.tracking.describe(made.version, f"{because}\n\n{version.description}")
        context.report(
            f"Registered as version {made.version}; holdout error {loss_with_unit(made.holdout_error)}."
            f" {made.data_summary}"
        )
    else:
        context.report(f"Nothing is new since version {made.version}.")
    return made.version


def _ensure_deployed(context: Context, training: Training, number: int) -> str:
    """Deploy the version, unless that was decided before. Raises UserError if it fails."""
    version = context.tracking.version(number)
    row = delivery.last_decision(context.deployments, version)
    if row is None and not context.settings.deploy.automatic:
        _end(context, training, DONE, REGISTERED)
        return f"Version {number} is registered (deploy.automatic is off)."
    if row is None:
        try:
            context.runner.deploy(context, number)
        except UnreachableError:
            raise
        except UserError as error:
            if delivery.last_decision(context.deployments, version) is None:
                return _retry_deployment_later(context, training, number, str(error))
            _end(context, training, FAILED, f"refused: {error}", not_worse=False)
            return f"Version {number} was trained but refused: {error}."
        row = delivery.last_decision(context.deployments, version)
    assert row is not None
    failed = row.state in (State.FAILED_GATE, State.FAILED_TEST, State.ROLLED_BACK)
    result = _results(row)[row.state]
    _end(context, training, FAILED if failed else DONE, result, _was_not_worse(context, row))
    return f"Version {number} was trained; status: {result} ({page_of(number).as_posix()})."


def _retry_deployment_later(context: Context, training: Training, number: int, reason: str) -> str:
    """Nothing was decided, for example because another deployment is running: retry, but not forever."""
    attempts = int(training.detail.get(DEPLOYMENT_ATTEMPTS, 0)) + 1
    if attempts >= context.settings.loop.max_failures:
        raise UserError(reason)
    event_log.update_training(context.database, training.id, detail={DEPLOYMENT_ATTEMPTS: attempts})
    return f"The deployment of version {number} will be retried in the next cycle: {reason}."


def _end(
    context: Context, training: Training, state: str, result: str, not_worse: bool | None = None
) -> None:
    detail = {RESULT: result, NOT_WORSE: not_worse}
    event_log.update_training(context.database, training.id, state=state, detail=detail)


def update_results(context: Context) -> None:
    """Record the results of versions that were waiting, in their tests, or live."""
    # By run, as another registry may use a version's number for another one.
    found = {each.run_id: each for each in context.deployments.all()}
    rolled_back = {each.run_id: each for each in context.deployments.all(State.ROLLED_BACK)}
    for training in event_log.trainings(context.database):
        run_id, result = training.detail.get(RUN, ""), training.detail.get(RESULT)
        # Once it went live, a later deployment changes nothing, unless it was rolled back.
        row = found.get(run_id) if result in (REGISTERED, *IN_PROGRESS.values()) else None
        if result in (REGISTERED, *IN_PROGRESS.values(), RESULTS[State.LIVE]):
            row = rolled_back.get(run_id, row)
        if row is None:
            continue
        new = _results(row).get(row.state, result)
        if new != result:
            detail = {RESULT: new, NOT_WORSE: _was_not_worse(context, row)}
            event_log.update_training(context.database, training.id, detail=detail)


def _results(row: Deployment) -> dict[State, str]:
    return RESULTS | {State.SUPERSEDED: f"superseded: {row.reason}"}


def _was_not_worse(context: Context, row: Deployment) -> bool | None:
    """Whether the version was shown not to be worse than the champion; None if that was not decided."""
    if row.state in (*UNDECIDED, State.TESTING, State.SUPERSEDED):
        return None
    high = row.ab["days"][-1]["high"] if row.ab and row.ab["days"] else None
    went_live = row.state in (State.LIVE, State.RETIRED)
    return went_live and (high is None or high < 1 + context.settings.ab.worse)


def counted_trainings(trainings: Sequence[Training]) -> list[Training]:
    """The trainings that ran, without those that found nothing new."""
    return [each for each in trainings if not each.detail.get(NO_TRAINING)]


def last_training(context: Context, signal: int) -> Training | None:
    """The last training for a signal that counts."""
    found = counted_trainings(event_log.trainings(context.database))
    return next((each for each in reversed(found) if each.signal == signal), None)


def past_trainings(context: Context) -> list[Training]:
    """The trainings that count for the retraining rules: without those that failed to train."""
    found = counted_trainings(event_log.trainings(context.database))
    return [each for each in found if not _made_nothing(each)]


def retry_refusal(context: Context) -> str | None:
    """Why not to train now if the last training made no version, in a sentence; None if it may be tried."""
    last = next(reversed(event_log.trainings(context.database)), None)
    if last is None or not _made_nothing(last) or context.now >= (until := last.at + DAY):
        return None
    return f"The training of {last.at:%Y-%m-%d} failed; the next is due at {until:%Y-%m-%d %H:%M}."


def _made_nothing(training: Training) -> bool:
    return training.state == FAILED and training.version is None


def pause_reason(
    settings: Settings, trainings: Sequence[Training], now: datetime, deployed_at: datetime = datetime.min
) -> str | None:
    """Why automatic training is paused after several failures or refusals in a row, in a sentence; None if it
    is not.

    After the pause one more training is tried. A training requested by a person resets the count, as does a
    later deployment of the live version, at `deployed_at`; one that found nothing new does not count.
    """
    failures: list[Training] = []
    for each in reversed(trainings):
        is_manual = each.detail.get(MANUAL)
        if each.state == BEGUN or (each.detail.get(NO_TRAINING) and not is_manual):
            continue
        if is_manual or each.state != FAILED or each.at <= deployed_at:
            break
        failures.append(each)
    if len(failures) < settings.loop.max_failures:
        return None
    if now >= (until := failures[0].at + settings.loop.pause_days * DAY):
        return None
    return (
        f"{len(failures)} trainings in a row failed, the last one on {failures[0].at:%Y-%m-%d}"
        f" ({failures[0].detail.get(RESULT)}); automatic training is paused until {until:%Y-%m-%d}."
    )
