"""The monitoring cycle: ingest, evaluate signals, respond, deploy and test, alert.

It can be killed at any time: signals are stored before the response, trainings before they begin, and
the next cycle completes what was interrupted.
"""

import re
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime
from typing import Any

from bike_demand import clock
from bike_demand.core.current import clock_time
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import DATA, Settings, load_settings
from bike_demand.core.step_runner import StepRunner, call
from bike_demand.data.ingest import ingest
from bike_demand.data.source import Source
from bike_demand.loop import champion, incidents, retraining
from bike_demand.loop.alerts import deliver, raise_alert
from bike_demand.loop.context import IN_PROCESS, Context, CycleRunner
from bike_demand.loop.status_fields import publish_status_fields
from bike_demand.monitoring import retraining_policy as policy
from bike_demand.monitoring.signals import evaluate_signals
from bike_demand.release.ab.step import step
from bike_demand.store import event_log
from bike_demand.store.database import BusyError, Database, lock, open_database
from bike_demand.store.deployments import UNDECIDED, Deployments, Emit
from bike_demand.store.retention import delete_old
from bike_demand.store.tables import PRIORITY, Signal, SignalKind
from bike_demand.store.tracking import Tracking
from bike_demand.training.inputs import lock_data

LOCK_NAME = "loop"  # name of the loop's lock
LOCK_SECONDS = 600.0  # how long a response waits for a running cycle or training
DATA_SECONDS = 60.0  # how long an ingestion waits for a training or ingestion by hand
RETRY_SECONDS = 60.0  # before the next cycle if the settings cannot be read

# By kind of signal: advice to a person.
SUGGESTIONS = {
    SignalKind.BAD_RELEASE: "Find out who promoted it. To roll back immediately: rollback --reason TEXT.",
    SignalKind.NO_MODEL: "Find out why no version passed: python -m bike_demand monitor, or the pages in"
    " state/reports. Then, to train at once: python -m bike_demand retrain --reason TEXT.",
    SignalKind.QUALITY: "Have the source corrected or, if the data are right, widen the rule under `quality`"
    " in params.yaml. The loop resumes by itself once the data pass.",
    SignalKind.LOOP: "Fix the cause, then: python -m bike_demand retrain --force --reason TEXT; after a gate:"
    " deploy N.",
    SignalKind.ERROR: "Find out what changed. To train now: python -m bike_demand retrain --force"
    " --reason TEXT.",
    SignalKind.AGE: "No action needed, unless the training failed: then fix the cause; the loop tries again"
    " later.",
    SignalKind.DRIFT: "No action needed: inputs changed, the error did not. See state/reports/drift.html.",
}
SUBJECT_SUGGESTIONS = {  # by subject, instead of the advice on its kind
    event_log.OUTCOMES: "Find out why outcomes are no longer posted to the service (POST /outcomes).",
    event_log.INGESTION: "Fix the reported cause. The next cycle tries again.",
}


def run_cycle(
    settings: Settings, as_of: datetime | None, report: Emit, runner: CycleRunner = IN_PROCESS
) -> None:
    """Run one cycle. `runner` runs its steps and the response to each signal.

    Raises UserError if the cycle fails; an alert reports it if possible, and the next cycle tries again.
    """
    with _alerting(settings, as_of, report) as database:
        _cycle(settings, database, as_of, report, runner)


def respond_to_signal(
    settings: Settings, signal_id: int, as_of: datetime | None, report: Emit, runner: CycleRunner = IN_PROCESS
) -> str:
    """Respond to a signal sent by a cycle, given its id. Returns the response as one sentence.

    Raises UserError if the response fails.
    """
    with _alerting(settings, as_of, report, LOCK_SECONDS) as database:
        found = [each for each in event_log.open_signals(database) if each.id == signal_id]
        context = _context(settings, database, as_of, report, runner)
        if not found or _has_ended(context, found[0]):
            report(done := f"Signal {signal_id} has ended; no action.")
            return done
        resumed = _resume(context)
        if signal_id not in resumed and _has_ended(context, found[0]):
            report(done := f"Signal {signal_id} has ended; no action.")
        else:
            done = _respond_and_alert(context, found[0], resumed.get(signal_id))
        _finish_cycle(context)
        return done


