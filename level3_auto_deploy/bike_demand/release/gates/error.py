"""Gate: the error is no worse than the champion's, by their twins, on rows that neither of them saw.

A week of hours tells a difference of some percent from luck as little as a coin does. So a version is refused
where it is sure that it is worse, or where it looks so much worse that its users should not find out.
"""

import numpy as np

from bike_demand.data.table import iso
from bike_demand.data.target import ERROR_UNIT, rounded
from bike_demand.release.compare import errors_of, fresh_rows, lower_bound, twin_of
from bike_demand.release.gates.case import Case, Finding


def is_no_worse(case: Case) -> Finding:
    """Compares mean errors. Raises UserError where a twin is unknown or cannot be read."""
    both = [version for version in (case.version, case.champion) if version is not None]
    rows = fresh_rows(case.tracking, both, case.hours)
    errors = [errors_of(case.handoff(twin_of(version)), rows) for version in both]
    limits = case.settings.deploy
    if len(rows) < limits.min_rows:
        return Finding(
            False,
            f"there are {len(rows)} fresh hours to compare on, too few (deploy.min_rows in params.yaml is"
            f" {limits.min_rows}), so run ingest",
            {"rows": len(rows)},
        )
    evidence = {
        "rows": len(rows),
        "first": iso(rows[0].timestamp),
        "last": iso(rows[-1].timestamp),
        "confidence": limits.confidence,
        "error_worse": limits.error_worse,
    }
    if not np.isfinite(errors[0]).all():
        return Finding(False, "it has no answer for some of the fresh hours", evidence)
    candidate = float(errors[0].mean())
    evidence |= {"candidate": candidate}
    if case.champion is None:
        return Finding(
            True, f"off by {rounded(candidate)} {ERROR_UNIT}; nothing is live to compare with", evidence
        )
    champion = float(errors[1].mean())
    bound = lower_bound(errors[0] - errors[1], [row.timestamp for row in rows], limits.confidence)
    evidence |= {"champion": champion, "sure_to_be_worse_by": bound if np.isfinite(bound) else None}
    said = (
        f"off by {rounded(candidate)} {ERROR_UNIT} on {len(rows)} fresh hours, the champion by"
        f" {rounded(champion)}"
    )
    if bound > 0:
        return Finding(False, f"{said}; that it is worse is {limits.confidence:.0%} sure", evidence)
    if candidate > champion * (1 + limits.error_worse):
        return Finding(False, f"{said}, more than {limits.error_worse:.0%} worse", evidence)
    return Finding(True, said, evidence)
