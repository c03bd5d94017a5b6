"""The promotion policy: the gates and the test that a version needs to go live, and who may skip the test.

The policy is data (`promotion_policy` in params.yaml); a snapshot is stored with each decision.
"""

from typing import Any

from bike_demand.core.errors import UserError
from bike_demand.core.settings import ANYBODY, Settings
from bike_demand.release.gates import GATES, Gate


def required_gates(settings: Settings) -> tuple[Gate, ...]:
    """The required gates, in the order of GATES; the order in params.yaml does not matter."""
    return tuple(gate for gate in GATES if gate.id in settings.promotion_policy.gates)


def require_may_skip_test(settings: Settings, who: str) -> None:
    """Raises UserError if the policy does not let this account skip the test of a version."""
    named = settings.promotion_policy.may_skip_test
    if ANYBODY not in named and who not in named:
        raise UserError(
            f"{who} may not skip the test: promotion_policy.may_skip_test in params.yaml names"
            f" {', '.join(named) or 'nobody'}; to deploy with the test, use `deploy`"
        )


def snapshot(settings: Settings) -> dict[str, Any]:
    """The current policy with the limits of its gates and its test, to be stored with a decision."""
    policy = settings.promotion_policy
    return {
        **policy.model_dump(mode="json"),
        "skipped_gates": [gate.id for gate in GATES if gate.id not in policy.gates],
        "limits": settings.deploy.model_dump(mode="json", exclude={"automatic", "promote_to"}),
        "ab": settings.ab.model_dump(mode="json"),
    }
