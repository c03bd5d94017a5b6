"""The rule `counts`: what the feed publishes as counts has to be what was reported to the application.

It needs a service that gets outcomes, so it is a rule of its own beside those of `data.quality`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from bike_demand.data.quality import COUNT, DAY, Violation, check
from bike_demand.data.schema import Hour
from bike_demand.settings import QualityRules


def check_gathered(
    rows: Sequence[Hour], known: Mapping[datetime, int], rules: QualityRules
) -> list[Violation]:
    """What breaks a rule in gathered rows (ascending, at least one), by these reported outcomes."""
    return [*check(rows, rules, known), *counts(rows, known, rules)]


def counts(rows: Sequence[Hour], known: Mapping[datetime, int], rules: QualityRules) -> list[Violation]:
    """Days (rows ascending) in which several counts differ from the outcomes; half of the hours have one.

    Of such a day all hours are bad but those whose count is the reported one.
    """
    rule = rules.counts
    if rule is None:
        return []
    days: dict[date, list[Hour]] = {}
    for row in rows:
        days.setdefault(row.timestamp.date(), []).append(row)
    bad: list[datetime] = []
    worst = (0, 0)
    for group in days.values():
        both = [(row.count, known[row.timestamp]) for row in group if row.timestamp in known]
        wrong = [pair for pair in both if abs(pair[0] - pair[1]) > max(rule.bikes, rule.differ * pair[1])]
        if 2 * len(both) >= len(group) and len(wrong) >= rule.hours:
            bad += [row.timestamp for row in group if row.count != known.get(row.timestamp)]
            worst = max(worst, *wrong, key=lambda pair: abs(pair[0] - pair[1]))
    if not bad:
        return []
    message = f"feed counts disagree with the reported outcomes, as {worst[0]} instead of {worst[1]}"
    ongoing = bad[-1] > rows[-1].timestamp - DAY
    return [Violation(rule="counts", subject=COUNT, message=message, hours=tuple(bad), ongoing=ongoing)]
