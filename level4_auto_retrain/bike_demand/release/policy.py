"""The promotion policy: which gates and which test a version needs to go live, and who may override the test.

It is data, `promotion_policy` in params.yaml; what decides reads it here, and keeps it with each decision.
"""

from typing import Any

from bike_demand.core.errors import UserError
from bike_demand.core.settings import ANYBODY, Settings
from bike_demand.release.gates import GATES, Gate


def required_gates(settings: Settings) -> tuple[Gate, ...]:
    """The gates that a version has to pass, in their order."""
    return tuple(gate for gate in GATES if gate.id in settings.promotion_policy.gates)


def require_override(settings: Settings, who: str) -> None:
    """Raises UserError where the policy does not let this account skip the test of a version."""
    named = settings.promotion_policy.override
    if ANYBODY not in named and who not in named:
        raise UserError(
            f"{who} may not skip the test: promotion_policy.override in params.yaml names"
            f" {', '.join(named) or 'nobody'}; with the test: `deploy`"
        )


def snapshot(settings: Settings) -> dict[str, Any]:
    """The policy as it is now, with the limits that its gates and its test go by: kept with each decision."""
    policy = settings.promotion_policy
    return {
        **policy.model_dump(mode="json"),
        "left_out": [gate.id for gate in GATES if gate.id not in policy.gates],
        "limits": settings.deploy.model_dump(mode="json", exclude={"automatic", "promote_to"}),
        "ab": settings.ab.model_dump(mode="json"),
    }
