"""One step of the A/B test: evaluates the evidence, applies the decision, and stores why. To be run daily.

A repeated step changes nothing, and an interrupted one is completed by the next.
"""

from collections.abc import Callable
from datetime import datetime

from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import Settings
from bike_demand.release.ab.evidence import Evidence, gather, under_test, under_watch
from bike_demand.release.ab.status import differences
from bike_demand.release.decision import write_page
from bike_demand.release.deploy import deploy
from bike_demand.release.promotion import promote_newest
from bike_demand.release.rollback import GUARD, roll_back
from bike_demand.store.deployments import Deployments, opened
from bike_demand.store.retention import delete_old
from bike_demand.store.tables import State
from bike_demand.store.traffic_split import AB_RATIO_TAG

Report = Callable[[str], None]


def step(settings: Settings, as_of: datetime | None, report: Report) -> None:
    """Watch what was promoted, decide on the test under way, begin the next one; `report` gets a line each.
    Old predictions are deleted.

    Raises UserError where the store or the database is down, or a deployment is at work.
    """
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        report(line)

    with opened(settings, as_of, note) as deployments:
        for line in differences(deployments):
            note(line)
        watched = _watch(deployments, note)
        busy = _test(deployments, note) or watched
        newest = None if busy else _newest_queued(deployments, note)
        promote_newest(deployments, note)
        delete_old(deployments.database, settings, deployments.now)
    if newest is not None:
        _begin(settings, newest, as_of, note)
    if not lines:
        report("No test is under way, nothing is watched and nothing waits; nothing was changed.")


def stop(settings: Settings, reason: str, as_of: datetime | None, report: Report) -> None:
    """End the test under way, for a person's reason. Raises UserError where there is none."""
    reason = f"stopped by a person: {reason}"
    with opened(settings, as_of, report) as deployments:
        row = deployments.testing()
        if row is None:
            raise UserError("no test is under way, so there is none to stop")
        try:
            trial = under_test(deployments)
            assert trial is not None
            evidence = gather(deployments, trial)
            evidence = evidence.model_copy(update={"verdict": "stop", "reason": reason})
            deployments.store(row, ab=evidence.model_dump(mode="json"))
        except UserError as error:  # whatever is broken, a person can end it
            report(f"No evidence is stored: {error}")
        deployments.move(row, State.SUPERSEDED, reason)
        write_page(deployments.database, row)
        report(
            f"The test of version {row.version} is stopped; version {row.against} stays."
            f" {deployments.rollout()}"
        )


def _watch(deployments: Deployments, report: Report) -> bool:
    """Roll the champion back where it turned out worse, or end its watch; whether that goes on."""
    trial, row = under_watch(deployments), deployments.live()
    if trial is None or row is None:
        return False
    evidence = gather(deployments, trial)
    watch = evidence.model_dump(mode="json")
    if evidence.verdict == "keep on":
        report(f"Version {trial.version} is watched until {_end(evidence)}: {evidence.reason}.")
        return True
    if evidence.verdict == "roll back":
        report(roll_back(deployments, f"{GUARD}: {evidence.reason}", evidence.now, watch=watch))
    else:
        reason = f"was watched for {trial.days} days: {evidence.reason}"
        deployments.move(row, State.LIVE, reason, evidence.now, watch=watch)
        write_page(deployments.database, row)
        report(f"Version {trial.version} {reason}.")
    return False


def _test(deployments: Deployments, report: Report) -> bool:
    """Decide on the test under way; whether it goes on, or a promotion is to be watched now."""
    trial, row = under_test(deployments), deployments.testing()
    if trial is None or row is None:
        return False
    evidence = gather(deployments, trial)
    name, ab = f"Version {trial.version}", evidence.model_dump(mode="json")
    if evidence.verdict == "keep on":
        until = f"until {_end(evidence)} at most"
        report(f"{name} is tested against version {trial.against} {until}: {evidence.reason}.")
        return True
    if evidence.days and (ratio := evidence.days[-1].ratio) is not None:
        # Next to its error in training, for whoever compares versions in MLflow.
        deployments.tracking.tag(trial.version, {AB_RATIO_TAG: f"{ratio:.4f}"})
    state = State.LIVE if evidence.verdict == "promote" else State.FAILED_TEST
    deployments.move(row, state, evidence.reason, evidence.now, ab=ab)
    write_page(deployments.database, row)
    rollout = deployments.rollout()
    if state is State.LIVE:
        report(f"{name} is promoted, {evidence.reason}. {rollout}")
    else:
        report(f"{name} is rejected, {evidence.reason}. Version {trial.against} stays. {rollout}")
    return row.is_watched


def _newest_queued(deployments: Deployments, report: Report) -> int | None:
    """The newest version that waits for its test; those before it are out of date."""
    queued = deployments.all(State.QUEUED)
    for row in queued[:-1]:
        newest = queued[-1].version
        deployments.move(row, State.SUPERSEDED, f"version {newest} is newer and is tested instead")
        report(f"Version {row.version} is not tested: version {newest} is newer.")
    return queued[-1].version if queued else None


def _begin(settings: Settings, number: int, as_of: datetime | None, report: Report) -> None:
    """Begin the test of a queued version: gates that compared it with an earlier champion run again."""
    try:
        deploy(settings, str(number), as_of, report)
    except UnreachableError:
        raise
    except UserError as error:
        report(f"Version {number} waited for its test, but: {error}")


def _end(evidence: Evidence) -> str:
    return f"{evidence.trial.end:%Y-%m-%d}"
