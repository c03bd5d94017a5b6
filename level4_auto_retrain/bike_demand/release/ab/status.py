"""Shows the test under way, or the promotion that is watched, in the terminal."""

from collections.abc import Callable, Iterator
from datetime import datetime

from bike_demand.core.current import rounded, shown
from bike_demand.core.settings import Settings
from bike_demand.data.month import iso
from bike_demand.release.ab.evidence import Evidence, TrialKind, gather, under_test, under_watch
from bike_demand.store.deployments import Deployments, opened
from bike_demand.store.tables import State

Report = Callable[[str], None]
UNITS = {"time": "event times", "key": "keys"}
MISMATCH = 0.001  # a p-value of the sample-ratio test below it is no chance


def status(settings: Settings, as_of: datetime | None, report: Report) -> None:
    """Show what is known by now; decide nothing. Raises UserError where the database is down."""
    with opened(settings, as_of, report, reading=True) as deployments:
        for line in differences(deployments):
            report(line)
        trials = [each for each in (under_watch(deployments), under_test(deployments)) if each]
        if not any(each.kind is TrialKind.TEST for each in trials):
            row = deployments.live()
            live = "nothing is live" if row is None else f"version {row.version} is live alone"
            report(f"No test is under way: {'a promotion is watched' if trials else live}.")
        for trial in trials:
            report(as_text(gather(deployments, trial)))
        for row in deployments.all(State.QUEUED):
            report(f"Version {row.version} waits for its test since {iso(row.changed_at)}.")


def differences(deployments: Deployments) -> Iterator[str]:
    """A line for each setting of the running test that params.yaml has changed since it began."""
    row = deployments.testing()
    if row is None or row.test is None:
        return
    for name, began_with in row.test.items():
        now = getattr(deployments.settings.ab, name, began_with)
        if now != began_with:
            yield (
                f"warning: ab.{name} is {now} in params.yaml, but the test of version {row.version} goes on"
                f" with {began_with}; to begin one with the new value, stop it"
                " (`python -m bike_demand ab stop`) and deploy again"
            )


def as_text(evidence: Evidence) -> str:
    """The numbers, for a person at a terminal."""
    trial = evidence.trial
    if trial.kind is TrialKind.TEST:
        how = (
            "never shown (shadow)"
            if trial.mode == "shadow"
            else f"shown for {trial.share:.0%} of the {UNITS[trial.randomize_by]}"
        )
        first = f"Version {trial.version} is tested against version {trial.against}, {how}"
    else:
        first = f"Version {trial.version} is watched against version {trial.against}, the champion before"
    lines = [
        f"{first}, since {trial.began:%Y-%m-%d %H:%M} for {trial.days} days at most.",
        f"  rows   {evidence.rows} with an outcome, {evidence.waiting} wait for theirs",
    ]
    if evidence.days:
        last = evidence.days[-1]
        high = "not bounded yet" if last.high is None else f"{last.high:.2f}"
        if evidence.sample_ratio is not None:
            observed = evidence.units_shown / evidence.units
            lines.append(
                f"  shown   for {observed:.0%} of {evidence.units} {UNITS[trial.randomize_by]}, planned are"
                f" {trial.share:.0%} (sample-ratio test: p = {evidence.sample_ratio:.3f})"
            )
            if evidence.sample_ratio < MISMATCH:
                lines.append(
                    "  warning: that is no chance; find out which rows are lost before you trust the test"
                )
        lines += [
            f"  error   {shown(last.error)}, version {trial.against} {rounded(last.error_against)}",
            f"  ratio   {'-' if last.ratio is None else f'{last.ratio:.2f}'}, from {last.low:.2f} to {high}"
            f" (each bound holds in {1 - evidence.rule.alpha:.0%} of tests, however often one looks)",
        ]
    return "\n".join([*lines, f"  now     {evidence.verdict}: {evidence.reason}"])
