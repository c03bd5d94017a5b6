"""Promotes a version to the registry of the next environment, which is another MLflow store.

`MlflowClient.copy_model_version` works within one store only. Between two, the version's runs are logged
again with all artifacts, so that gates, traces and reproduction do not depend on the original store.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bike_demand.core.errors import UserError
from bike_demand.core.step_runner import StepRunner, call
from bike_demand.store.deployments import FAILED, Deployments
from bike_demand.store.tables import Deployment, State
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Logged, Tracking, Version
from bike_demand.store.traffic_split import AB_RATIO_TAG, AB_TAG, DEPLOYMENT_TAG

# Tags of a promoted version: its origin, also after further promotions. The run identifies it, whatever the
# registry is called.
SOURCE_REGISTRY, SOURCE_VERSION, SOURCE_RUN = "source.registry", "source.version", "source.run_id"
NOT_COPIED = (DEPLOYMENT_TAG, AB_TAG, AB_RATIO_TAG)  # these describe deployments in one environment only


def promote(deployments: Deployments, version: Version, address: str) -> str | None:
    """Copy a version to the registry at an address. Returns one line, or None if it is there already.

    Incomplete copies are ignored. Raises UserError if the version has not passed its gates, or the registry
    is down.
    """
    if refusal := _refusal(deployments.find(version)):
        raise UserError(f"version {version.number} is not promoted: {refusal}")
    source = deployments.tracking
    target = Tracking(deployments.settings, address, "deploy.promote_to (or --to)")
    here = {SOURCE_REGISTRY: source.where, SOURCE_VERSION: str(version.number), SOURCE_RUN: version.run_id}
    tags = here | {key: value for key, value in version.tags.items() if key not in NOT_COPIED}
    for each in target.versions():
        if each.run_id == version.run_id:
            raise UserError(f"{target.where}: source and target registry are the same; give another")
        if tags[SOURCE_RUN] in (each.run_id, each.tags.get(SOURCE_RUN)):
            return None
    holdout = None
    if version.holdout_run_id is not None:
        holdout = _copy(source, target, version.holdout_run_id).run_id
    kept = {"holdout_run_id": holdout, "version_tags": tags, "description": version.description}
    made = _copy(source, target, version.run_id, **kept)
    return f"Version {version.number} is promoted: it is version {made.version} of {target.where}."


def promote_newest(deployments: Deployments, report: Callable[[str], None], run: StepRunner = call) -> None:
    """Promote the newest version that passed its gates, if the settings name a target registry.

    A failure is only reported; the next step tries again.
    """
    address = deployments.settings.deploy.promote_to
    waiting = [
        each for each in deployments.all(State.QUEUED, State.TESTING, State.LIVE) if not _refusal(each)
    ]
    if not address or not waiting:
        return
    try:
        newest = deployments.tracking.version(waiting[-1].version)
        if line := run("promote to the next registry", lambda: promote(deployments, newest, address)):
            report(line)
    except UserError as error:
        report(f"warning: version {waiting[-1].version} is not promoted yet: {error}")


def _refusal(row: Deployment | None) -> str | None:
    """Why a deployment's version may not be promoted; None if it may."""
    if row is None or not row.gates:
        return "its gates have not run"
    if row.state in FAILED:
        return f"{row.state.value.replace('_', ' ')}, {row.reason}"
    return None if all(each["passed"] for each in row.gates) else "its gates have not passed yet"


def _copy(source: Tracking, target: Tracking, run_id: str, **registered: Any) -> Logged:
    """Log a run of one store in another, with all its artifacts."""
    run = source.run(run_id)
    if run.dataset is None:
        raise UserError(f"run {run_id}: its training data are not recorded; promote another version")
    with TemporaryDirectory() as scratch:
        kept = source.fetch(run_id, "", Path(scratch))
        return target.log_run(
            run.name,
            params=run.params,
            metrics=run.metrics,
            dataset=run.dataset,
            tags=run.tags,
            artifacts=sorted(path for path in kept.iterdir() if path.name != HANDOFF_ARTIFACT),
            model=kept / HANDOFF_ARTIFACT,
            **registered,
        )
