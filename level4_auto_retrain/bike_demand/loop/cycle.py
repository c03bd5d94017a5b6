"""The monitoring cycle: ingest, evaluate signals, respond, deploy and test, alert.

It can be killed at any time: signals are stored before the response, actions are recorded before they begin,
and the next cycle completes what was interrupted.
"""

import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime
from types import FrameType

from bike_demand import clock
from bike_demand.core.current import clock_time
from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA, Settings, load_settings
from bike_demand.data.ingest import ingest
from bike_demand.data.source import Source
from bike_demand.loop import champion, incidents, retraining
from bike_demand.loop.alerts import alert, deliver
from bike_demand.loop.context import HERE, Context, Execution, Report
from bike_demand.loop.publish import publish
from bike_demand.monitoring import rules
from bike_demand.monitoring.signals import evaluate_signals
from bike_demand.release.ab.step import step
from bike_demand.store import event_log
from bike_demand.store.database import Database, lock, open_database
from bike_demand.store.deployments import Deployments
from bike_demand.store.event_log import Signal
from bike_demand.store.retention import delete_old
from bike_demand.store.tables import Kind, Raised, State
from bike_demand.store.tracking import Tracking

LOOP = "loop"  # name of the loop's lock
INGESTION = "gathering"  # subject of the signal for a feed that cannot be ingested
LOCK_SECONDS = 600.0  # how long a response waits for a running cycle or training
RETRY_SECONDS = 60.0  # before the next cycle if the settings cannot be read

# By kind of signal: the title of its alert, and advice to a person. In order of urgency: a bad champion
# explains many other signals.
RESPONSES = {
    Kind.RELEASE: (
        "Bad release: {subject}",
        "Find out how it went live. To go back at once: rollback --reason TEXT.",
    ),
    Kind.NO_MODEL: (
        "No model is live: {subject}",
        "Find out why no version passed: monitor, or the pages in state/reports.",
    ),
    Kind.QUALITY: (
        "Data quality: {subject}",
        "Have the source corrected. The loop resumes by itself once the data are right again.",
    ),
    Kind.LOOP: ("The loop fails: {subject}", "Correct what it says, then: retrain --reason TEXT."),
    Kind.ERROR: (
        "The error drifts: {subject}",
        "Find out what changed. To train whatever the rules say: retrain --now --reason TEXT.",
    ),
    Kind.AGE: ("The model is old: {subject}", "Nothing has to be done."),
    Kind.DRIFT: (
        "Inputs drift: {subject}",
        "Nothing has to be done: the inputs moved, the error did not. See state/reports/drift.html.",
    ),
}


def run_cycle(
    settings: Settings, as_of: datetime | None, report: Report, execution: Execution = HERE
) -> None:
    """Run one cycle. `execution` runs its steps and the response to each signal.

    Raises UserError if the cycle fails; an alert reports it if possible, and the next cycle tries again.
    """
    with _locked(settings) as database:
        try:
            _cycle(settings, database, as_of, report, execution)
        except Exception as error:
            _failed(settings, database, as_of, error)
            raise
        finally:
            with suppress(UserError):  # the error being handled is more important
                deliver(settings, database, report)


def act(
    settings: Settings,
    signal_id: int,
    as_of: datetime | None,
    report: Report,
    execution: Execution = HERE,
) -> str:
    """Respond to a signal sent by a cycle, given its id. Returns one sentence.

    Raises UserError if the response fails.
    """
    with _locked(settings, LOCK_SECONDS) as database:
        found = [each for each in event_log.open_signals(database) if each.id == signal_id]
        context = _context(settings, database, as_of, report, execution)
        if not found or _is_of_earlier(context, found[0]):
            report(done := f"Signal {signal_id} is over; nothing was done.")
            return done
        done = _respond(context, found[0])
        _settle(context)
        deliver(settings, database, report)
        return done


def _is_of_earlier(context: Context, raised: Raised) -> bool:
    """Whether the error is that of an earlier champion: the sending cycle may have promoted another."""
    live = context.deployments.live()
    return raised.kind is Kind.ERROR and live is not None and raised.subject != f"version {live.version}"


