"""The interface of gates, and the gates that check the version itself: may it be deployed, is it intact?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bike_demand.core.current import PROBLEM
from bike_demand.core.settings import Settings
from bike_demand.data.model_inputs import ALL_FEATURES, feature_specs
from bike_demand.handoff import ALL_FILES, OUTPUT, FeatureSpec, OutputSpec, read_handoff, read_unchecked
from bike_demand.serving.onnx_model import GOLDEN_TOLERANCE, check_golden_rows, load_model
from bike_demand.store.tables import Deployment, State
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking, Version

RETRAIN = "train with newer data or other parameters"


@dataclass(frozen=True)
class GateResult:
    """Whether the version passes, a summary in one clause, and the numbers behind it."""

    passed: bool
    summary: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateContext:
    """The version to deploy, the champion, and the data to compare them on. `scratch` holds downloads."""

    settings: Settings
    tracking: Tracking
    version: Version
    champion: Version | None  # None if nothing is live
    rows: pd.DataFrame  # ingested rows for evaluation, ascending
    scratch: Path
    failed: Deployment | None = None  # an earlier failed deployment of the version or its model

    def handoff(self, run_id: str) -> Path:
        """The hand-off logged by a run, downloaded once. Raises UserError if it logged none."""
        folder = self.scratch / run_id / HANDOFF_ARTIFACT
        return folder if folder.exists() else self.tracking.fetch(run_id, HANDOFF_ARTIFACT, folder.parent)


@dataclass(frozen=True)
class Gate:
    """A condition of every deployment. `compares`: the result depends on the current champion."""

    id: str
    title: str
    judge: Callable[[GateContext], GateResult]
    compares: bool = False


def check_history(context: GateContext) -> GateResult:
    """Refuses a version that was rolled back, and one whose model is identical to that of a failed version.

    A version rejected in its A/B test may be tried again by its own number: that is a deliberate request.
    """
    failed = context.failed
    if failed is None:
        return GateResult(True, "never rolled back or rejected")
    became = "rolled back" if failed.state is State.ROLLED_BACK else "rejected"
    summary = f"same model as version {failed.version}, which was {became}: {failed.reason}; {RETRAIN}"
    if failed.version == context.version.number:
        summary = f"it was live and was {became}: {failed.reason}; {RETRAIN}"
    return GateResult(False, summary, {"version": failed.version, "became": became, "reason": failed.reason})


def check_files(context: GateContext) -> GateResult:
    """Compares the run's files with their checksums, and the model's digest with the registered one.

    Raises UserError that names the damaged file.
    """
    manifest = read_unchecked(context.handoff(context.version.run_id)).manifest
    evidence = {"registered": context.version.digest, "found": manifest.version, "files": sorted(ALL_FILES)}
    if manifest.version != context.version.digest:
        summary = f"digest {context.version.digest} is registered, but its run has {manifest.version}"
        return GateResult(False, summary, evidence)
    return GateResult(True, f"digest {manifest.version}", evidence)


def check_schema(context: GateContext) -> GateResult:
    """Compares types, units, ranges and nullability.

    A model with other units would load and predict, but wrongly. Raises UserError if the model needs a
    feature that the application lacks.
    """
    manifest = read_handoff(context.handoff(context.version.run_id)).manifest
    ours = {each["name"]: FeatureSpec.model_validate(each) for each in feature_specs(ALL_FEATURES)}
    pairs: list[tuple[FeatureSpec | OutputSpec, FeatureSpec | OutputSpec]] = [
        *((ours[each.name], each) for each in manifest.inputs),
        (OUTPUT, manifest.output),
    ]
    differences = [
        f"{service.name}: {name} is {getattr(model, name)!r} for the model, but {getattr(service, name)!r}"
        " for the service"
        for service, model in pairs
        for name in type(service).model_fields
        if getattr(service, name) != getattr(model, name)
    ]
    evidence = {"inputs": list(manifest.names), "output": OUTPUT.name, "differences": differences}
    if differences:
        return GateResult(False, differences[0], evidence)
    return GateResult(True, f"{len(manifest.inputs)} inputs and the output agree", evidence)


def check_golden(context: GateContext) -> GateResult:
    """Loads the model here and predicts its golden rows again, as any service does.

    Raises UserError if it cannot be loaded, or a prediction differs.
    """
    folder = context.handoff(context.version.run_id)
    handoff = read_handoff(folder)
    largest, rows = check_golden_rows(load_model(folder).predict, handoff, folder), len(handoff.golden)
    evidence = {"rows": rows, "largest_difference": largest, "tolerance": GOLDEN_TOLERANCE}
    summary = f"{rows} rows, largest difference {largest:.{PROBLEM.decimals + 1}f} {PROBLEM.unit}"
    return GateResult(True, summary, evidence)