def _has_ended(context: Context, raised: Signal) -> bool:
    """Whether a version is live that no signal of a missing or earlier champion concerns."""
    live = context.deployments.live()
    if live is None or raised.kind not in (SignalKind.NO_MODEL, SignalKind.ERROR):
        return False
    return raised.subject != f"version {live.version}"


def retrain(settings: Settings, reason: str, as_of: datetime | None, force: bool, report: Emit) -> None:
    """Train and deploy at a person's request. `force` overrides cool-down and budget.

    Raises UserError if the rules forbid it, or no version results.
    """
    with _locked(settings) as database:
        if (failure := _ingest(settings, as_of)) is not None:
            report(f"warning: {failure}")
        context = _context(settings, database, as_of, report)
        _resume(context)
        if event_log.open_trainings(database):
            raise UserError("nothing was trained: an earlier training is not complete yet; try again later")
        past, shift = retraining.past_trainings(context), _confirmed_level_shift(context)
        refusal = policy.retraining_refusal(
            past, context.now, settings, level_shift=None if shift is None else date.fromisoformat(shift)
        )
        if refusal is not None and not force:
            raise UserError(f"{refusal} To train anyway: --force")
        report(f"Training is due: {reason}" if refusal is None else f"{refusal} Training anyway (--force).")
        report(_train(context, reason, shift, manual=True))
        _finish_cycle(context)
        deliver(settings, database, report)
        last = event_log.trainings(database)[-1]
    if last.state == event_log.FAILED:
        raise UserError(str(last.detail.get(retraining.RESULT)))


@contextmanager
def _locked(settings: Settings, wait_seconds: float = 0.0) -> Iterator[Database]:
    """The production database, under the loop's lock. Raises UserError."""
    with (
        closing(open_database(settings.environments.production.database)) as database,
        lock(database, LOCK_NAME, wait_seconds),
    ):
        yield database


@contextmanager
def _alerting(
    settings: Settings, as_of: datetime | None, report: Emit, wait_seconds: float = 0.0
) -> Iterator[Database]:
    """As `_locked`, and deliver the alerts at the end, with one about a failure of the block."""
    with _locked(settings, wait_seconds) as database:
        try:
            yield database
        except Exception as error:
            _alert_failure(settings, database, as_of, error)
            raise
        finally:
            with suppress(UserError):  # the error being handled is more important
                deliver(settings, database, report)


def _cycle(
    settings: Settings, database: Database, as_of: datetime | None, report: Emit, runner: CycleRunner
) -> None:
    failure = None
    try:
        failure = _ingest(settings, as_of, runner.run_step)
    except UnreachableError as error:
        report(f"warning: nothing was ingested: {error}")
    context = _context(settings, database, as_of, report, runner)
    incidents.record_other_rollbacks(context)
    evaluation = runner.run_step(
        "evaluate signals", lambda: evaluate_signals(settings, context.tracking, database, as_of, context.now)
    )
    signals = [*champion.champion_signals(context), *evaluation.signals, *_loop_signals(context, failure)]
    change = event_log.update_signals(database, signals, context.now)
    incidents.update_incidents(context, change.open, evaluation.violations)
    for raised in change.new:
        report(f"{raised.kind}: {raised.message}")
    for raised in change.ended:
        report(f"Resolved: {raised.kind}, {raised.subject}.")
    if failure is not None and not any(raised.subject == event_log.INGESTION for raised in change.new):
        report(f"The feed still cannot be ingested: {failure.rstrip('.')}.")
    resumed = _resume(context)
    for raised in sorted(change.open, key=lambda each: (PRIORITY.index(each.kind), each.id)):
        if runner.emit_signal is None or raised.id in resumed:
            _respond_and_alert(context, raised, resumed.get(raised.id))
        else:
            runner.emit_signal(raised)
    _finish_cycle(context)
    row = context.deployments.live()
    live = None if row is None else row.version
    if live != (None if evaluation.champion is None else evaluation.champion.number):
        # The response changed the champion: end its signals now, not in the next cycle.
        champion_kinds = (SignalKind.NO_MODEL, SignalKind.BAD_RELEASE)
        valid = [
            each for each in signals if each.kind not in champion_kinds or each.subject == f"version {live}"
        ]
        change = event_log.update_signals(database, valid, context.now)
        for raised in change.ended:
            report(f"Resolved: {raised.kind}, {raised.subject}.")
    if not change.open and live is not None and context.deployments.queue_reason() is None:
        report(f"Version {live} is live; nothing to do.")


