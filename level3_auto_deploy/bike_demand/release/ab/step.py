"""The commands of the A/B test: `step`, to be run daily, `status` and `stop`.

A step evaluates the evidence, acts on the verdict and stores the reason. Repeating it changes nothing; an
interrupted step is completed by the next one.
"""

from collections.abc import Iterator
from datetime import datetime

from bike_demand.core.current import format_loss, loss_with_unit
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import DATA, Settings
from bike_demand.core.step_runner import StepRunner, call
from bike_demand.data.ingest import ingest
from bike_demand.data.month import iso
from bike_demand.data.source import Source
from bike_demand.release.ab.evidence import ComparisonKind, Evidence, collect, running_test, running_watch
from bike_demand.release.decision import decide, write_pages
from bike_demand.release.deploy import deploy, find
from bike_demand.release.promotion import promote_newest
from bike_demand.release.rollback import WATCH_ROLLBACK, roll_back
from bike_demand.store.deployments import UNDECIDED, Deployments, Emit, open_deployments
from bike_demand.store.retention import delete_old
from bike_demand.store.tables import Deployment, State
from bike_demand.store.traffic_split import AB_RATIO_TAG
from bike_demand.training.inputs import lock_data

UNIT_LABELS = {"time": "event times", "key": "keys"}
SAMPLE_RATIO_P_VALUE = 0.001  # a smaller p-value of the sample-ratio test is not chance


def ingest_feed(
    settings: Settings, as_of: datetime | None, report: Emit, run: StepRunner = call, patience: float = 0.0
) -> None:
    """Ingest, for the gates of a queued version, and because the end of the feed may be the reference time:
    tests and watches must not begin in the past. With `as_of`, does nothing.

    A failure is only reported, because a decision must not have to wait for the feed.
    """
    if as_of is not None:
        return
    try:
        with lock_data(patience):
            run("ingest", lambda: ingest(Source(settings.feed), DATA, settings.first_month))
    except (UserError, OSError) as error:
        report(f"warning: the reference time may be outdated, as nothing was ingested: {error}")


def step(
    settings: Settings, as_of: datetime | None, report: Emit, run: StepRunner = call, patience: float = 0.0
) -> None:
    """Evaluate the watch and the running test, start the next test, and delete old predictions.

    `report` receives a line for each result; `run` executes each step. Raises UserError if the store or the
    database is down, or a deployment is still running after `patience` seconds.
    """
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        report(line)

    with open_deployments(settings, as_of, note, patience=patience) as deployments:
        for line in changed_settings(deployments):
            note(line)
        for row in filter(deployments.is_outdated, deployments.all(*UNDECIDED)):
            reason = "a later deployment went live"
            if row.state is not State.QUEUED:
                reason = f"its gates were interrupted, and {reason}"
            deployments.transition(row, State.SUPERSEDED, reason)
            write_pages(deployments)
            note(f"Version {row.version} is not deployed: {reason}.")
        _evaluate_watch(deployments, note, run)
        _evaluate_test(deployments, note, run)
        newest = None if deployments.queue_reason() else _next_waiting(deployments, note)
        promote_newest(deployments, note, run)
        delete_old(deployments.database, settings, deployments.now)
    if newest is not None:
        _start(settings, newest, as_of, note, run)
    if not lines:
        report("No test or watch is running and no version is queued; nothing to do.")


def stop(
    settings: Settings, reason: str, as_of: datetime | None, report: Emit, wanted: str | None = None
) -> None:
    """End the running test without a verdict; with `wanted`, that version's test, wait for one, or watch.

    Raises UserError if there is nothing to stop.
    """
    with open_deployments(settings, as_of, report) as deployments:
        number = None if wanted is None else find(deployments.tracking, wanted).number
        waiting = [row for row in deployments.all(*UNDECIDED) if number in (None, row.version)]
        testing, live = deployments.testing(), deployments.live()
        if testing is not None and number in (None, testing.version):
            _stop_test(deployments, testing, reason, report)
        elif number is not None and waiting:
            for row in waiting:
                deployments.transition(row, State.SUPERSEDED, reason)
            write_pages(deployments)
            report(f"Version {number} is withdrawn and will not be tested.")
        elif live is not None and live.is_watched and live.version == number:
            deployments.end_watch(live, reason)
            write_pages(deployments)
            report(f"Version {number} is watched no longer; it stays live.")
        elif number is not None:
            raise UserError(f"version {number} is neither tested, queued nor watched; nothing was stopped")
        else:
            given = dict.fromkeys(row.version for row in waiting)
            given |= {live.version: None} if live is not None and live.is_watched else {}
            hint = f"; to end the wait or watch of a version, name it: {', '.join(map(str, given))}"
            raise UserError(f"no test is running, so there is nothing to stop{hint if given else ''}")


