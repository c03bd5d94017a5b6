"""Replaces implausible inputs with typical values, row by row, so that nobody has to switch it on or off.

Expected ranges are read in the background; a row costs only a few comparisons.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from bike_demand.core.current import Inputs, key_of, time_of
from bike_demand.core.settings import Fallbacks, QualityRules
from bike_demand.store.tables import ExpectedRange

# By field, the value that replaced the one in the request.
Replaced = Mapping[str, float | str]


class _Check(NamedTuple):
    expected: ExpectedRange
    may_be_null: bool
    texts: Sequence[str] | None  # the plausible values of a text field, the most frequent one first

    def is_implausible(self, value: Any) -> bool:
        if value is None:
            return not self.may_be_null
        if self.texts is not None:
            return value not in self.texts
        return not self.expected.low <= value <= self.expected.high

    def typical_value(self, row: Inputs) -> float | str:
        """The value to expect for this row: that of its key at its hour, if known."""
        if self.texts:
            return self.texts[0]
        hour: int = time_of(row).hour
        return (self.expected.by_key or {}).get(key_of(row), self.expected.by_hour)[hour]


class Fallback:
    """The policy for each field, with the expected ranges. One instance per process; thread-safe.

    Texts and nulls that the quality rules accept are plausible.
    """

    def __init__(self, settings: Fallbacks | None = None, rules: QualityRules | None = None) -> None:
        self._settings, self._rules = settings or Fallbacks(), rules or QualityRules()
        self._span = timedelta(days=self._settings.days)  # how far from its range's an event time may be
        self._checks: tuple[_Check, ...] = ()

    def update_ranges(self, ranges: Mapping[str, ExpectedRange]) -> None:
        """Use these expected ranges from now on."""
        nullable = self._rules.nulls.allowed if self._rules.nulls else ()
        known = self._rules.texts.known if self._rules.texts else {}
        self._checks = tuple(
            _Check(
                each,
                each.texts is not None or each.field in nullable,
                each.texts and [*each.texts, *known.get(each.field, ())],
            )
            for each in ranges.values()
            if self._settings.fields.get(each.field, "typical") == "typical"
        )

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
                field, as_of = check.expected.field, check.expected.as_of
                if abs(time_of(row) - as_of) <= self._span and check.is_implausible(getattr(row, field)):
                    changes[field] = check.typical_value(row)
            if changes:
                if model_rows is None:
                    model_rows, replaced = list(rows), [None] * len(rows)
                model_rows[index] = row.model_copy(update=changes)
                replaced[index] = changes
        return (rows, None) if model_rows is None else (model_rows, replaced)