def _context(
    settings: Settings,
    database: Database,
    as_of: datetime | None,
    report: Emit,
    runner: CycleRunner = IN_PROCESS,
) -> Context:
    tracking, now = Tracking(settings), clock.now(settings, as_of)
    deployments = Deployments(settings, tracking, database, as_of, report)
    deployments.reconcile()
    return Context(settings, tracking, database, deployments, as_of, now, report, runner)


def _ingest(settings: Settings, as_of: datetime | None, run_step: StepRunner = call) -> str | None:
    """Ingest the feed. Returns the reason if that failed, else None. Earlier data are kept.

    Raises UnreachableError if a training or ingestion keeps the data locked.
    """

    def update() -> None:
        ingest(Source(settings.feed), DATA, settings.first_month, as_of=as_of)

    with lock_data(DATA_SECONDS):
        try:
            run_step("ingest", update)
        except (UserError, OSError) as error:
            return str(error)
    return None


def _loop_signals(context: Context, failure: str | None) -> list[Signal]:
    """Signals about the loop itself."""
    now, found = context.now, list[Signal]()
    if failure is not None:
        message = f"The feed cannot be ingested: {failure}."
        found.append(Signal(SignalKind.QUALITY, event_log.INGESTION, now, now, message, {}))
    live, trainings = context.deployments.live(), event_log.trainings(context.database)
    deployed_at = datetime.min if live is None else live.requested_at
    pause = retraining.pause_reason(context.settings, trainings, now, deployed_at)
    if pause is not None:
        found.append(Signal(SignalKind.LOOP, "training", now, now, pause, {}))
    # A person may have trained, or an earlier level, which the loop knows from the deployment only.
    # A training that failed, or whose version a gate refused, does not renew the model.
    trained = [each.at for each in retraining.counted_trainings(trainings) if each.state == event_log.DONE]
    trained += [] if live is None else [live.requested_at]
    if trained and (age := policy.age_signal(max(trained), now, context.settings)) is not None:
        found.append(age)
    return found


def _resume(context: Context) -> dict[int | None, str]:
    """Complete an interrupted training, whatever has become of its signal.

    Returns its result as a sentence, by the id of its signal, if it was completed.
    """
    results: dict[int | None, str] = {}
    for training in event_log.open_trainings(context.database):
        context.report(f"Completing the training of {training.at:%Y-%m-%d}: {training.reason}")
        context.report(result := retraining.resume(context, training))
        results[training.signal] = result
    return {} if event_log.open_trainings(context.database) else results


