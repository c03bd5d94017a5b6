"""The deployment lifecycle: states, the transitions between them, and the registry aliases that follow.

No other module changes a state or moves a production alias. A transition stores the new states together with
the intended alias changes, then moves the aliases, then marks itself as applied. `reconcile` completes an
interrupted transition and adopts any other change: moving an alias by hand is the emergency brake.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bike_demand import clock
from bike_demand.core.current import LABEL_LAG, clock_time
from bike_demand.core.errors import UserError
from bike_demand.core.settings import Settings
from bike_demand.store.database import Database, lock, open_database
from bike_demand.store.queries import first_time_after, workers
from bike_demand.store.tables import Deployment, State, Transition
from bike_demand.store.tracking import CHAMPION, HANDOFF_ARTIFACT, MODEL_NAME, Tracking, Version
from bike_demand.store.traffic_split import (
    AB_TAG,
    CHALLENGER,
    DEPLOYMENT_TAG,
    PREVIOUS,
    ABTest,
    traffic_split,
)

OUT_OF_BAND = "out of band"  # `who` of a deployment whose alias was moved by hand
UNDECIDED = (State.CREATED, State.VALIDATING, State.QUEUED)
FAILED = (State.FAILED_GATE, State.FAILED_TEST, State.ROLLED_BACK, State.SUPERSEDED, State.ERROR)
_AFTER_GATES = (State.TESTING, State.LIVE, State.ERROR)
NEXT: dict[State, tuple[State, ...]] = {
    State.CREATED: (State.VALIDATING, *_AFTER_GATES),
    State.VALIDATING: (State.VALIDATING, State.QUEUED, State.FAILED_GATE, *_AFTER_GATES),
    State.QUEUED: (State.VALIDATING, State.SUPERSEDED, State.ERROR),
    State.TESTING: (State.LIVE, State.FAILED_TEST, State.SUPERSEDED, State.ERROR),
    State.LIVE: (State.LIVE, State.RETIRED, State.ROLLED_BACK, State.ERROR),
    State.RETIRED: (State.LIVE,),
}
LOCK_SECONDS = 30.0  # how long a transition waits for another one to move its aliases
ROLLOUT_SECONDS = 10.0
POLL_SECONDS = 0.1

Report = Callable[[str], None]


class Deployments:
    """The deployments of production. `report` receives a line for each out-of-band change."""

    def __init__(
        self,
        settings: Settings,
        tracking: Tracking,
        database: Database,
        as_of: datetime | None,
        report: Report,
    ) -> None:
        self.settings, self.tracking, self.database, self.as_of = settings, tracking, database, as_of
        self._report = report

    @property
    def now(self) -> datetime:
        """Story time; without ingested data the machine's time, because a rollback must always work."""
        try:
            return clock.now(self.settings, self.as_of)
        except UserError:
            return clock_time()

    def all(self, *states: State) -> list[Deployment]:
        """The deployments in one of these states (default: all), oldest first."""
        return deployed(self.database, *states)

    def live(self) -> Deployment | None:
        """The deployment of the champion."""
        return next(iter(self.all(State.LIVE)), None)

    def testing(self) -> Deployment | None:
        """The deployment of the challenger."""
        return next(iter(self.all(State.TESTING)), None)

    def of(self, version: Version) -> Deployment | None:
        """The version's live or testing deployment, else its latest; None if it has none."""
        mine = [each for each in self.all() if each.is_of(version)]
        active = [each for each in mine if each.state in (State.LIVE, State.TESTING)]
        return next(reversed(active or mine), None)

    def failure(self, version: Version) -> Deployment | None:
        """Why a version is refused: it was rolled back, or its model failed under another number."""
        failed = self.all(State.ROLLED_BACK, State.FAILED_TEST)
        same = (each for each in failed if each.digest == version.digest)
        return next(
            (each for each in same if each.state is State.ROLLED_BACK or not each.is_of(version)), None
        )

    def blocker(self) -> str | None:
        """What has to end before another test can start; None if nothing does.

        During the watch of a promotion, the previous version predicts too. A challenger would take its place,
        and a bad promotion could no longer be detected.
        """
        if (testing := self.testing()) is not None:
            return f"the test of version {testing.version} ends"
        live = self.live()
        return f"the watch of version {live.version} ends" if live is not None and live.is_watched else None

    def last_good(self, but: int | None = None) -> Deployment | None:
        """The deployment that was live last and can be again: never rolled back, with a model that can be
        fetched, and not of version `but`.
        """
        bad = {each.run_id for each in self.all(State.ROLLED_BACK, State.LIVE)}
        for each in sorted(self.all(State.RETIRED), key=lambda row: row.moved or 0, reverse=True):
            if each.version != but and each.run_id not in bad and self._has_model(each):
                return each
        return None

    # ---- transitions

    def open(self, version: Version, who: str, skip_reason: str | None = None) -> Deployment:
        """Open a deployment. `skip_reason`: why a person skips the A/B test."""
        with self.database.writing() as session:
            return _create(session, version, who, self.now, skip_reason)

    def store(self, row: Deployment, **evidence: Any) -> None:
        """Store evidence of a deployment: `gates`, `ab` or `watch`."""
        with self.database.writing() as session:
            _set(session, row, evidence)

    def transition(
        self, row: Deployment, state: State, reason: str, at: datetime | None = None, **evidence: Any
    ) -> None:
        """Change the state of a deployment, with the consequences for other deployments and the aliases.

        When a version goes live, another one's test ends, and the previous champion keeps predicting, unseen,
        so that the watch can compare the two. Raises UserError if the champion is no longer the one that the
        version was compared with.
        """
        with self._transition(row) as (session, live, testing):
            at = at or self.now
            _set(session, row, evidence)
            champion = None if live is None else live.version
            if state is State.VALIDATING:
                row.against = champion
            elif state in (State.TESTING, State.LIVE) and champion not in (row.against, row.version):
                raise UserError(f"version {champion or 'none'} went live in the meantime; deploy again")
            if state is State.TESTING:
                row.test = self._test(at)
            elif state is State.LIVE and row.state is State.LIVE:  # the end of its watch
                row.bake_until = None
            elif state is State.LIVE:
                if testing is not None and testing.id != row.id:
                    _step(
                        session, testing, State.SUPERSEDED, f"version {row.version} was released untested", at
                    )
                if live is not None:
                    _step(session, live, State.RETIRED, f"version {row.version} went live", at)
                row.bake_until = None if live is None else self._bake(at)
            _step(session, row, state, reason, at)

    def go_back(self, good: Deployment, reason: str, at: datetime | None = None, **evidence: Any) -> None:
        """Make an earlier champion the champion again, without a watch; a running test ends."""
        with self._transition(good) as (session, live, testing):
            at, number = at or self.now, good.version
            if live is not None:
                _set(session, live, {**evidence, "bake_until": None, "against": number})
                if testing is not None:
                    why = f"version {live.version}, against which it was tested, was rolled back"
                    _step(session, testing, State.SUPERSEDED, why, at)
                _step(session, live, State.ROLLED_BACK, reason, at)
                reason = f"instead of version {live.version}: {reason}"
            _set(session, good, {"bake_until": None})
            _step(session, good, State.LIVE, reason, at)

    @contextmanager
    def _transition(self, row: Deployment) -> Iterator[tuple[Session, Deployment | None, Deployment | None]]:
        """A transaction with this deployment, the live and the testing one; then moves the aliases."""
        with lock(self.database, "transition", LOCK_SECONDS):
            self._reconcile()
            with self._intending() as session:
                session.add(row)
                session.refresh(row)
                yield session, _only(session, State.LIVE), _only(session, State.TESTING)
            self._apply()

    # ---- aliases

    def rollout(self) -> str:
        """Wait until all running workers of production serve what the aliases name. Returns one line.

        A worker counts as running if it reported within the last few seconds.
        """
        split = traffic_split(self.tracking, CHAMPION)
        versions = (split and split.shown.number, split and split.other and split.other.number)
        deadline = time.monotonic() + ROLLOUT_SECONDS
        while True:
            seen = workers(self.database, 2 * self.settings.serving.poll_seconds + 1)
            running = [each for each in seen if each.environment == "production"]
            behind = [each for each in running if (each.version, each.other_version) != versions]
            plural = "s" if len(running) > 1 else ""
            progress = f"in {len(running) - len(behind)} of {len(running)} worker{plural} of production"
            if not running:
                return "No service of production is running; it will be served from the next start."
            if not behind:
                return f"Live {progress}."
            if time.monotonic() > deadline:
                log = f"check the log of {behind[0].id}"
                return f"warning: live {progress} after {ROLLOUT_SECONDS:g} seconds; {log}"
            time.sleep(POLL_SECONDS)

    def reconcile(self) -> None:
        """Complete an interrupted transition, and adopt out-of-band changes."""
        with lock(self.database, "transition", LOCK_SECONDS):
            self._reconcile()

    def _reconcile(self) -> None:
        for each in self._apply():
            self._report(f"The interrupted transition to {each.new.value} is complete: {each.reason}.")
        aliases, versions, rows = self._read()
        champion = aliases.get(CHAMPION)
        for alias in (CHALLENGER, PREVIOUS):
            if alias in aliases and champion in (None, aliases[alias]):  # without a champion, or equal to it
                self._remove_alias(alias)
                del aliases[alias]
        for row in rows:
            if row.state in UNDECIDED and _version(row, versions) is None:
                self._leave(row, State.ERROR, self.now)
        by_state = {row.state: row for row in rows}  # at most one is live, and one in its test
        adopted = self._adopt(CHALLENGER, by_state.get(State.TESTING), aliases, versions)
        if self._adopt(CHAMPION, by_state.get(State.LIVE), aliases, versions) or adopted:
            aliases, versions, rows = self._read()
        live, previous = {row.state: row for row in rows}.get(State.LIVE), aliases.get(PREVIOUS)
        if live is not None and previous != _wanted(live, None).get(PREVIOUS):
            watch = {"bake_until": previous and self._bake(self.now), "against": previous or live.against}
            with self.database.writing() as session:  # a watch was started or ended by hand
                _set(session, live, watch)
                _step(session, live, State.LIVE, f"the alias {PREVIOUS} was moved by hand", self.now)
        self._write_tags(rows, versions)

    def _read(self) -> tuple[dict[str, int], list[Version], list[Deployment]]:
        """Aliases, versions and deployments, read once for all checks, which rarely find a change."""
        return self.tracking.aliases(), self.tracking.versions(), self.all()

    def _adopt(
        self, alias: str, row: Deployment | None, aliases: dict[str, int], versions: list[Version]
    ) -> bool:
        """Adopt an out-of-band change of an alias: its version counts as deployed since it was first shown; a
        champion is watched. Returns whether anything had changed.
        """
        number = aliases.get(alias)
        version = next((each for each in versions if each.number == number), None)
        if version is None and number is not None:
            version = self.tracking.version(number)
        if (row is None and version is None) or (row and version and row.is_of(version)):
            return False
        since = self.now
        if alias == CHAMPION and number is not None:
            first = first_time_after(self.database, number, None if row is None else row.version) or since
            since = min(since, first if row is None else max(first, row.changed_at))
        if row is not None:
            self._leave(row, State.RETIRED if alias == CHAMPION else State.SUPERSEDED, since)
        if version is None:
            self._report(f"warning: the alias {alias} was removed by hand, or its version was deleted.")
            return True
        other = self.last_good(version.number) if alias == CHAMPION else self.live()
        with self._intending(aliases) as session:
            new = _create(session, version, OUT_OF_BAND, since)
            new.against = None if other is None else other.version
            new.bake_until, new.test = (
                (self._bake(since), None) if alias == CHAMPION else (None, self._test(since))
            )
            state = State.LIVE if alias == CHAMPION else State.TESTING
            _step(session, new, state, f"the alias {alias} was moved by hand", since)
        self._apply()
        compared = "" if other is None else f", and is compared with version {other.version}"
        self._report(f"warning: version {version.number} was made the {alias} out of band{compared}.")
        return True

    def _leave(self, row: Deployment, state: State, at: datetime) -> None:
        reason = "its alias was moved by hand"
        if _version(row, self.tracking.versions()) is None:
            state, reason = State.ERROR, "its version was deleted"
        with self.database.writing() as session:
            _step(session, row, state, reason, at)

    @contextmanager
    def _intending(self, aliases: dict[str, int] | None = None) -> Iterator[Session]:
        """A transaction that stores, with its last transition, which aliases to move and from where they
        are now (default: as implied by the states).
        """
        with self.database.writing(Deployment) as session:
            before = aliases or _wanted(self.live(), self.testing())
            yield session
            session.flush()
            after = _wanted(_only(session, State.LIVE), _only(session, State.TESTING))
            order = (
                (PREVIOUS, CHALLENGER, CHAMPION) if PREVIOUS in after else (CHALLENGER, CHAMPION, PREVIOUS)
            )
            moves = {
                each: [before.get(each), after.get(each)]
                for each in order
                if before.get(each) != after.get(each)
            }
            if moves:
                last = session.scalars(select(Transition).order_by(Transition.id.desc()).limit(1)).one()
                last.aliases, last.applied = moves, False

    def _apply(self) -> list[Transition]:
        """Move the aliases of unapplied transitions, unless they were moved since."""
        left = self.database.all(select(Transition).filter_by(applied=False).order_by(Transition.id))
        for transition in left:
            versions = self.tracking.versions()
            self._write_tags(self.all(), versions)
            registered = {each.number for each in versions}
            for alias, (old, new) in transition.aliases.items():
                if self.tracking.aliases().get(alias) != old:
                    continue  # moved before the transition was interrupted, or by hand
                if new is None:
                    self._remove_alias(alias)
                elif new in registered:
                    self.tracking.set_alias(alias, new)
            with self.database.writing() as session:
                session.get_one(Transition, transition.id).applied = True
        return left

    def _write_tags(self, rows: list[Deployment], versions: list[Version]) -> None:
        """Write the tags of the versions in production, which services read: deployment and test."""
        for row in rows:
            if row.state not in (State.LIVE, State.TESTING):
                continue
            tags = {DEPLOYMENT_TAG: row.id}
            if row.state is State.TESTING:
                tags[AB_TAG] = ABTest.model_validate(row.test).model_dump_json()
            version = _version(row, versions)
            if version is not None and not tags.items() <= version.tags.items():
                self.tracking.tag(version.number, tags)

    # ---- parts

    def _remove_alias(self, alias: str) -> None:
        with self.tracking.client() as client:
            client.delete_registered_model_alias(MODEL_NAME, alias)

    def _has_model(self, row: Deployment) -> bool:
        try:
            with TemporaryDirectory() as scratch:
                self.tracking.fetch(row.run_id, HANDOFF_ARTIFACT, Path(scratch))
        except UserError:
            return False
        return _version(row, self.tracking.versions()) is not None

    def _test(self, began: datetime) -> dict[str, Any]:
        ab = self.settings.ab
        return ABTest(
            mode=ab.mode, share=ab.share, salt=ab.salt, began=began, randomize_by=ab.randomize_by
        ).model_dump(mode="json")

    def _bake(self, since: datetime) -> datetime | None:
        days = self.settings.ab.watch_days
        return since + timedelta(days=days) + LABEL_LAG if days else None


