"""Replaces implausible inputs with typical values, row by row, so that nobody has to switch it on or off.

Expected ranges are read in the background; a row costs only a few comparisons.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bike_demand.core.current import Inputs, key_of, time_of
from bike_demand.core.settings import Fallbacks, QualityRules
from bike_demand.store.tables import ExpectedRange

# By field, the value that replaced the one in the request.
Replaced = Mapping[str, float | str]


class _Check(NamedTuple):
    field: str
    low: float
    high: float
    by_hour: Sequence[float]
    by_key: Mapping[str, Sequence[float]]
    may_be_null: bool
    texts: Sequence[str] | None  # the expected values of a text field, the most frequent one first
    since: datetime  # event times from `since` to before `until` are checked
    until: datetime

    def is_implausible(self, value: Any) -> bool:
        if value is None:
            return not self.may_be_null
        return value not in self.texts if self.texts is not None else not self.low <= value <= self.high

    def typical_value(self, row: Inputs) -> float | str:
        """The value to expect for this row: that of its key at its hour, if known."""
        if self.texts:
            return self.texts[0]
        hour: int = time_of(row).hour
        return self.by_key.get(key_of(row), self.by_hour)[hour]


class Fallback:
    """The policy for each field, with the expected ranges. One instance per process; thread-safe.

    Texts and nulls that the quality rules accept are plausible.
    """

    def __init__(self, settings: Fallbacks | None = None, rules: QualityRules | None = None) -> None:
        self._settings, self._rules = settings, rules or QualityRules()
        self._checks: tuple[_Check, ...] = ()

    def update_ranges(self, ranges: Mapping[str, ExpectedRange]) -> None:
        """Use these expected ranges from now on."""
        self._checks = () if self._settings is None else _checks(ranges, self._settings, self._rules)

    def apply(self, rows: Sequence[Inputs]) -> tuple[Sequence[Inputs], Sequence[Replaced | None] | None]:
        """The rows as the models get them, and the replacements in each; None if nothing was replaced."""
        checks = self._checks
        if not checks:
            return rows, None
        model_rows: list[Inputs] | None = None
        replaced: list[Replaced | None] = []
        for index, row in enumerate(rows):
            changes: dict[str, float | str] = {}
            for check in checks:
                is_near = check.since <= time_of(row) < check.until
                if is_near and check.is_implausible(getattr(row, check.field)):
                    changes[check.field] = check.typical_value(row)
            if changes:
                if model_rows is None:
                    model_rows, replaced = list(rows), [None] * len(rows)
                model_rows[index] = row.model_copy(update=changes)
                replaced[index] = changes
        return (rows, None) if model_rows is None else (model_rows, replaced)


def _checks(
    ranges: Mapping[str, ExpectedRange], settings: Fallbacks, rules: QualityRules
) -> tuple[_Check, ...]:
    span = timedelta(days=settings.days)
    nullable = rules.nulls.allowed if rules.nulls else ()
    known = rules.texts.known if rules.texts else {}
    return tuple(
        _Check(
            each.field,
            each.low,
            each.high,
            each.by_hour,
            each.by_key or {},
            each.texts is not None or each.field in nullable,
            each.texts and [*each.texts, *known.get(each.field, ())],
            each.as_of - span,
            each.as_of + span,
        )
        for each in ranges.values()
        if settings.fields.get(each.field, "typical") == "typical"
    )