def _respond_and_alert(context: Context, raised: Signal, done: str | None = None) -> str:
    """Respond to a signal, unless that is `done`, and raise an alert about both, also if the response fails.
    Returns one sentence on the response.
    """
    failure = None
    if done is None:
        try:
            done = _execute_response(context, raised)
        except Exception as error:
            failure, done = error, f"The response failed: {_describe(error)}."
    suggestion = SUBJECT_SUGGESTIONS.get(raised.subject, SUGGESTIONS[raised.kind])
    last, live = retraining.last_training(context, raised.id), context.deployments.live()
    if last is not None and last.detail.get(retraining.RESULT) == retraining.REGISTERED:
        suggestion = f"Release the version that was trained: python -m bike_demand deploy {last.version}."
    if raised.kind is SignalKind.BAD_RELEASE and (
        live is None or live.version != raised.evidence[champion.VERSION]
    ):
        suggestion = "Find out why gates and A/B test let it through. It cannot be deployed again."
    incidents.record_response(context, raised, done)
    raise_alert(
        context.settings,
        context.database,
        _alert_key(context, raised),
        context.now,
        f"{raised.kind.replace('-', ' ').capitalize()}: {raised.subject}",
        summary=raised.message,
        evidence=raised.evidence,
        response=done,
        suggestion=suggestion,
    )
    context.report(f"{raised.kind}, {raised.subject}: {done}")
    if failure is not None:
        raise failure
    return done


def _alert_key(context: Context, raised: Signal) -> str:
    """The key of a signal's alert. It changes, so that people hear of it within the quiet period, with the
    verdict on a release, with each training for the signal, and once a model was restored.
    """
    parts = [raised.kind, raised.subject, raised.id, raised.evidence.get(champion.VERDICT, "")]
    if (last := retraining.last_training(context, raised.id)) is not None:
        parts.append(f"{last.id} {last.state}")
    return ":".join(map(str, [*parts, "ended"] if _has_ended(context, raised) else parts))


def _execute_response(context: Context, raised: Signal) -> str:
    """Respond to a signal. Returns one sentence on the response."""
    match raised.kind:
        case SignalKind.QUALITY if raised.subject == event_log.OUTCOMES:
            return "Until they arrive, no error is evaluated, and no A/B test or watch can decide."
        case SignalKind.QUALITY:
            return "Training is suspended until it is resolved; the last good model stays live."
        case SignalKind.DRIFT:
            return "No action: input drift is only reported."
        case SignalKind.LOOP:
            return "Training is paused for a while."
        case SignalKind.BAD_RELEASE:
            return champion.respond(context, raised)
        case SignalKind.NO_MODEL if (restored := champion.restore_last_good(context)) is not None:
            return restored
    if (since := raised.evidence.get(event_log.NOT_EVALUATED)) is not None:
        return f"No training: too few outcomes are known to evaluate the error since {since[:10]}."
    shift = raised.evidence.get(event_log.LEVEL_SHIFT)
    refusal = context.runner.run_step(
        "decide on a training", lambda: _reason_not_to_train(context, raised, shift)
    )
    if refusal is not None:
        return refusal
    try:
        return _train(context, raised.message, shift, signal=raised.id)
    except BusyError:
        return "No training until the deployment that is running ends."


def _train(context: Context, reason: str, shift: str | None, **how: Any) -> str:
    """Train, for a level shift after ending a test or watch without a version that has adapted to it."""
    if shift is not None and not champion.challenger_has_adapted(context, shift):
        champion.end_test_or_watch(context, shift)
    return retraining.train(context, reason, level_shift=shift, **how)


def _confirmed_level_shift(context: Context) -> str | None:
    """The first day of the level shift of an open signal, once it is certain enough to train for it."""
    found = (each.evidence.get(event_log.LEVEL_SHIFT) for each in event_log.open_signals(context.database))
    shift = next(filter(None, found), None)
    if shift is None:
        return None
    known_at = policy.confirmed_at(date.fromisoformat(shift), context.settings.trigger)
    return shift if known_at <= context.now else None


