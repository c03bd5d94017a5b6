"""One turn of the loop: gather, look, act on what was seen, deploy and test, tell.

It can be killed anywhere: what was seen is kept before it is acted on, what is done is written down before it
begins, and whatever is left over is done by the next turn.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime

from bike_demand import clock
from bike_demand.data.ingest import ingest
from bike_demand.data.source import Source
from bike_demand.errors import UserError
from bike_demand.loop import champion, incidents, training
from bike_demand.loop.alerts import alert, deliver
from bike_demand.loop.context import Context, Tell
from bike_demand.loop.publish import publish
from bike_demand.monitoring import rules
from bike_demand.monitoring.signals import evaluate_signals
from bike_demand.prediction_log import journal
from bike_demand.prediction_log.database import Database, open_database
from bike_demand.prediction_log.journal import TRAIN, Kind, Raised, Signal
from bike_demand.prediction_log.locks import alone
from bike_demand.release.ab.step import step
from bike_demand.release.moves import WAITING_TAG
from bike_demand.settings import DATA, Settings
from bike_demand.tracking import CHALLENGER, CHAMPION, PREVIOUS, Tracking

LOOP = "loop"  # the name of its lock
GATHERING = "gathering"  # the subject where the feed cannot be read at all
PATIENCE_SECONDS = 600.0  # a signal waits so long for the turn under way, or for another's training

Send = Callable[[Raised], None]

YOU_MAY = {
    Kind.QUALITY: "Have the source corrected. The loop goes on by itself once the data are right again.",
    Kind.DRIFT: "Nothing has to be done: the inputs moved, the error did not. See state/reports/drift.html.",
    Kind.ERROR: "Find out what changed. To train whatever the rules say: retrain --now --reason TEXT.",
    Kind.RELEASE: "Find out how it got there. To go back at once: rollback --reason TEXT.",
    Kind.NO_MODEL: "Look why no version passed: monitor, or the pages in state/reports.",
    Kind.AGE: "Nothing has to be done.",
    Kind.LOOP: "Put right what it says, then: retrain --reason TEXT.",
}
TITLES = {
    Kind.QUALITY: "Data quality: {subject}",
    Kind.DRIFT: "Inputs drift: {subject}",
    Kind.ERROR: "The error drifts: {subject}",
    Kind.RELEASE: "Bad release: {subject}",
    Kind.NO_MODEL: "No model is live: {subject}",
    Kind.AGE: "The model is old: {subject}",
    Kind.LOOP: "The loop fails: {subject}",
}


def turn(settings: Settings, as_of: datetime | None, tell: Tell, send: Send | None = None) -> None:
    """Take one turn. Each signal is given to `send`, or acted on right here.

    Raises UserError where the turn fails; that was alerted then, if there was a way, and the next may work.
    """
    with _at_work(settings) as database:
        try:
            _turn(settings, database, as_of, tell, send)
        except Exception as error:
            _failed(settings, database, as_of, error)
            raise
        finally:
            with suppress(UserError):  # an error under way says more
                deliver(settings, database, tell)


def act(settings: Settings, signal: int, as_of: datetime | None, tell: Tell) -> None:
    """Do what follows on a signal that a turn has sent, by its id. Raises UserError where that fails."""
    with _at_work(settings, PATIENCE_SECONDS) as database:
        found = [each for each in journal.open_signals(database) if each.id == signal]
        if not found:
            tell(f"Signal {signal} is over; nothing was done.")
            return
        context = _context(settings, database, as_of, tell)
        _act(context, found[0])
        _settle(context)
        deliver(settings, database, tell)


def retrain(settings: Settings, reason: str, as_of: datetime | None, now: bool, tell: Tell) -> None:
    """Train and deploy for a person's reason. What speaks against it is said; `now` goes past it.

    Raises UserError where the rules say no, or nothing comes of it.
    """
    with _at_work(settings) as database:
        if (problem := _gather(settings, as_of)) is not None:
            tell(f"warning: {problem}")
        context = _context(settings, database, as_of, tell)
        decision = _due(context, reason)
        if not decision.train and not now:
            raise UserError(f"{decision.says} To train nevertheless: --now")
        tell(decision.says if decision.train else f"{decision.says} Trained nevertheless (--now).")
        tell(training.train(context, reason, by_hand=True))
        _settle(context)
        deliver(settings, database, tell)
        last = journal.actions(database, TRAIN)[-1]
    if last.state == journal.FAILED:
        raise UserError(str(last.detail.get(training.OUTCOME)))


@contextmanager
def _at_work(settings: Settings, patience: float = 0.0) -> Iterator[Database]:
    """The database of production, while nobody else is at work on it. Raises UserError."""
    with (
        closing(open_database(settings.environments.production.database)) as database,
        alone(database, LOOP, patience),
    ):
        yield database


def _turn(
    settings: Settings, database: Database, as_of: datetime | None, tell: Tell, send: Send | None
) -> None:
    problem = _gather(settings, as_of)
    context = _context(settings, database, as_of, tell)
    champion.finish(context)
    champion.note(context)  # also who is taken back below
    incidents.of_people(context)
    evaluation = evaluate_signals(settings, context.tracking, database, as_of, context.now)
    signals = [*champion.signals(context), *evaluation.signals, *_own(context, problem)]
    change = journal.raise_signals(database, signals, context.now)
    incidents.follow(context, change.open, evaluation.violations)
    for raised in change.new:
        tell(f"{raised.kind}: {raised.says}")
    for raised in change.ended:
        tell(f"Over: {raised.kind}, {raised.subject}.")
    if problem is not None and not any(raised.subject == GATHERING for raised in change.new):
        tell(f"The feed still cannot be gathered: {problem}.")
    _resume(context, change.open)
    for raised in sorted(change.open, key=_urgency):
        if send is None:
            _act(context, raised)
        else:
            send(raised)
    _settle(context)
    live = context.tracking.aliases().get(CHAMPION)
    if live != (
        None if evaluation.champion is None else evaluation.champion.number
    ):  # what was said of another is over
        about = (Kind.NO_MODEL, Kind.RELEASE)
        left = [each for each in signals if each.kind not in about or each.subject == f"version {live}"]
        change = journal.raise_signals(database, left, context.now)
        for raised in change.ended:
            tell(f"Over: {raised.kind}, {raised.subject}.")
    if not change.open and live is not None and _busy(context) is None:
        tell(f"Version {live} is live, and nothing asks for anything.")


def _context(settings: Settings, database: Database, as_of: datetime | None, tell: Tell) -> Context:
    return Context(settings, Tracking(settings), database, as_of, clock.now(settings, as_of), tell)


def _gather(settings: Settings, as_of: datetime | None) -> str | None:
    """Bring the data up to date; why that did not work, or None: what was gathered before is there still."""
    try:
        ingest(Source(settings.feed), DATA, settings.first_month, as_of=as_of)
    except UserError as error:
        return str(error)
    return None


def _own(context: Context, problem: str | None) -> list[Signal]:
    """The loop's signals about itself."""
    found: list[Signal] = []
    if problem is not None:
        says = f"The feed cannot be gathered: {problem}."
        found.append(Signal(Kind.QUALITY, GATHERING, context.now, says, {}))
    rest = training.resting(context.settings, journal.actions(context.database, TRAIN), context.now)
    if rest is not None:
        found.append(Signal(Kind.LOOP, "training", context.now, f"{rest[:1].upper()}{rest[1:]}.", {}))
    age = rules.age_signal(training.tried(context), context.now, context.settings)
    if age is not None:
        found.append(age)
    return found


