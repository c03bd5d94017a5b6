"""What a gate is given, and what it says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bike_demand.data.schema import Hour
from bike_demand.settings import Settings
from bike_demand.tracking import HANDOFF_ARTIFACT, Tracking, Version


@dataclass(frozen=True)
class Finding:
    """What a gate found: may the version pass, one sentence without a full stop, and the numbers."""

    passed: bool
    says: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A version that is to be deployed, beside the champion. What was fetched for it lies in `scratch`."""

    settings: Settings
    tracking: Tracking
    version: Version
    champion: Version | None  # None: nothing is live
    hours: Sequence[Hour]  # as gathered, without those in quarantine
    scratch: Path

    def handoff(self, run_id: str) -> Path:
        """The hand-off that a run kept, fetched once. Raises UserError where it kept none."""
        place = self.scratch / run_id / HANDOFF_ARTIFACT
        return place if place.exists() else self.fetch(run_id, HANDOFF_ARTIFACT)

    def fetch(self, run_id: str, artifact: str) -> Path:
        """A file or folder that a run kept. Raises UserError where it kept none of that name."""
        return self.tracking.fetch(run_id, artifact, self.scratch / run_id)


@dataclass(frozen=True)
class Gate:
    """A condition of every deployment. `compares`: with the champion, so a new one asks for a new look."""

    id: str
    title: str
    judge: Callable[[Case], Finding]
    compares: bool = False
