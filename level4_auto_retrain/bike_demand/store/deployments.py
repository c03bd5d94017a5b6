"""The deployment lifecycle: states, the transitions between them, and the registry aliases that follow.

No other module changes a state or moves a production alias. A transition stores the new states together with
the intended alias changes, then moves the aliases, then marks itself as applied. `reconcile` completes an
interrupted transition and adopts any other change, because people must be able to move an alias by hand in an
emergency.

Transitions are idempotent: each names the deployment that it changes, and does nothing if it was made before.
So a step that was interrupted after its transition can be repeated.
"""

import sys
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
from bike_demand.store.queries import first_served_since, newest_known_rows, workers
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

OUT_OF_BAND = "out of band"  # `who` of a deployment that no command made
DATABASE_TAG = "database"  # of the registered model: the id of a deployment in the database it belongs to
UNDECIDED = (State.CREATED, State.VALIDATING, State.QUEUED)
FAILED = (State.FAILED_GATE, State.FAILED_TEST, State.ROLLED_BACK, State.SUPERSEDED, State.ERROR)
_OUTCOMES_OF_GATES = (State.TESTING, State.LIVE, State.SUPERSEDED, State.ERROR)
ALLOWED_TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.CREATED: (State.VALIDATING, *_OUTCOMES_OF_GATES),
    State.VALIDATING: (State.VALIDATING, State.QUEUED, State.FAILED_GATE, *_OUTCOMES_OF_GATES),
    State.QUEUED: (State.VALIDATING, State.SUPERSEDED, State.ERROR),
    State.TESTING: (State.LIVE, State.FAILED_TEST, State.SUPERSEDED, State.ERROR),
    State.LIVE: (State.LIVE, State.RETIRED, State.ROLLED_BACK, State.ERROR),
    State.RETIRED: (State.LIVE,),
}
LOCK_SECONDS = 30.0  # how long a transition waits for another one to move its aliases
ROLLOUT_SECONDS = 10.0
POLL_SECONDS = 0.1

Emit = Callable[[str], None]


