"""Follows one answer back to what made it: deployment, A/B arm, version, run, code, environment and data."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict

from bike_demand.data.schema import LIMITS
from bike_demand.data.store import read_hours
from bike_demand.data.table import iso
from bike_demand.data.target import UNIT, rounded
from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.prediction_log.database import database_exists, open_database
from bike_demand.prediction_log.queries import Logged, find, outcome
from bike_demand.release.decision import kept
from bike_demand.settings import DATA, STATE, Settings
from bike_demand.tracking import AB_TAG, KIND_TAG, Run, Tracking
from bike_demand.training import pipeline
from bike_demand.training.record import COMMIT, PYTHON, UNCOMMITTED

TRACED = STATE / "traced"
TEMPLATE = Path(__file__).with_name("trace.html.j2")
PACKAGES = Path("requirements.lock")
CONFIG = Path(".dvc", "config")
UNKNOWN = "not on record"

Tell = Callable[[str], None]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(_Part):
    """What was answered, to whom, and what came true. `made_at` in UTC, `hour` local."""

    id: str
    made_at: datetime
    client: str
    hour: datetime
    conditions: dict[str, float | int | None]
    prediction: float
    outcome: int | None


class Arm(_Part):
    """Whose answer was shown, and who answered beside it, unseen."""

    variant: str
    other_version: int | None
    other_role: str | None
    other_prediction: float | None
    share: float | None  # of the hours that were drawn for the challenger, and by which salt
    salt: str | None


class GateSaid(_Part):
    """What one gate said of the version."""

    gate: str
    passed: bool
    says: str


class Deployment(_Part):
    """Who put the version there, when and why. None of it is known where it was put there by other means."""

    id: str
    kind: str
    who: str
    at: str
    state: str
    outcome: str
    reason: str | None
    gates: tuple[GateSaid, ...]
    test: str | None  # what the A/B test came to


class Model(_Part):
    """The version, the run that it came from, and its parameters."""

    version: int
    digest: str
    run: str
    run_name: str
    parameters: dict[str, str]
    metrics: dict[str, float]


class Code(_Part):
    """The code that trained it and the packages that it used."""

    commit: str
    uncommitted: bool
    python: str
    packages: str  # SHA-256 of requirements.lock


class Data(_Part):
    """The rows that it learned from. `version` is DVC's digest; `folder`: where they were restored."""

    version: str
    rows: int
    first: str
    last: str
    folder: str | None = None


class Trace(_Part):
    """The whole way back."""

    answer: Answer
    arm: Arm
    deployment: Deployment | None
    model: Model
    code: Code
    data: Data | None


def command(
    settings: Settings, prediction_id: str, *, rows: bool, as_json: bool, page: Path | None, tell: Tell
) -> None:
    """The `trace` command. Raises UserError where the answer is unknown, or its rows cannot be restored."""
    tracking = Tracking(settings)
    found = trace(settings, tracking, prediction_id)
    if rows:
        if found.data is None:
            raise UserError(f"run {found.model.run}: which rows it learned from is {UNKNOWN}")
        folder = restore(tracking, found.model.run, found.data)
        found = found.model_copy(update={"data": found.data.model_copy(update={"folder": str(folder)})})
    if page is not None:
        write_atomically(page, rendered(found).encode())
    if as_json:
        tell(found.model_dump_json(indent=1))
        return
    for line in described(found):
        tell(line)
    if page is not None:
        tell(f"Page: {page}")


def trace(settings: Settings, tracking: Tracking, prediction_id: str) -> Trace:
    """Follow the answer of that id back through the log of production and the store of runs and models."""
    logged, count = _logged(settings, prediction_id)
    version = tracking.version(logged.version)
    run = tracking.run(version.run_id)
    return Trace(
        answer=Answer(
            id=logged.id,
            made_at=logged.made_at,
            client=logged.client,
            hour=logged.hour,
            conditions={name: getattr(logged, name) for name in LIMITS},
            prediction=logged.prediction,
            outcome=count,
        ),
        arm=_arm(tracking, logged),
        deployment=_deployment(tracking, logged.deployment),
        model=Model(
            version=version.number,
            digest=version.digest,
            run=run.id,
            run_name=run.name,
            parameters=dict(run.params),
            metrics=dict(run.metrics),
        ),
        code=_code(tracking, run),
        data=_data(run),
    )


