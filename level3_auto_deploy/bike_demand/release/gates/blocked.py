"""Gate: a model that was taken back or rejected is not tried on users a second time under another number."""

from bike_demand.release.gates.case import Case, Finding
from bike_demand.release.transitions import REJECTED, ROLLED_BACK, STATE_TAG
from bike_demand.tracking import BLOCKED_TAG, DEPLOYMENT_TAG, Version

ANOTHER = "train another one, with later data or another recipe"


def was_not_taken_back(case: Case) -> Finding:
    """Refuses a version that a rollback blocked, and one with the very model of a version that failed.

    A version that was rejected in its A/B test may be tried again by its own number: whoever asks for that
    knows why.
    """
    reason = case.version.tags.get(BLOCKED_TAG)
    if reason is not None:
        return Finding(False, f"it was live and was taken back: {reason}; {ANOTHER}", {"reason": reason})
    same = [
        version
        for version in case.tracking.versions()
        if version.digest == case.version.digest and version.number != case.version.number
    ]
    for version in same:
        if (became := _became(case, version)) is not None:
            said = f"its model is that of version {version.number}, which was {became}; {ANOTHER}"
            return Finding(False, said, {"version": version.number, "became": became})
    return Finding(True, "never taken back or rejected")


def _became(case: Case, version: Version) -> str | None:
    """How a version failed with users; None where it did not."""
    if BLOCKED_TAG in version.tags:
        return ROLLED_BACK
    record = version.tags.get(DEPLOYMENT_TAG)
    state = None if record is None else case.tracking.run(record).tags.get(STATE_TAG)
    return state if state in (REJECTED, ROLLED_BACK) else None