def _urgency(raised: Raised) -> tuple[int, int]:
    """A bad champion goes before all else: what it answers explains much."""
    order = (Kind.RELEASE, Kind.NO_MODEL, Kind.QUALITY, Kind.LOOP, Kind.ERROR, Kind.AGE, Kind.DRIFT)
    return order.index(raised.kind), raised.id


def _resume(context: Context, open_: Sequence[Raised]) -> None:
    """Go on with the training that was begun before."""
    for action in journal.under_way(context.database):
        if action.kind == TRAIN:
            held = None if action.version is not None else _held(open_)
            context.tell(
                training.go_on(context, action) if held is None else training.drop(context, action, held)
            )


def _act(context: Context, raised: Raised) -> None:
    """Do what follows on a signal, and tell people of both."""
    done = _done(context, raised)
    incidents.note(context, raised, done)
    made = alert(
        context.settings,
        context.database,
        f"{raised.kind}:{raised.subject}",
        context.now,
        TITLES[raised.kind].format(subject=raised.subject),
        happened=raised.says,
        evidence=raised.evidence,
        done=done,
        you_may=YOU_MAY[raised.kind],
    )
    if made is not None:
        context.tell(f"{raised.kind}, {raised.subject}: {done}")


def _done(context: Context, raised: Raised) -> str:
    """Do it; one sentence on what was done."""
    match raised.kind:
        case Kind.QUALITY:
            return "Nothing is trained while this goes on; the last good model answers."
        case Kind.DRIFT:
            return "Nothing: it is reported only."
        case Kind.LOOP:
            return "No training is tried by itself for a while; the last good model answers."
        case Kind.RELEASE:
            return champion.act(context, raised)
        case Kind.NO_MODEL if (said := champion.put_back(context)) is not None:
            return said
    held = _held(journal.open_signals(context.database))
    if held is not None:
        return held
    if (busy := _busy(context)) is not None:
        return busy
    urgent = raised.kind is Kind.NO_MODEL or bool(raised.evidence.get("urgent"))
    decision = _due(context, raised.says, urgent=urgent)
    # Without any model users get no answer; but where a person releases, more of them give none either.
    pressing = raised.kind is Kind.NO_MODEL and context.settings.deploy.automatic
    if not decision.train and not pressing:
        return decision.says
    return training.train(context, raised.says, signal=raised.id)