def _stop_test(deployments: Deployments, row: Deployment, reason: str, report: Emit) -> None:
    try:
        comparison = running_test(deployments)
        assert comparison is not None
        evidence = collect(deployments, comparison)
        evidence = evidence.model_copy(update={"verdict": "stop", "reason": reason})
        deployments.save_evidence(row, ab=evidence.model_dump(mode="json"))
    except UserError as error:  # whatever is broken, a person must be able to end the test
        report(f"No evidence is stored: {error}")
    rollout = decide(deployments, row, State.SUPERSEDED, reason)
    report(f"The test of version {row.version} is stopped; version {row.against} stays. {rollout}")


def _evaluate_watch(deployments: Deployments, report: Emit, run: StepRunner) -> None:
    """Evaluate the watch: roll the champion back or end the watch."""
    comparison, row = running_watch(deployments), deployments.live()
    if comparison is None or row is None:
        return
    evidence = run(f"watch version {comparison.version}", lambda: collect(deployments, comparison))
    watch = evidence.model_dump(mode="json")
    if evidence.verdict == "continue":
        report(f"Watching version {comparison.version} until {comparison.end:%Y-%m-%d}: {evidence.reason}.")
    elif evidence.verdict == "roll back":
        reason = f"{WATCH_ROLLBACK}: {evidence.reason}"
        report(run("roll back", lambda: roll_back(deployments, row, reason, at=evidence.now, watch=watch)))
    else:
        reason = f"was watched for {comparison.days} days: {evidence.reason}"
        deployments.end_watch(row, reason, evidence.now, watch=watch)
        write_pages(deployments)
        report(f"Version {comparison.version} {reason}.")


def _evaluate_test(deployments: Deployments, report: Emit, run: StepRunner) -> None:
    """Evaluate the running test and act on its verdict."""
    comparison, row = running_test(deployments), deployments.testing()
    if comparison is None or row is None:
        return
    evidence = run(f"A/B test of version {comparison.version}", lambda: collect(deployments, comparison))
    name, ab = f"Version {comparison.version}", evidence.model_dump(mode="json")
    if evidence.verdict == "continue":
        until = f"until {comparison.end:%Y-%m-%d}, or up to twice as long with too few outcomes"
        report(f"Testing {name.lower()} against version {comparison.against} {until}: {evidence.reason}.")
        return
    if evidence.days and (ratio := evidence.days[-1].ratio) is not None:
        # Next to the version's training error, for comparisons in MLflow.
        deployments.tracking.tag(comparison.version, {AB_RATIO_TAG: f"{ratio:.4f}"})
    state = State.LIVE if evidence.verdict == "promote" else State.FAILED_TEST
    reason, now = evidence.reason, evidence.now
    rollout = run(evidence.verdict, lambda: decide(deployments, row, state, reason, at=now, ab=ab))
    if state is State.LIVE:
        report(f"{name} won its A/B test and is live: {evidence.reason}. {rollout}")
    else:
        report(f"{name} is rejected: {evidence.reason}. Version {comparison.against} stays. {rollout}")


def _next_waiting(deployments: Deployments, report: Emit) -> int | None:
    """The newest version that is queued or was interrupted in its gates; supersedes the older ones."""
    waiting = deployments.waiting()
    for row in waiting[:-1]:
        newest = waiting[-1].version
        deployments.transition(row, State.SUPERSEDED, f"version {newest} is newer and is tested instead")
        write_pages(deployments)
        report(f"Version {row.version} is not tested: version {newest} is newer.")
    return waiting[-1].version if waiting else None


