"""The rule `labels`: what the feed publishes as labels has to be what was reported to the application.

It needs a service that gets outcomes, so it is a rule of its own beside those of `data.quality`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from bike_demand.core.current import LABEL, Row, label_of, time_of
from bike_demand.core.settings import QualityRules
from bike_demand.data.quality import DAY, LABEL_SUBJECT, Violation, check


def check_gathered(
    rows: Sequence[Row], known: Mapping[datetime, float], rules: QualityRules
) -> list[Violation]:
    """What breaks a rule in gathered rows (ascending, at least one), by these reported outcomes."""
    return [*check(rows, rules, known), *labels(rows, known, rules)]


def labels(rows: Sequence[Row], known: Mapping[datetime, float], rules: QualityRules) -> list[Violation]:
    """Days (rows ascending) in which several labels differ from the outcomes; half of the rows have one.

    Of such a day all rows are bad but those whose label is the reported one.
    """
    rule = rules.labels
    if rule is None:
        return []
    days: dict[date, list[Row]] = {}
    for row in rows:
        days.setdefault(time_of(row).date(), []).append(row)
    bad: list[datetime] = []
    worst = (0.0, 0.0)
    for group in days.values():
        both = [(label_of(row), known[time_of(row)]) for row in group if time_of(row) in known]
        # Of small labels a small correction is a large share, so their mean counts too.
        mean = sum(abs(pair[1]) for pair in both) / max(1, len(both))
        wrong = [pair for pair in both if abs(pair[0] - pair[1]) > rule.differ * max(abs(pair[1]), mean)]
        if 2 * len(both) >= len(group) and len(wrong) >= rule.rows:
            bad += [time_of(row) for row in group if label_of(row) != known.get(time_of(row))]
            worst = max(worst, *wrong, key=lambda pair: abs(pair[0] - pair[1]))
    if not bad:
        return []
    message = f"{LABEL} disagrees with the reported outcomes, as {worst[0]:g} instead of {worst[1]:g}"
    ongoing = bad[-1] > time_of(rows[-1]) - DAY
    return [
        Violation(rule="labels", subject=LABEL_SUBJECT, message=message, times=tuple(bad), ongoing=ongoing)
    ]