def retrain(settings: Settings, reason: str, as_of: datetime | None, now: bool, report: Report) -> None:
    """Train and deploy at a person's request. `now` overrides cool-down and budget.

    Raises UserError if the rules forbid it, or no version results.
    """
    with _locked(settings) as database:
        if (failure := _ingest(settings, as_of)) is not None:
            report(f"warning: {failure}")
        context = _context(settings, database, as_of, report)
        decision = _due(context, reason)
        if not decision.train and not now:
            raise UserError(f"{decision.message} To train nevertheless: --now")
        report(decision.message if decision.train else f"{decision.message} Trained nevertheless (--now).")
        report(retraining.train(context, reason, by_hand=True))
        _settle(context)
        deliver(settings, database, report)
        last = event_log.actions(database)[-1]
    if last.state == event_log.FAILED:
        raise UserError(str(last.detail.get(retraining.OUTCOME)))


@contextmanager
def _locked(settings: Settings, patience: float = 0.0) -> Iterator[Database]:
    """The production database, under the loop's lock. Raises UserError."""
    with (
        closing(open_database(settings.environments.production.database)) as database,
        lock(database, LOOP, patience),
    ):
        yield database


def _cycle(
    settings: Settings, database: Database, as_of: datetime | None, report: Report, execution: Execution
) -> None:
    failure = execution.run("ingest", lambda: _ingest(settings, as_of))
    context = _context(settings, database, as_of, report, execution)
    incidents.of_people(context)
    evaluation = execution.run(
        "evaluate signals",
        lambda: evaluate_signals(settings, context.tracking, database, as_of, context.now),
    )
    signals = [*champion.signals(context), *evaluation.signals, *_own_signals(context, failure)]
    change = event_log.raise_signals(database, signals, context.now)
    incidents.follow(context, change.open, evaluation.violations)
    for raised in change.new:
        report(f"{raised.kind}: {raised.message}")
    for raised in change.ended:
        report(f"Over: {raised.kind}, {raised.subject}.")
    if failure is not None and not any(raised.subject == INGESTION for raised in change.new):
        report(f"The feed still cannot be ingested: {failure}.")
    _resume(context, change.open)
    for raised in sorted(change.open, key=lambda each: (list(RESPONSES).index(each.kind), each.id)):
        if execution.send is None:
            _respond(context, raised)
        else:
            execution.send(raised)
    _settle(context)
    row = context.deployments.live()
    live = None if row is None else row.version
    if live != (None if evaluation.champion is None else evaluation.champion.number):
        # Signals about other versions are over.
        about = (Kind.NO_MODEL, Kind.RELEASE)
        left = [each for each in signals if each.kind not in about or each.subject == f"version {live}"]
        change = event_log.raise_signals(database, left, context.now)
        for raised in change.ended:
            report(f"Over: {raised.kind}, {raised.subject}.")
    if not change.open and live is not None and context.deployments.queue_reason() is None:
        report(f"Version {live} is live; nothing to do.")


def _context(
    settings: Settings,
    database: Database,
    as_of: datetime | None,
    report: Report,
    execution: Execution = HERE,
) -> Context:
    tracking, now = Tracking(settings), clock.now(settings, as_of)
    deployments = Deployments(settings, tracking, database, as_of, report)
    deployments.reconcile()
    return Context(settings, tracking, database, deployments, as_of, now, report, execution)


def _ingest(settings: Settings, as_of: datetime | None) -> str | None:
    """Ingest the feed. Returns the reason if that failed, else None. Earlier data are kept."""
    try:
        ingest(Source(settings.feed), DATA, settings.first_month, as_of=as_of)
    except UserError as error:
        return str(error)
    return None


def _own_signals(context: Context, failure: str | None) -> list[Signal]:
    """Signals about the loop itself."""
    found: list[Signal] = []
    if failure is not None:
        message = f"The feed cannot be ingested: {failure}."
        found.append(Signal(Kind.QUALITY, INGESTION, context.now, message, {}))
    rest = retraining.resting(context.settings, event_log.actions(context.database), context.now)
    if rest is not None:
        found.append(Signal(Kind.LOOP, "training", context.now, f"{rest[:1].upper()}{rest[1:]}.", {}))
    age = rules.age_signal(retraining.tried(context), context.now, context.settings)
    if age is not None:
        found.append(age)
    return found


def _resume(context: Context, open_: Sequence[Raised]) -> None:
    """Resume an interrupted training."""
    for action in event_log.under_way(context.database):
        held = None if action.version is not None else _held(open_)
        context.report(
            retraining.resume(context, action) if held is None else retraining.drop(context, action, held)
        )


def _respond(context: Context, raised: Raised) -> str:
    """Respond to a signal, and raise an alert about both. Returns one sentence on the response."""
    done = _response(context, raised)
    title, you_may = RESPONSES[raised.kind]
    incidents.note(context, raised, done)
    made = alert(
        context.settings,
        context.database,
        f"{raised.kind}:{raised.subject}",
        context.now,
        title.format(subject=raised.subject),
        happened=raised.message,
        evidence=raised.evidence,
        done=done,
        you_may=you_may,
    )
    if made is not None:
        context.report(f"{raised.kind}, {raised.subject}: {done}")
    return done