class Deployments:
    """The deployments of production. `report` receives a line for each out-of-band change."""

    def __init__(
        self, settings: Settings, tracking: Tracking, database: Database, as_of: datetime | None, report: Emit
    ) -> None:
        self.settings, self.tracking, self.database, self.as_of = settings, tracking, database, as_of
        self.completed: list[Transition] = []  # the interrupted transitions that `reconcile` completed
        self.reading = False  # whether a command only shows them, and must not take a registry over
        self._report = report

    @property
    def now(self) -> datetime:
        """The reference time; without ingested data the machine's, because a rollback must always work."""
        try:
            return clock.now(self.settings, self.as_of)
        except UserError:
            return clock_time()

    @property
    def begin(self) -> datetime:
        """When a test or watch begins that is started now: not before the rows that have an outcome already,
        which may be newer than the ingested data. It would be decided on a part of its days.
        """
        if self.as_of is not None or self.settings.clock == "wall":
            return self.now
        return clock.advance(self.now, newest_known_rows(self.database, clock.MIN_ROWS))

    def all(self, *states: State) -> list[Deployment]:
        """The deployments in one of these states (default: all), oldest first."""
        return all_deployments(self.database, *states)

    def live(self) -> Deployment | None:
        """The deployment of the champion."""
        return next(iter(self.all(State.LIVE)), None)

    def testing(self) -> Deployment | None:
        """The deployment of the challenger."""
        return next(iter(self.all(State.TESTING)), None)

    def waiting(self) -> list[Deployment]:
        """The deployments that a step takes up, oldest first: queued, or interrupted in their gates.

        While the lock of deployments is held, no gates run. Interrupted ones of a person who skips the A/B
        test are begun anew by that person.
        """
        return [
            row
            for row in self.all(*UNDECIDED)
            if not self.is_outdated(row) and (row.state is State.QUEUED or row.skip_reason is None)
        ]

    def is_outdated(self, row: Deployment) -> bool:
        """Whether it is undecided, and a later deployment of a newer version went live, whatever became of
        that.
        """
        went_live = self.all(State.LIVE, State.RETIRED, State.ROLLED_BACK)
        return row.state in UNDECIDED and any(
            each.began_at > row.began_at and each.version > row.version for each in went_live
        )

    def find(self, version: Version) -> Deployment | None:
        """The version's live or testing deployment, else its latest; None if it has none."""
        mine = [each for each in self.all() if each.is_of(version)]
        active = [each for each in mine if each.state in (State.LIVE, State.TESTING)]
        return next(reversed(active or mine), None)

    def blocking_failure(self, version: Version) -> Deployment | None:
        """Why a version is refused: it was rolled back, or its model failed under another number."""
        failed = self.all(State.ROLLED_BACK, State.FAILED_TEST)
        same = (each for each in failed if each.digest == version.digest)
        return next(
            (each for each in same if each.state is State.ROLLED_BACK or not each.is_of(version)), None
        )

    def queue_reason(self) -> str | None:
        """What has to end before another test can start; None if nothing does.

        During the watch of a promotion, the previous version predicts too. A challenger would take its place,
        and a bad promotion could no longer be detected.
        """
        if (testing := self.testing()) is not None:
            return f"the test of version {testing.version} ends"
        live = self.live()
        return f"the watch of version {live.version} ends" if live is not None and live.is_watched else None

    def last_good(self, exclude: int | None = None) -> Deployment | None:
        """The most recent champion that can be restored: never rolled back, with a model that can be fetched,
        and not of version `exclude`.
        """
        bad = {each.run_id for each in self.all(State.ROLLED_BACK, State.LIVE)}
        for each in sorted(self.all(State.RETIRED), key=lambda row: row.moved or 0, reverse=True):
            if each.version != exclude and each.run_id not in bad and self._has_model(each):
                return each
        return None

    # ---- transitions

    def create(self, version: Version, who: str, skip_reason: str | None = None) -> Deployment:
        """Open a deployment. `skip_reason`: why a person skips the A/B test."""
        with self.database.writing() as session:
            return _insert(session, version, who, self.now, skip_reason)

    def save_evidence(self, row: Deployment, **evidence: Any) -> None:
        """Store evidence of a deployment: `gates`, `ab` or `watch`."""
        with self.database.writing() as session:
            _update(session, row, evidence)

    def transition(
        self, row: Deployment, state: State, reason: str, at: datetime | None = None, **evidence: Any
    ) -> None:
        """Change the state of a deployment, with the consequences for other deployments and the aliases.

        When a version goes live, another one's test ends, and the previous champion keeps predicting, unseen,
        so that the watch can compare the two. Does nothing if it is in that state already; only its gates can
        begin again. Raises UserError if the champion is no longer the one that the version was compared with.
        """
        at = at or (self.begin if state in (State.TESTING, State.LIVE) else self.now)
        with self._transition(row) as (session, live, testing):
            if row.state is state is not State.VALIDATING:
                return
            _update(session, row, evidence)
            champion = None if live is None else live.version
            if state is State.VALIDATING:
                row.against = champion
            elif state in (State.TESTING, State.LIVE) and champion not in (row.against, row.version):
                raise UserError(f"version {champion or 'none'} went live in the meantime; deploy again")
            if state is State.TESTING:
                row.test = self._ab_design(at)
            elif state is State.LIVE:
                if testing is not None and testing.id != row.id:
                    why = f"version {row.version} was released without an A/B test"
                    _add_transition(session, testing, State.SUPERSEDED, why, at)
                if live is not None:
                    _add_transition(session, live, State.RETIRED, f"version {row.version} went live", at)
                row.bake_until = None if live is None else self._bake_until(at)
            _add_transition(session, row, state, reason, at)

    def end_watch(self, row: Deployment, reason: str, at: datetime | None = None, **evidence: Any) -> None:
        """End the watch of the champion. Does nothing if it has ended."""
        with self._transition(row) as (session, _live, _testing):
            if row.is_watched:
                _update(session, row, {**evidence, "bake_until": None})
                _add_transition(session, row, State.LIVE, reason, at or self.now)

    def restore(
        self, good: Deployment, bad: Deployment | None, reason: str, at: datetime | None = None, **watch: Any
    ) -> None:
        """Make an earlier champion the champion again; a running test ends. Its watch begins anew if the loss
        of its alias ended it, otherwise there is none.

        It replaces `bad` (None: no version is live). Does nothing if `bad` is no longer live.
        """
        with self._transition(good) as (session, live, testing):
            if (live and live.id) != (bad and bad.id):
                return
            at, number = at or (self.begin if bad is None else self.now), good.version
            if live is not None:
                _update(session, live, {**watch, "bake_until": None, "against": number})
                if testing is not None:
                    why = f"version {live.version}, against which it was tested, was rolled back"
                    _add_transition(session, testing, State.SUPERSEDED, why, at)
                _add_transition(session, live, State.ROLLED_BACK, reason, at)
                reason = f"instead of version {live.version}: {reason}"
            was_watched = live is None and good.bake_until is not None
            _update(session, good, {"bake_until": self._bake_until(at) if was_watched else None})
            _add_transition(session, good, State.LIVE, reason, at)

    @contextmanager
    def _transition(self, row: Deployment) -> Iterator[tuple[Session, Deployment | None, Deployment | None]]:
        """A transaction with this deployment, the live and the testing one; then moves the aliases."""
        with lock(self.database, "transition", LOCK_SECONDS):
            self._reconcile()
            with self._record_intent() as session:
                session.add(row)
                session.refresh(row)
                yield session, _single(session, State.LIVE), _single(session, State.TESTING)
            self._apply_alias_changes()

    # ---- aliases

    def rollout(self) -> str:
        """Wait until all running workers of production serve what the aliases name. Returns one line.

        A worker counts as running if it reported within the last few seconds.
        """
        split = traffic_split(self.tracking, CHAMPION)
        versions = (split and split.shown.number, split and split.other and split.other.number)
        deadline, serving = time.monotonic() + ROLLOUT_SECONDS, self.settings.serving
        while True:
            seen = workers(self.database, 2 * max(serving.poll_seconds, serving.log.flush_seconds) + 1)
            running = [each for each in seen if each.environment == "production"]
            behind = [each for each in running if (each.version, each.other_version) != versions]
            plural = "s" if len(running) > 1 else ""
            progress = f"in {len(running) - len(behind)} of {len(running)} production worker{plural}"
            if not running:
                return "No production service is running; the change takes effect when one starts."
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
        aliases, versions, rows = self._read()
        if completed := self._apply_alias_changes():
            for each in completed:
                self._report(f"Completed the interrupted transition to {each.new.value}: {each.reason}.")
            self.completed += completed
            aliases, versions, rows = self._read()
        by_state = {row.state: row for row in rows}  # at most one is live, and one in its test
        champion, testing = aliases.get(CHAMPION), by_state.get(State.TESTING)
        # The test of a challenger whose champion was replaced out of band has to end.
        outdated = testing.version if testing is not None and testing.against != champion else None
        for alias, left_over in ((CHALLENGER, (champion, outdated)), (PREVIOUS, (champion,))):
            if alias in aliases and (champion is None or aliases[alias] in left_over):
                self.remove_alias(alias)
                del aliases[alias]
        for row in rows:
            if row.state in UNDECIDED and _registered_version(row, versions) is None:
                self._close_out_of_band(row, State.ERROR, self.now)
        adopted = self._adopt_alias(CHAMPION, by_state.get(State.LIVE), aliases, versions)
        if self._adopt_alias(CHALLENGER, by_state.get(State.TESTING), aliases, versions) or adopted:
            aliases, versions, rows = self._read()
        live, previous = {row.state: row for row in rows}.get(State.LIVE), aliases.get(PREVIOUS)
        if live is not None and previous != _implied_aliases(live, None).get(PREVIOUS):
            until = None if previous is None else self._bake_until(self.begin)
            if previous is not None and until is None:  # by the settings, no version is watched
                self.remove_alias(PREVIOUS)
            if live.is_watched or until is not None:
                watch = {"bake_until": until, "against": previous or live.against}
                with self.database.writing() as session:  # a watch was started or ended out of band
                    _update(session, live, watch)
                    reason = f"the alias {PREVIOUS} was moved out of band"
                    _add_transition(session, live, State.LIVE, reason, self.now)
        self._write_tags(rows, versions)

    def _read(self) -> tuple[dict[str, int], list[Version], list[Deployment]]:
        """Aliases, versions and deployments, read once for all checks, which rarely find a change.

        Raises UserError if registry and database do not belong together: by the registered model's tag or,
        before it has one, by a version that both know. Otherwise one wrong address would end all deployments.
        A command that only reads is not enough to write the tag, or to adopt a champion without it.
        """
        aliases, tags = self.tracking.registered_model()
        versions, rows = self.tracking.versions(), self.all()
        owner = tags.get(DATABASE_TAG)
        common = (row.id == owner if owner else _registered_version(row, versions) for row in rows)
        belongs = any(common) or not (rows or owner)
        if not belongs or (self.reading and not owner and (rows or CHAMPION in aliases)):
            change = f"set it to {rows[-1].id}" if rows else "delete it"
            how = f"tag {DATABASE_TAG} of the registered model {MODEL_NAME}: {change}"
            how = "python -m bike_demand ab step" if belongs else how
            raise UserError(
                f"{self.tracking.where} does not belong to {self.database.where}; correct tracking.uri or"
                f" environments.production.database (to join them: {how})"
            )
        if rows and not owner:
            with self.tracking.client() as client:
                client.set_registered_model_tag(MODEL_NAME, DATABASE_TAG, rows[0].id)
        return aliases, versions, rows

    def _adopt_alias(
        self, alias: str, row: Deployment | None, aliases: dict[str, int], versions: list[Version]
    ) -> bool:
        """Adopt an out-of-band change of an alias: its version counts as live since its first logged
        prediction; a champion is watched. Returns whether anything had changed.
        """
        number = aliases.get(alias)
        version = next((each for each in versions if each.number == number), None)
        if version is None and number is not None:
            version = self.tracking.version(number)
        if (row is None and version is None) or (row and version and row.is_of(version)):
            return False
        since = self.begin
        if alias == CHAMPION and number is not None:
            first = first_served_since(self.database, number, None if row is None else row.version) or since
            left = (each.at for each in history(self.database) if each.old is State.LIVE is not each.new)
            began = max(left, default=first) if row is None else row.changed_at
            since = min(since, max(first, began))
        if row is not None:
            self._close_out_of_band(row, State.RETIRED if alias == CHAMPION else State.SUPERSEDED, since)
        if version is None:
            change = f"the alias {alias} was removed" if alias == CHAMPION else "the A/B test was ended"
            self._report(f"warning: {change} out of band, or its version was deleted.")
            return True
        other = self.last_good(version.number) if alias == CHAMPION else self.live()
        # The adopted alias is where it should be. Only a new champion's watch moves another one.
        changing = self._record_intent(aliases) if alias == CHAMPION else self.database.writing(Deployment)
        with changing as session:
            new = _insert(session, version, OUT_OF_BAND, since)
            new.against = None if other is None else other.version
            new.bake_until, new.test = (
                (self._bake_until(since), None) if alias == CHAMPION else (None, self._ab_design(since))
            )
            state = State.LIVE if alias == CHAMPION else State.TESTING
            _add_transition(session, new, state, f"the alias {alias} was moved out of band", since)
        self._apply_alias_changes()
        against = "" if other is None else f"; it is compared with version {other.version}"
        self._report(f"warning: the alias {alias} was set to version {version.number} out of band{against}.")
        return True

    def _close_out_of_band(self, row: Deployment, state: State, at: datetime) -> None:
        reason = "its alias, or that of the champion, was moved out of band"
        if _registered_version(row, self.tracking.versions()) is None:
            state, reason = State.ERROR, "its version was deleted"
        with self.database.writing() as session:
            _add_transition(session, row, state, reason, at)

    @contextmanager
    def _record_intent(self, aliases: dict[str, int] | None = None) -> Iterator[Session]:
        """A transaction that stores, with its last transition, the alias changes that the new states imply.

        `aliases`: where they are now, when an out-of-band champion is adopted; only `previous` follows then.
        """
        with self.database.writing(Deployment) as session:
            before = aliases if aliases is not None else _implied_aliases(self.live(), self.testing())
            yield session
            session.flush()
            after = _implied_aliases(_single(session, State.LIVE), _single(session, State.TESTING))
            order = (
                (PREVIOUS, CHALLENGER, CHAMPION) if PREVIOUS in after else (CHALLENGER, CHAMPION, PREVIOUS)
            )
            moves = {
                each: [before.get(each), after.get(each)]
                for each in order
                if before.get(each) != after.get(each) and (each == PREVIOUS or aliases is None)
            }
            if moves:
                last = session.scalars(select(Transition).order_by(Transition.id.desc()).limit(1)).one()
                last.aliases, last.applied = moves, False

    def _apply_alias_changes(self) -> list[Transition]:
        """Move the aliases of unapplied transitions, unless they were moved since."""
        left = self.database.all(select(Transition).filter_by(applied=False).order_by(Transition.id))
        for transition in left:
            versions = self.tracking.versions()
            self._write_tags(self.all(), versions)
            registered = {each.number for each in versions}
            for alias, (old, new) in transition.aliases.items():
                if self.tracking.aliases().get(alias) != old:
                    continue  # moved before the transition was interrupted, or out of band
                if new is None:
                    self.remove_alias(alias)
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
            version = _registered_version(row, versions)
            if version is not None and not tags.items() <= version.tags.items():
                self.tracking.tag(version.number, tags)

    def remove_alias(self, alias: str) -> None:
        """Remove an alias that exists."""
        with self.tracking.client() as client:
            client.delete_registered_model_alias(MODEL_NAME, alias)

    # ---- parts

    def _has_model(self, row: Deployment) -> bool:
        try:
            with TemporaryDirectory() as scratch:
                self.tracking.fetch(row.run_id, HANDOFF_ARTIFACT, Path(scratch))
        except UserError:
            return False
        return _registered_version(row, self.tracking.versions()) is not None

    def _ab_design(self, began: datetime) -> dict[str, Any]:
        design = self.settings.ab.model_dump(include=set(ABTest.model_fields))
        return ABTest(began=began, **design).model_dump(mode="json")

    def _bake_until(self, since: datetime) -> datetime | None:
        days = self.settings.ab.watch_days
        return since + timedelta(days=days) + LABEL_LAG if days else None


