"""Gate: in no slice of the fresh rows is it sure that users get clearly worse answers.

A slice has few rows, so "no worse in each" would refuse nine good candidates of ten by chance alone. A slice
refuses where a one-sided bound says that the error is more than a stated share worse.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bike_demand.data.schema import Hour
from bike_demand.data.target import ERROR_UNIT, rounded
from bike_demand.release.compare import errors_of, fresh_rows, lower_bound, twin_of
from bike_demand.release.gates.case import Case, Finding


def _hours(first: int, last: int) -> Callable[[Hour], bool]:
    return lambda row: first <= row.timestamp.hour <= last


SLICES: dict[str, Callable[[Hour], bool]] = {
    "night, 0 to 5 h": _hours(0, 5),
    "morning, 6 to 9 h": _hours(6, 9),
    "midday, 10 to 15 h": _hours(10, 15),
    "evening, 16 to 19 h": _hours(16, 19),
    "late, 20 to 23 h": _hours(20, 23),
    "working days": lambda row: row.workingday == 1,
    "days off": lambda row: row.workingday == 0,
    "clear": lambda row: row.weather == 1,
    "mist": lambda row: row.weather == 2,
    "light rain or snow": lambda row: row.weather == 3,
    "heavy weather": lambda row: row.weather == 4,
}


def is_no_worse_in_any_slice(case: Case) -> Finding:
    """Judges hour groups, working days and days off, and kinds of weather.

    Raises UserError where a twin cannot be read.
    """
    if case.champion is None:
        return Finding(True, "nothing is live to compare with")
    limits = case.settings.deploy
    rows = fresh_rows(case.tracking, (case.version, case.champion), case.hours)
    if not rows:
        return Finding(False, "there are no fresh hours to compare on, so run ingest")
    candidate, champion = (
        errors_of(case.handoff(twin_of(version)), rows) for version in (case.version, case.champion)
    )
    table: list[dict[str, Any]] = []
    worse: list[dict[str, Any]] = []
    for name, belongs in SLICES.items():
        chosen = np.array([belongs(row) for row in rows])
        count = int(chosen.sum())
        if not count:
            continue
        entry: dict[str, Any] = {
            "slice": name,
            "rows": count,
            "candidate": float(candidate[chosen].mean()),
            "champion": float(champion[chosen].mean()),
        }
        if count >= limits.slice_rows:
            excess = candidate[chosen] - (1 + limits.slice_worse) * champion[chosen]
            days = [row.timestamp for row, is_in in zip(rows, chosen, strict=True) if is_in]
            bound = lower_bound(excess, days, limits.confidence)
            entry["bound"] = bound
            if bound > 0:
                worse.append(entry)
        table.append(entry)
    judged = sum("bound" in entry for entry in table)
    evidence = {
        "slices": table,
        "worse": limits.slice_worse,
        "confidence": limits.confidence,
        "min_rows": limits.slice_rows,
        "bound": f"of the error beyond that, in {ERROR_UNIT}; above 0 refuses",
    }
    if worse:
        first = worse[0]
        return Finding(
            False,
            f"{first['slice']}: off by {rounded(first['candidate'])} {ERROR_UNIT}, the champion by"
            f" {rounded(first['champion'])}, on {first['rows']} fresh hours; that it is more than"
            f" {limits.slice_worse:.0%} worse there is {limits.confidence:.0%} sure",
            evidence,
        )
    return Finding(
        True, f"{judged} of {len(table)} slices have {limits.slice_rows} fresh hours or more", evidence
    )