def _response(context: Context, raised: Raised) -> str:
    """Respond to a signal. Returns one sentence on the response."""
    match raised.kind:
        case Kind.QUALITY:
            return "Nothing is trained while this goes on; the last good model stays live."
        case Kind.DRIFT:
            return "Nothing: it is reported only."
        case Kind.LOOP:
            return "Training is paused for a while; the last good model stays live."
        case Kind.RELEASE:
            return champion.act(context, raised)
        case Kind.NO_MODEL if (restored := champion.restore(context)) is not None:
            return restored
    shift = raised.evidence.get(event_log.LEVEL_SHIFT)
    refusal = context.execution.run("decide on a training", lambda: _refusal(context, raised, shift))
    if refusal is not None:
        return refusal
    if shift is not None:
        champion.end_comparison(context, shift)
    return retraining.train(context, raised.message, signal=raised.id, level_shift=shift)


def _refusal(context: Context, raised: Raised, shift: str | None) -> str | None:
    """Why a signal does not lead to a training now, in sentences; None if it does."""
    held = _held(event_log.open_signals(context.database))
    if held is not None:
        return held
    end = context.deployments.queue_reason()
    if end is not None and (shift is None or champion.is_adapted_to(context, shift)):
        return f"No training until {end}: a new version would have to wait, and be outdated."
    urgent = raised.kind is Kind.NO_MODEL or bool(raised.evidence.get("urgent"))
    decision = _due(context, raised.message, urgent=urgent, level_shift=shift)
    # Without a model there are no predictions; but if a person releases, more versions change nothing.
    pressing = raised.kind is Kind.NO_MODEL and context.settings.deploy.automatic
    return None if decision.train or pressing else decision.message


def _held(open_: Sequence[Raised]) -> str | None:
    """Why nothing may be trained now, whatever the error is; None if it may."""
    for each in open_:
        if each.kind is Kind.QUALITY:
            return f"No training: bad data. {each.message}"
        if each.kind is Kind.LOOP:
            return f"No training: {each.message}"
        if each.kind is Kind.RELEASE:
            return f"No training before it is clear what is live. {each.message}"
    return None


def _due(
    context: Context, reason: str, *, urgent: bool = False, level_shift: str | None = None
) -> rules.RetrainingDecision:
    shift = None if level_shift is None else date.fromisoformat(level_shift)
    tried = retraining.tried(context)
    return rules.due(reason, tried, context.now, context.settings, urgent=urgent, level_shift=shift)


def _settle(context: Context) -> None:
    """Advance tests and watches, record the results of trainings, and delete old predictions."""
    if context.deployments.queue_reason() is not None or context.deployments.all(State.QUEUED):
        step(context.settings, context.as_of, context.report, context.execution.run)
    retraining.follow_up(context)
    publish(context)
    delete_old(context.database, context.settings, context.now)


def _failed(settings: Settings, database: Database, as_of: datetime | None, error: Exception) -> None:
    """Raise an alert about a failed cycle, as far as possible in this state."""
    known = isinstance(error, UserError | OSError)
    reason = str(error) if known else traceback.format_exception_only(error)[-1]
    with suppress(UserError):
        try:
            at = clock.now(settings, as_of)
        except UserError:
            at = clock_time()
        alert(
            settings,
            database,
            "loop:cycle",
            at,
            "The loop fails: a cycle",
            happened=f"A cycle of the loop failed: {reason[:500]}",
            evidence={"error": type(error).__name__},
            done="The live version stays. The next cycle tries again.",
            you_may="Correct what it says; for the details: python -m bike_demand agent --once.",
        )


def run_forever(report: Report, every: float | None = None) -> None:
    """Run a cycle every `every` seconds (default: `loop.seconds`), until SIGTERM or Ctrl-C.

    A failed cycle is reported, and the next one tries again. A signal interrupts a cycle at any time.
    """
    ending = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, end) for each in numbers}
    try:
        while not ending.is_set():
            began = time.monotonic()
            seconds = _try_cycle(report)
            while (left := began + (every or seconds) - time.monotonic()) > 0:
                ending.wait(min(0.5, left))  # in short waits: not everywhere does a signal interrupt one
    except KeyboardInterrupt:
        if not ending.is_set():
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    report("The loop has ended.")


def _try_cycle(report: Report) -> float:
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
