"""The decision on a deployment with its evidence: stored with the record, as JSON and as one page."""

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict

from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import REPORTS
from bike_demand.pages import render
from bike_demand.store.tracking import Tracking

JSON, PAGE = "decision.json", "decision.html"
TEMPLATE = Path(__file__).with_name("decision.html.j2")


class GateVerdict(BaseModel):
    """The result of a gate, and when (UTC). `champion`: the version that it compared with, if any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: str
    title: str
    passed: bool
    says: str
    evidence: dict[str, Any]
    seconds: float
    at: datetime
    champion: int | None


class DeploymentDecision(BaseModel):
    """The deployment of a version as far as it came."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    run_id: str
    digest: str
    champion: int | None
    who: str
    reason: str | None  # of a person who skips the A/B test; None: an ordinary deployment
    at: datetime  # story time
    began: datetime  # UTC, wall clock
    verdicts: tuple[GateVerdict, ...] = ()
    gates: tuple[tuple[str, str], ...]  # id and title of all gates to pass
    state: str
    outcome: str = ""

    def with_verdict(self, verdict: GateVerdict) -> "DeploymentDecision":
        """The decision with this verdict in the place of an earlier one of the same gate."""
        verdicts = tuple(each for each in self.verdicts if each.gate != verdict.gate)
        return self.model_copy(update={"verdicts": (*verdicts, verdict)})

    def passed(self, gate: str) -> GateVerdict | None:
        """The verdict of a gate that was passed; None where it was not."""
        return next((each for each in self.verdicts if each.gate == gate and each.passed), None)


def store(tracking: Tracking, record: str, decision: DeploymentDecision, *, page: bool = False) -> None:
    """Put the decision as it stands on the record, with its page if `page`."""
    texts = {JSON: decision.model_dump_json(indent=1)}
    if page:
        verdicts = {each.gate: each for each in decision.verdicts}
        texts[PAGE] = render(TEMPLATE, decision=decision, record=record, verdicts=verdicts)
        write_atomically(page_of(decision.version), texts[PAGE].encode())
    tags = {
        f"gate.{each.gate}": f"{'passed' if each.passed else 'refused'}: {each.says}"[:500]
        for each in decision.verdicts
    }
    tracking.write_record(record, tags=tags, texts=texts)


def page_of(version: int) -> Path:
    """Where the page of a version's last deployment lies on this machine."""
    return REPORTS / f"version-{version}.html"


def stored(tracking: Tracking, record: str) -> DeploymentDecision | None:
    """The decision on a record; None where the deployment was interrupted before there was any."""
    with TemporaryDirectory() as scratch:
        try:
            path = tracking.fetch(record, JSON, Path(scratch))
        except UserError:
            return None
        return DeploymentDecision.model_validate_json(path.read_bytes())