def _reason_not_to_train(context: Context, raised: Signal, shift: str | None) -> str | None:
    """Why a signal does not lead to a training now, in sentences; None if it does."""
    blocked = _blocking_signal(event_log.open_signals(context.database))
    if blocked is not None:
        return blocked
    end = context.deployments.queue_reason()
    if end is not None and (shift is None or champion.challenger_has_adapted(context, shift)):
        return f"No training until {end}: a new version would wait for it and be outdated by then."
    refusal = retraining.retry_refusal(context)
    # Without a model there are no predictions; but without `deploy.automatic` a new version would only wait.
    if refusal is not None or (raised.kind is SignalKind.NO_MODEL and context.settings.deploy.automatic):
        return refusal
    return policy.retraining_refusal(
        retraining.past_trainings(context),
        context.now,
        context.settings,
        urgent=raised.kind is SignalKind.NO_MODEL or bool(raised.evidence.get("urgent")),
        level_shift=None if shift is None else date.fromisoformat(shift),
    )


def _blocking_signal(open_signals: Sequence[Signal]) -> str | None:
    """Why no training may start now, whatever the error is; None if it may."""
    for each in open_signals:
        if each.kind is SignalKind.QUALITY and each.subject != event_log.OUTCOMES:
            return f"No training: bad data. {each.message}"
        if each.kind is SignalKind.LOOP:
            return f"No training: {each.message}"
        if each.kind is SignalKind.BAD_RELEASE:
            return f"No training until the bad release is resolved. {each.message}"
    return None


def _finish_cycle(context: Context) -> None:
    """Advance tests and watches, record the results of trainings, and delete old predictions."""
    if context.deployments.queue_reason() is not None or context.deployments.all(*UNDECIDED):
        try:
            step(context.settings, context.as_of, context.report, context.runner.run_step)
        except BusyError:
            context.report("Another deployment is running; the next cycle advances tests and watches.")
    retraining.update_results(context)
    publish_status_fields(context)
    delete_old(context.database, context.settings, context.now)


def _alert_failure(settings: Settings, database: Database, as_of: datetime | None, error: Exception) -> None:
    """Raise an alert about a failed cycle, as far as possible in this state."""
    reason = _describe(error)
    # Another cause is another alert; ids, addresses and times within a reason differ each time.
    cause = zlib.crc32(re.sub(r"\w*\d\w*", "", reason).encode())
    with suppress(UserError):
        try:
            at = clock.now(settings, as_of)
        except UserError:
            at = clock_time()
        raise_alert(
            settings,
            database,
            f"loop:cycle:{cause}",
            at,
            "Loop failure: monitoring cycle",
            summary=f"A cycle of the loop failed: {reason[:500]}",
            evidence={"error": type(error).__name__},
            response="The live version stays. The next cycle tries again.",
            suggestion="Fix the reported cause; for the details: python -m bike_demand agent --once.",
        )


def _describe(error: Exception) -> str:
    is_known = isinstance(error, UserError | OSError)
    return str(error) if is_known else traceback.format_exception_only(error)[-1].strip()


def run_forever(report: Emit, every: float | None = None) -> None:
    """Run a cycle every `every` seconds (default: `loop.seconds`), until SIGTERM or Ctrl-C.

    A failed cycle is reported, and the next one tries again. SIGTERM or Ctrl-C interrupts a running cycle.
    """
    handled_signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, signal.default_int_handler) for each in handled_signals}
    try:
        while True:
            began = time.monotonic()
            seconds = _try_cycle(report)
            time.sleep(max(0.0, began + (every or seconds) - time.monotonic()))
    except KeyboardInterrupt:
        report("The loop has stopped.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _try_cycle(report: Emit) -> float:
    """Run a cycle with the current settings. Returns the seconds from its start to the next one."""
    seconds = RETRY_SECONDS
    try:
        settings = load_settings()
        seconds = settings.loop.seconds
        run_cycle(settings, None, report)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
    except Exception:  # a bug in this code must not end the loop, but must be visible
        traceback.print_exc()
    return seconds