def restore(tracking: Tracking, run_id: str, data: Data) -> Path:
    """Put the rows that a run learned from, those and no others, below state/traced; the folder.

    They come from DVC's cache or remote storage, by the run's own dvc.lock, and are checked against its
    record. Raises UserError where they are gone, or are not what the record says.
    """
    TRACED.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=TRACED, prefix=".") as name:
        lock = tracking.fetch(run_id, pipeline.LOCK.name, Path(name))
        if pipeline.data_digest(lock) != data.version:
            raise UserError(f"run {run_id}: its {pipeline.LOCK} names other data than its record")
        # A project for DVC in which there is nothing but these data.
        scratch = Path(name) / "project"
        (scratch / ".dvc").mkdir(parents=True)
        shutil.copy(CONFIG, scratch / CONFIG)
        stage = {"cmd": "none", "outs": [DATA.as_posix()]}
        (scratch / "dvc.yaml").write_text(json.dumps({"stages": {"ingest": stage}}), encoding="utf-8")
        shutil.move(lock, scratch / pipeline.LOCK)
        pipeline.restore(scratch)
        hours = read_hours(scratch / DATA)
        restored = (len(hours), iso(hours[0].timestamp), iso(hours[-1].timestamp))
        if restored != (data.rows, data.first, data.last):
            raise UserError(
                f"run {run_id}: {restored[0]} rows from {restored[1]} to {restored[2]} were restored, but it"
                f" learned from {data.rows} from {data.first} to {data.last}"
            )
        folder = TRACED / run_id
        shutil.rmtree(folder, ignore_errors=True)
        (scratch / DATA).rename(folder)
    return folder


def described(found: Trace) -> Iterator[str]:
    """The trace as lines for a person."""
    for title, facts in sections(found):
        yield title
        width = max(map(len, facts), default=0)
        for key, value in facts.items():
            yield f"  {key:<{width}}  {value}"


def sections(found: Trace) -> list[tuple[str, dict[str, str]]]:
    """The trace as titles, each with facts."""
    answer, arm, model, code, data = found.answer, found.arm, found.model, found.code, found.data
    came = "not known yet" if answer.outcome is None else f"{answer.outcome} bikes"
    shown = {"shown": f"the {arm.variant}"}
    if arm.other_version is not None:
        beside = f"version {arm.other_version} as {arm.other_role}"
        if arm.other_prediction is not None:
            beside += f", {rounded(arm.other_prediction)} {UNIT}"
        shown["beside it, unseen"] = beside
    if arm.share is not None:
        shown["drawn"] = f"by hash of the hour: {arm.share:.0%} of the hours, salt {arm.salt}"
    return [
        (
            "Answer",
            {
                "id": answer.id,
                "hour": iso(answer.hour),
                "predicted": f"{rounded(answer.prediction)} {UNIT}",
                "came true": came,
                "asked by": f"{answer.client} at {iso(answer.made_at)[:19]} UTC",
                "conditions": ", ".join(f"{key} {_said(value)}" for key, value in answer.conditions.items()),
            },
        ),
        ("A/B arm", shown),
        ("Deployment", _deployment_facts(found.deployment)),
        (
            "Model",
            {
                "version": str(model.version),
                "digest": model.digest,
                "run": f"{model.run} ({model.run_name})",
                "parameters": ", ".join(f"{key} {value}" for key, value in sorted(model.parameters.items())),
                "metrics": ", ".join(f"{key} {value:.1f}" for key, value in sorted(model.metrics.items())),
            },
        ),
        (
            "Code and environment",
            {
                "commit": code.commit + (", with changes that the run keeps" if code.uncommitted else ""),
                "python": code.python,
                "packages": code.packages,
            },
        ),
        (
            "Data",
            {"version": UNKNOWN}
            if data is None
            else {"version": data.version, "rows": f"{data.rows}, {data.first} to {data.last}"}
            | ({} if data.folder is None else {"restored": f"{data.folder}, exactly these rows"}),
        ),
    ]