@contextmanager
def opened(
    settings: Settings, as_of: datetime | None, report: Report, *, locked: bool = True, reading: bool = False
) -> Iterator[Deployments]:
    """The reconciled deployments of production. `locked`: hold the lock against other deploying commands.
    `reading`: only read, so that an unreachable registry is just a warning.

    Raises UserError if another command holds the lock, UnreachableError if a store is down.
    """
    with (
        closing(open_database(settings.environments.production.database)) as database,
        lock(database, "deployment") if locked and not reading else nullcontext(),
    ):
        deployments = Deployments(settings, Tracking(settings), database, as_of, report)
        try:
            deployments.reconcile()
        except UserError as error:
            if not reading:
                raise
            report(f"warning: shown as stored, not compared with the registry: {error}")
        yield deployments


def deployed(database: Database, *states: State) -> list[Deployment]:
    """The deployments in one of these states (default: all), oldest first."""
    found = database.all(select(Deployment).order_by(Deployment.id))
    return [each for each in found if not states or each.state in states]


def history(database: Database, deployment: str | None = None) -> list[Transition]:
    """The transitions of a deployment (default: of all), oldest first."""
    found = database.all(select(Transition).order_by(Transition.id))
    return [each for each in found if deployment in (None, each.deployment)]


def _version(row: Deployment, versions: list[Version]) -> Version | None:
    """The registered version of a deployment; None if it was deleted."""
    return next((each for each in versions if row.is_of(each)), None)