@contextmanager
def open_deployments(
    settings: Settings,
    as_of: datetime | None,
    report: Emit,
    *,
    locked: bool = True,
    reading: bool = False,
    patience: float = 0.0,
) -> Iterator[Deployments]:
    """The reconciled deployments of production. `locked`: hold the lock against other deploying commands.
    `reading`: for commands that only show them: a registry that is unreachable, or joined with no database
    yet, is just a warning.

    Raises UserError if another command still holds the lock after `patience` seconds, UnreachableError if a
    store is down.
    """
    with (
        closing(open_database(settings.environments.production.database)) as database,
        lock(database, "deployment", patience) if locked else nullcontext(),
    ):
        deployments = Deployments(settings, Tracking(settings), database, as_of, report)
        deployments.reading = reading
        try:
            deployments.reconcile()
        except UserError as error:
            if not reading:
                raise
            report(f"warning: shown as stored, not compared with the registry: {error}")
        yield deployments


def note(line: str) -> None:
    """The `report` of commands whose result programs may parse: prints to standard error."""
    print(line, file=sys.stderr)


def all_deployments(database: Database, *states: State) -> list[Deployment]:
    """The deployments in one of these states (default: all), oldest first."""
    found = database.all(select(Deployment).order_by(Deployment.id))
    return [each for each in found if not states or each.state in states]