def rendered(found: Trace) -> str:
    """The page: HTML that needs nothing from anywhere else."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(trace=found, sections=sections(found), rounded=rounded, unit=UNIT)


def _logged(settings: Settings, prediction_id: str) -> tuple[Logged, int | None]:
    address = settings.environments.production.database
    if not database_exists(address):
        raise UserError(f"prediction {prediction_id}: no answer was logged yet in {address}")
    with closing(open_database(address)) as database:
        logged = find(database, prediction_id)
        if logged is None:
            raise UserError(
                f"prediction {prediction_id}: not in the log; give the `id` of an answer of production"
            )
        return logged, outcome(database, logged.hour)


def _arm(tracking: Tracking, logged: Logged) -> Arm:
    share, salt = None, None
    if logged.other_role in ("challenger", "champion") and logged.other_version is not None:
        challenger = logged.version if logged.variant == "challenger" else logged.other_version
        test = json.loads(tracking.version(challenger).tags.get(AB_TAG, "{}"))
        share, salt = test.get("share"), test.get("salt")
    return Arm(
        variant=logged.variant,
        other_version=logged.other_version,
        other_role=logged.other_role,
        other_prediction=logged.other_prediction,
        share=share,
        salt=salt,
    )


def _deployment(tracking: Tracking, record: str) -> Deployment | None:
    if not record:
        return None
    tags = tracking.run(record).tags
    decision = kept(tracking, record)
    test = " ".join(
        f"{title}: {tags[f'{what}.verdict']}, {tags[f'{what}.reason']}."
        for what, title in (("ab", "Test"), ("watch", "Watch"))
        if f"{what}.verdict" in tags
    )
    verdicts = () if decision is None else decision.verdicts
    return Deployment(
        id=record,
        kind=tags.get(KIND_TAG, UNKNOWN),
        who=tags.get("who", UNKNOWN),
        at=tags.get("at", UNKNOWN),
        state=tags.get("state", UNKNOWN),
        outcome="" if decision is None else decision.outcome,
        reason=tags.get("reason"),
        gates=tuple(GateSaid(gate=each.gate, passed=each.passed, says=each.says) for each in verdicts),
        test=test or None,
    )


def _deployment_facts(deployment: Deployment | None) -> dict[str, str]:
    if deployment is None:
        return {"id": f"{UNKNOWN}: it was put live by other means"}
    facts = {
        "id": deployment.id,
        "kind": deployment.kind,
        "by": f"{deployment.who} at {deployment.at} of the feed",
        "state": deployment.state,
    }
    if deployment.reason:
        facts["reason"] = deployment.reason
    if deployment.outcome:
        facts["outcome"] = deployment.outcome
    if deployment.test:
        facts["test"] = deployment.test
    for each in deployment.gates:
        facts[f"gate {each.gate}"] = f"{'passed' if each.passed else 'refused'}: {each.says}"
    return facts


def _code(tracking: Tracking, run: Run) -> Code:
    with TemporaryDirectory() as scratch:
        try:
            lock = tracking.fetch(run.id, PACKAGES.name, Path(scratch)).read_bytes()
            packages = f"{PACKAGES.name} sha256 {hashlib.sha256(lock).hexdigest()}"
        except UserError:
            packages = UNKNOWN
    return Code(
        commit=run.tags.get(COMMIT, UNKNOWN),
        uncommitted=run.tags.get(UNCOMMITTED) == "true",
        python=run.tags.get(PYTHON, UNKNOWN),
        packages=packages,
    )


def _data(run: Run) -> Data | None:
    if run.dataset is None:
        return None
    return Data(
        version=run.dataset.digest, rows=run.dataset.rows, first=run.dataset.first, last=run.dataset.last
    )


def _said(value: Any) -> str:
    return "missing" if value is None else f"{value:g}"
