"""What answers at one moment: the live model and, while there is one, the other beside it."""

from dataclasses import dataclass
from typing import Literal

from bike_demand.serving.model import Model

Role = Literal["challenger", "shadow", "previous"]


@dataclass(frozen=True)
class Other:
    """A second model that answers each row too; shown for `share` of the hours: see `assignment`."""

    model: Model
    deployment: str
    role: Role
    share: float = 0.0
    salt: str = ""


@dataclass(frozen=True)
class Live:
    """Never changed: another one takes its place, so a request that took it meets one state only.

    `deployment` is the id of the deployment that put the model there; empty: it was put there by other means.
    """

    model: Model
    deployment: str = ""
    other: Other | None = None
