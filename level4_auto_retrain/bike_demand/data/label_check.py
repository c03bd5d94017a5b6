"""The rule `labels`: labels in the feed must agree with the outcomes reported to the service.

It needs a service that receives outcomes, so it is separate from the rules in `data.quality`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bike_demand.core.current import LABEL, RowId
from bike_demand.core.settings import QualityRules
from bike_demand.data import quality
from bike_demand.data.frames import with_label
from bike_demand.data.quality import NO_TEXTS, Texts, Violation


def check_ingested(
    rows: pd.DataFrame, known: Mapping[RowId, float], rules: QualityRules, seen_texts: Texts = NO_TEXTS
) -> list[Violation]:
    """All violations in ingested rows (ascending, at least one), given the reported outcomes and the texts of
    good rows before them.
    """
    return [*quality.check(rows, rules, known, seen_texts), *check_labels(rows, known, rules)]


def check_labels(rows: pd.DataFrame, known: Mapping[RowId, float], rules: QualityRules) -> list[Violation]:
    """Days (rows ascending) on which several labels differ from the outcomes, if half of the rows have one.

    All rows of such a day are bad, except those whose label equals the outcome.
    """
    rule, rows = rules.labels, with_label(rows)  # labels may arrive much later than their rows
    if rule is None or not known or rows.empty:
        return []
    published, reported = rows[LABEL].to_numpy(np.float64), quality.labels_in(rows, known)
    difference, size = np.abs(published - reported), np.abs(reported)
    bad = np.zeros(len(rows), dtype=bool)
    worst = (0.0, 0.0)
    for day in quality.days_of(rows, quality.MIN_ROWS):
        with_outcome = day[~np.isnan(reported[day])]
        if 2 * len(with_outcome) < len(day):
            continue
        # A small correction of a small label is a large share, so the mean counts too.
        limit = rule.max_difference * np.maximum(size[with_outcome], size[with_outcome].mean())
        wrong = with_outcome[difference[with_outcome] > limit]
        if len(wrong) >= rule.min_rows:
            bad[day] = (published[day] != reported[day]) & ~np.isnan(published[day])
            pairs = zip(published[wrong].tolist(), reported[wrong].tolist(), strict=True)
            worst = max(worst, *pairs, key=lambda pair: abs(pair[0] - pair[1]))
    message = (
        f"{LABEL} disagrees with the reported outcomes, for example {worst[0]:g} instead of {worst[1]:g}"
    )
    return quality.violations("labels", quality.LABEL_SUBJECT, message, rows, bad)