def history(database: Database, deployment: str | None = None) -> list[Transition]:
    """The transitions of a deployment (default: of all), oldest first."""
    found = database.all(select(Transition).order_by(Transition.id))
    return [each for each in found if deployment in (None, each.deployment)]


def _registered_version(row: Deployment, versions: list[Version]) -> Version | None:
    """The registered version of a deployment; None if it was deleted."""
    return next((each for each in versions if row.is_of(each)), None)


def _insert(
    session: Session, version: Version, who: str, at: datetime, skip_reason: str | None = None
) -> Deployment:
    row = Deployment(version.number, version.run_id, version.digest, who, at, at, skip_reason)
    session.add(row)
    session.flush()
    return row


def _update(session: Session, row: Deployment, values: dict[str, Any]) -> None:
    session.add(row)
    for name, value in values.items():
        setattr(row, name, value)


def _add_transition(session: Session, row: Deployment, state: State, reason: str, at: datetime) -> None:
    if state not in ALLOWED_TRANSITIONS.get(row.state, ()):
        raise UserError(f"version {row.version}: no transition from {row.state.value} to {state.value}")
    if state in (State.FAILED_GATE, State.TESTING, State.LIVE):
        same = select(Deployment).filter_by(version=row.version, run_id=row.run_id)
        for each in session.scalars(same.where(Deployment.state.in_(UNDECIDED), Deployment.id != row.id)):
            why = f"another deployment of version {row.version} is {state.value}"
            _add_transition(session, each, State.SUPERSEDED, why, at)
    session.add(row)
    transition = Transition(row.id, row.state, state, at, reason, applied=True)
    session.add(transition)
    session.flush()
    if state is not row.state:
        row.state, row.changed_at = state, at
    row.reason, row.moved = reason, transition.id


def _single(session: Session, state: State) -> Deployment | None:
    return session.scalars(select(Deployment).filter_by(state=state)).one_or_none()


def _implied_aliases(live: Deployment | None, testing: Deployment | None) -> dict[str, int]:
    """The aliases implied by the states of these two deployments."""
    found = {} if live is None else {CHAMPION: live.version}
    if live is not None and live.is_watched and live.against is not None:
        found[PREVIOUS] = live.against
    return found if testing is None else found | {CHALLENGER: testing.version}