def _create(
    session: Session, version: Version, who: str, at: datetime, skip_reason: str | None = None
) -> Deployment:
    row = Deployment(version.number, version.run_id, version.digest, who, at, at, skip_reason)
    session.add(row)
    session.flush()
    return row


def _set(session: Session, row: Deployment, values: dict[str, Any]) -> None:
    session.add(row)
    for name, value in values.items():
        setattr(row, name, value)


def _step(session: Session, row: Deployment, state: State, reason: str, at: datetime) -> None:
    if state not in NEXT.get(row.state, ()):
        raise UserError(f"version {row.version} is {row.state.value}, so it cannot be {state.value} now")
    session.add(row)
    transition = Transition(row.id, row.state, state, at, reason, applied=True)
    session.add(transition)
    session.flush()
    if state is not row.state:
        row.state, row.changed_at = state, at
    row.reason, row.moved = reason, transition.id


def _only(session: Session, state: State) -> Deployment | None:
    return session.scalars(select(Deployment).filter_by(state=state)).one_or_none()


def _wanted(live: Deployment | None, testing: Deployment | None) -> dict[str, int]:
    """The aliases implied by the states of these two deployments."""
    found = {} if live is None else {CHAMPION: live.version}
    if live is not None and live.is_watched and live.against is not None:
        found[PREVIOUS] = live.against
    return found if testing is None else found | {CHALLENGER: testing.version}
