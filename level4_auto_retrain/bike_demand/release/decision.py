"""The decision on a deployment with its evidence: kept with the record, for programs and as one page."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict

from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.settings import REPORTS
from bike_demand.tracking import Tracking

JSON, PAGE = "decision.json", "decision.html"
TEMPLATE = Path(__file__).with_name("decision.html.j2")


class Verdict(BaseModel):
    """What a gate said, and when (UTC). `champion` is the version that it compared with, if it compares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: str
    title: str
    passed: bool
    says: str
    evidence: dict[str, Any]
    seconds: float
    at: datetime
    champion: int | None


class Decision(BaseModel):
    """All that is known of a deployment so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    run_id: str
    digest: str
    champion: int | None
    who: str
    reason: str | None  # of a person who leaves the A/B test out; None: an ordinary deployment
    at: datetime  # in the time of the feed
    began: datetime  # in UTC, as the machine's clock has it
    verdicts: tuple[Verdict, ...] = ()
    gates: tuple[tuple[str, str], ...]  # id and title of all that are to be passed
    state: str
    outcome: str = ""

    def with_verdict(self, verdict: Verdict) -> "Decision":
        """The decision with this one, in the place of an earlier one of the same gate."""
        others = tuple(each for each in self.verdicts if each.gate != verdict.gate)
        return self.model_copy(update={"verdicts": (*others, verdict)})

    def passed(self, gate: str) -> Verdict | None:
        """The verdict of a gate that was passed; None where it is still to be."""
        return next((each for each in self.verdicts if each.gate == gate and each.passed), None)


def plain(value: Any) -> Any:
    """Evidence as JSON can hold it: what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def now_utc() -> datetime:
    """The machine's clock, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def keep(tracking: Tracking, record: str, decision: Decision, *, page: bool = False) -> None:
    """Put the decision as it stands on the record, with the page where it is to be read now."""
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / JSON
        path.write_text(decision.model_dump_json(indent=1), encoding="utf-8", newline="\n")
        files = [path]
        if page:
            files.append(Path(scratch) / PAGE)
            files[-1].write_text(rendered(decision, record), encoding="utf-8", newline="\n")
            REPORTS.mkdir(parents=True, exist_ok=True)
            write_atomically(page_of(decision.version), files[-1].read_bytes())
        tags = {f"gate.{each.gate}": f"{_word(each)}: {each.says}"[:500] for each in decision.verdicts}
        tracking.write_record(record, tags=tags, artifacts=files)


def page_of(version: int) -> Path:
    """Where the page of a version's last deployment lies on this machine."""
    return REPORTS / f"version-{version}.html"


def kept(tracking: Tracking, record: str) -> Decision | None:
    """The decision on a record; None where it was cut off before there was any."""
    with TemporaryDirectory() as scratch:
        try:
            path = tracking.fetch(record, JSON, Path(scratch))
        except UserError:
            return None
        return Decision.model_validate_json(path.read_bytes())


def rendered(decision: Decision, record: str) -> str:
    """The page: HTML that needs nothing from anywhere else."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    verdicts = {each.gate: each for each in decision.verdicts}
    return template.render(decision=decision, record=record, verdicts=verdicts)


def _word(verdict: Verdict) -> str:
    return "passed" if verdict.passed else "refused"
