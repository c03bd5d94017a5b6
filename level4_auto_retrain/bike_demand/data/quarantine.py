"""The quarantine: rows excluded from training, with reasons, and the level shifts to account for.

The file is a further output of the ingest stage, versioned with the data, so that a reproduced training
excludes the same rows, whatever outcomes, cases and shifts have become known since.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.core.current import LABEL, TIME, RowId
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import DATA, QUARANTINE, QualityRules, Settings
from bike_demand.data.frames import has_row_id, time_range, to_parquet
from bike_demand.data.ingested import ingested_months, month_file, read_labeled_rows, read_month
from bike_demand.data.month import iso
from bike_demand.data.quality import Violation, require_no_violations
from bike_demand.data.regression_cases import RegressionCaseContent, count_undetected

GAPS = "gaps"  # the rule about missing rows; all others are about bad rows


class Quarantine(BaseModel):
    """All violations in the ingested rows, and the regression cases that must still be detected.

    `level_shifts`: the first day of each, ascending.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    violations: tuple[Violation, ...] = ()
    cases: tuple[RegressionCaseContent, ...] = ()
    level_shifts: tuple[date, ...] = ()

    @property
    def excluded_rows(self) -> set[RowId]:
        """The rows excluded from training."""
        return {row for each in self.violations if each.rule != GAPS for row in each.rows}

    def describe_excluded(self, rows: int) -> str:
        """A summary of the excluded rows, out of `rows`, and the reasons; empty if there are none."""
        reasons = [
            f"rule {each.rule} on {each.subject} ({iso(each.times[0])} to {iso(each.times[-1])})"
            for each in self.violations
            if each.rule != GAPS
        ]
        return f"{rows:,} rows: {', '.join(reasons)}" if rows else ""

    @property
    def missing_rows(self) -> set[RowId]:
        """The missing rows of gaps that have ended."""
        gaps = [each for each in self.violations if each.rule == GAPS and not each.ongoing]
        return {row for each in gaps for row in each.rows}


def without_quarantined(rows: pd.DataFrame, quarantine: Quarantine) -> pd.DataFrame:
    """The rows that are not in quarantine."""
    return rows[~has_row_id(rows, quarantine.excluded_rows)]


def training_rows(folder: Path = DATA, file: Path = QUARANTINE) -> pd.DataFrame:
    """The ingested rows to train on: labeled and not in quarantine. Raises UserError if nothing was
    ingested.
    """
    return without_quarantined(read_labeled_rows(folder), read_quarantine(file))


def remove_quarantined_rows(folder: Path, file: Path) -> None:
    """Remove the rows in quarantine from the files of the ingested months."""
    quarantine = read_quarantine(file)
    for month in ingested_months(folder) if quarantine.excluded_rows else ():
        kept = without_quarantined(read_month(folder, month), quarantine)
        write_atomically(month_file(folder, month), to_parquet(kept))


def require_trainable_rows(
    rows: pd.DataFrame, quarantine: Quarantine, settings: Settings, as_of: datetime | None
) -> pd.DataFrame:
    """The rows (ascending, at least one) to train on, if they are fit for training at `as_of`.

    Bad rows are excluded. An ongoing gap or a stale feed cannot be excluded and stops the training with
    UserError.
    """
    require_cases_detected(quarantine, settings.quality)
    gaps = [each for each in quarantine.violations if each.rule == GAPS and each.ongoing]
    require_no_violations(rows, gaps, settings, as_of)
    rest = without_quarantined(rows, quarantine)
    if rest.empty:
        raise UserError("no ingested row passes the quality rules; see state/quarantine.json")
    return rest


def require_cases_detected(quarantine: Quarantine, rules: QualityRules) -> None:
    """Raises UserError that names the incident whose regression case would no longer be detected."""
    for case in quarantine.cases:
        missed = count_undetected(case, rules)
        if missed:
            found = len(case.must_detect) - missed
            raise UserError(
                f"the rules under `quality` in params.yaml no longer detect incident {case.incident}"
                f" ({case.rule}, {case.subject}): only {found} of its {len(case.must_detect)} bad rows;"
                " nothing was trained. Tighten the rule again or, if it was a false alarm:"
                f" python -m bike_demand incidents --withdraw {case.incident}"
            )


def holdout_days(rows: pd.DataFrame, quarantine: Quarantine, days: int, min_rows: int) -> int:
    """The number of days to hold out, so that `days` of them, and `min_rows` rows, are good. A day is good if
    at least half of its rows are.

    After a level shift, only a third of the days since, or as many as `min_rows` needs: the holdout model
    learns from the rest.
    """
    bad = Counter(moment.date() for moment, _ in quarantine.excluded_rows | quarantine.missing_rows)
    first, last = (moment.date() for moment in time_range(rows))
    since = [(last - each).days + 1 for each in quarantine.level_shifts if first < each <= last]
    days = min([days, *(max(1, each // 3) for each in since)])
    rows_of = rows[TIME].dt.normalize().value_counts()
    found, held_out, day = 0, 0, last
    while day >= first and (found < days or held_out < min_rows):
        good_rows = int(rows_of.get(pd.Timestamp(day), 0))
        found += bad[day] <= good_rows
        held_out += good_rows
        day -= timedelta(days=1)
    return max((last - day).days, days)


def multiply_labels(rows: pd.DataFrame, factors: Mapping[str, float]) -> pd.DataFrame:
    """The rows, with the labels before each ISO day multiplied by its factor."""
    for day, factor in factors.items():
        is_before = rows[TIME] < pd.Timestamp(day)
        rows = rows.assign(**{LABEL: rows[LABEL].where(~is_before, factor * rows[LABEL])})
    return rows


def read_quarantine(file: Path = QUARANTINE) -> Quarantine:
    """Read the quarantine written at ingestion; empty if there is no file.

    Raises UserError if the file is damaged.
    """
    try:
        return Quarantine.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Quarantine()
    except ValidationError:
        raise UserError(f"{file}: damaged or changed; run `python -m bike_demand train` again") from None


def write_quarantine(quarantine: Quarantine, file: Path = QUARANTINE) -> None:
    """Write the quarantine for the following stages."""
    write_atomically(file, quarantine.model_dump_json(indent=1).encode() + b"\n")