def _start(settings: Settings, number: int, as_of: datetime | None, report: Emit, run: StepRunner) -> None:
    """Start the test of a waiting version; gates that compared it with an earlier champion run again."""
    try:
        deploy(settings, str(number), as_of, report, run=run)
    except UnreachableError:
        raise
    except UserError as error:
        report(f"Version {number} was not deployed: {error}")


def status(settings: Settings, as_of: datetime | None, report: Emit) -> None:
    """Show the evidence so far without deciding anything. Raises UserError if the database is down."""
    with open_deployments(settings, as_of, report, locked=False, reading=True) as deployments:
        for line in changed_settings(deployments):
            report(line)
        comparisons = [each for each in (running_watch(deployments), running_test(deployments)) if each]
        if not any(each.kind is ComparisonKind.TEST for each in comparisons):
            row = deployments.live()
            live = "nothing is live" if row is None else f"version {row.version} is live, with no counterpart"
            report(f"No test is running: {'a promotion is watched' if comparisons else live}.")
        for comparison in comparisons:
            report(as_text(collect(deployments, comparison)))
        for row in deployments.all(*UNDECIDED):
            if deployments.is_outdated(row):
                ends = "the next step ends this deployment, because a later one went live"
                report(f"Version {row.version} is {row.state.value}; {ends}.")
            elif row.state is State.QUEUED:
                report(f"Version {row.version} has been queued since {iso(row.changed_at)}.")
            else:
                then = "the next step resumes them" if row.skip_reason is None else "release it again"
                report(f"The gates of version {row.version} began; if they were interrupted, {then}.")


def changed_settings(deployments: Deployments) -> Iterator[str]:
    """A line for each setting that was changed in params.yaml since the running test began."""
    row = deployments.testing()
    if row is None or row.test is None:
        return
    for name, began_with in row.test.items():
        now = getattr(deployments.settings.ab, name, began_with)
        if now != began_with:
            yield (
                f"warning: ab.{name} is {now} in params.yaml, but the running test of version {row.version}"
                f" keeps {began_with}; to use the new value, stop it"
                " (`python -m bike_demand ab stop`) and deploy again"
            )


def as_text(evidence: Evidence) -> str:
    """The evidence as text for a terminal."""
    comparison = evidence.comparison
    versions = f"Version {comparison.version}", f"version {comparison.against}"
    if comparison.kind is ComparisonKind.TEST:
        how = (
            "never shown (shadow)"
            if comparison.mode == "shadow"
            else f"shown for {comparison.share:.0%} of the {UNIT_LABELS[comparison.randomize_by]}"
        )
        first = f"{versions[0]} is tested against {versions[1]}, {how}"
    else:
        first = f"{versions[0]} is watched against {versions[1]}, the previous champion"
    lines = [
        f"{first}, since {comparison.began:%Y-%m-%d %H:%M}, planned for {comparison.days} days.",
        f"  rows   {evidence.rows} with an outcome, {evidence.waiting} without",
    ]
    if evidence.days:
        last = evidence.days[-1]
        high = "not bounded yet" if last.high is None else f"{last.high:.2f}"
        if evidence.sample_ratio is not None:
            observed = evidence.units_shown / evidence.units
            lines.append(
                f"  shown   for {observed:.0%} of {evidence.units} {UNIT_LABELS[comparison.randomize_by]},"
                f" planned {comparison.share:.0%} (sample-ratio test: p = {evidence.sample_ratio:.3f})"
            )
            if evidence.sample_ratio < SAMPLE_RATIO_P_VALUE:
                lines.append(
                    "  warning: sample-ratio mismatch: some rows are probably not logged; do not trust it"
                )
        lines += [
            f"  error   {loss_with_unit(last.error)}, {versions[1]} {format_loss(last.error_against)}",
            f"  ratio   {'-' if last.ratio is None else f'{last.ratio:.2f}'}, from {last.low:.2f} to {high}"
            f" ({1 - evidence.rule.alpha:.0%} one-sided confidence each, valid at any time)",
        ]
    return "\n".join([*lines, f"  verdict {evidence.verdict}: {evidence.reason}"])
