"""Gate: a version that was taken back is not tried on users a second time."""

from bike_demand.release.gates.case import Case, Finding
from bike_demand.tracking import BLOCKED_TAG


def was_not_taken_back(case: Case) -> Finding:
    """Refuses a version that a rollback blocked."""
    reason = case.version.tags.get(BLOCKED_TAG)
    if reason is None:
        return Finding(True, "never taken back")
    return Finding(False, f"it was live and was taken back: {reason}", {"reason": reason})