def _held(open_: Sequence[Raised]) -> str | None:
    """Why nothing is trained now, whatever the error does; None: nothing speaks against it."""
    for each in open_:
        if each.kind is Kind.QUALITY:
            return f"No training: the data are not in order. {each.says}"
        if each.kind is Kind.LOOP:
            return f"No training: {each.says}"
        if each.kind is Kind.RELEASE:
            return f"No training before it is clear what is live. {each.says}"
    return None


def _busy(context: Context) -> str | None:
    """Why a new version would have to wait, and be out of date when its test begins; None: it would not."""
    aliases = context.tracking.aliases()
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    if challenger not in (None, champion):
        return f"No training yet: version {challenger} is in its test."
    if aliases.get(PREVIOUS, champion) != champion:
        return f"No training yet: version {champion} is watched after its promotion."
    return None


def _due(context: Context, reason: str, *, urgent: bool = False) -> rules.RetrainingDecision:
    return rules.due(reason, training.tried(context), context.now, context.settings, urgent=urgent)


def _settle(context: Context) -> None:
    """What goes on from day to day: tests and watches. Then who is live, and what became of trainings."""
    aliases = context.tracking.aliases()
    if CHALLENGER in aliases or PREVIOUS in aliases or context.tracking.tagged(WAITING_TAG):
        step(context.settings, context.as_of, context.tell)
    champion.note(context)
    training.follow_up(context)
    publish(context)


def _failed(settings: Settings, database: Database, as_of: datetime | None, error: Exception) -> None:
    """Alert that a turn failed, as far as that is possible now."""
    said = (
        str(error) if isinstance(error, UserError | OSError) else traceback.format_exception_only(error)[-1]
    )
    with suppress(UserError):
        try:
            at = clock.now(settings, as_of)
        except UserError:
            at = datetime.now()
        alert(
            settings,
            database,
            "loop:turn",
            at,
            "The loop fails: a turn",
            happened=f"A turn of the loop failed: {said[:500]}",
            evidence={"error": type(error).__name__},
            done="What is live stays, and answers go on. The next turn tries again.",
            you_may="Look into what it says; for the whole story: python -m bike_demand agent --once.",
        )
