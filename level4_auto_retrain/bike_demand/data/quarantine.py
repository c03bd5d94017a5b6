"""The quarantine: rows that trainings leave out, and why; and the level shifts they take into account. It is
kept with the version of the data.

The file lies beside the data, as a further output of the stage that gathers them, so that a training that is
reproduced leaves out the same rows, whatever is known by then.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.core.current import TIME, RowId
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import DATA, QUARANTINE, QualityRules, Settings
from bike_demand.data.frames import is_in, period, to_parquet
from bike_demand.data.label_check import check_gathered
from bike_demand.data.month import iso
from bike_demand.data.quality import Violation, require_fit
from bike_demand.data.regression_cases import BadDataCase, unrecognised
from bike_demand.data.store import gathered_months, labelled_rows, month_file, read_month

GAPS = "gaps"  # the rule about rows that are not there: all others are about bad ones


class Quarantine(BaseModel):
    """All violations in the gathered rows, and the regression cases that still have to be recognised.

    `level_shifts`: the first days at another level, ascending.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    violations: tuple[Violation, ...] = ()
    cases: tuple[BadDataCase, ...] = ()
    level_shifts: tuple[date, ...] = ()

    @property
    def left_out(self) -> set[RowId]:
        """The rows that nothing is learned from."""
        return {row for each in self.violations if each.rule != GAPS for row in each.rows}

    def described(self, rows: int) -> str:
        """What of so many rows was left out and why, as people read it; empty where nothing was."""
        why = [
            f"{each.subject} {each.rule} ({iso(each.times[0])} to {iso(each.times[-1])})"
            for each in self.violations
            if each.rule != GAPS
        ]
        return f"{rows:,} rows: {', '.join(why)}" if rows else ""

    @property
    def lost(self) -> set[RowId]:
        """The missing rows of gaps that are over."""
        gaps = [each for each in self.violations if each.rule == GAPS and not each.ongoing]
        return {row for each in gaps for row in each.rows}


def quarantine_of(
    rows: pd.DataFrame,
    known: Mapping[RowId, float],
    cases: Sequence[BadDataCase],
    rules: QualityRules,
    level_shifts: tuple[date, ...] = (),
) -> Quarantine:
    """What breaks a rule in these rows (ascending, at least one), by these reported outcomes.

    Whether the feed came in time is not a matter of its rows.
    """
    violations = tuple(check_gathered(rows, known, rules))
    return Quarantine(violations=violations, cases=tuple(cases), level_shifts=level_shifts)


def good(rows: pd.DataFrame, quarantine: Quarantine) -> pd.DataFrame:
    """The rows that may be learned from."""
    return rows[~is_in(rows, quarantine.left_out)]


def training_rows(folder: Path = DATA, file: Path = QUARANTINE) -> pd.DataFrame:
    """The gathered rows that may be learned from: good ones, with a label. Raises UserError where nothing
    was gathered.
    """
    return good(labelled_rows(folder), read(file))


def strike(folder: Path, file: Path) -> None:
    """Remove the rows in quarantine from the files of the gathered months."""
    quarantine = read(file)
    for month in gathered_months(folder) if quarantine.left_out else ():
        kept = good(read_month(folder, month), quarantine)
        write_atomically(month_file(folder, month), to_parquet(kept))


def fit_rows(
    rows: pd.DataFrame, quarantine: Quarantine, settings: Settings, as_of: datetime | None
) -> pd.DataFrame:
    """The rows (ascending, at least one) that may be learned from, if they are fit for training by `as_of`.

    Bad rows are left out; what cannot be left out, a gap that goes on or a stale feed, stops the training.
    Raises UserError where it does.
    """
    refuse_forgotten(quarantine, settings.quality)
    gaps = [each for each in quarantine.violations if each.rule == GAPS and each.ongoing]
    require_fit(rows, gaps, settings, as_of)
    rest = good(rows, quarantine)
    if rest.empty:
        raise UserError("not one of the gathered rows is good; look into state/quarantine.json and the feed")
    return rest


def refuse_forgotten(quarantine: Quarantine, rules: QualityRules) -> None:
    """Raises UserError that names the incident whose regression case would not be recognised any more."""
    for case in quarantine.cases:
        missed = unrecognised(case, rules)
        if missed:
            raise UserError(
                f"the rules under `quality` in params.yaml no longer recognise incident {case.incident}"
                f" ({case.check}, {case.subject}): they miss {missed} of its {len(case.must)} bad rows;"
                " nothing was trained, make them do so again (see docs: troubleshooting, regression-case)"
            )


def holdout_days(rows: pd.DataFrame, quarantine: Quarantine, days: int, least: int) -> int:
    """How many days to hold out: so many that `days` of them, and `least` rows, are good. Of a good day, at
    least half of the rows are.

    After a level shift, a third of the days since at most, so that the holdout model learns from the others.
    """
    bad = Counter(moment.date() for moment, _ in quarantine.left_out | quarantine.lost)
    first, last = (moment.date() for moment in period(rows))
    since = [(last - each).days + 1 for each in quarantine.level_shifts if first < each <= last]
    days = min([days, *(max(1, each // 3) for each in since)])
    rows_of = rows[TIME].dt.normalize().value_counts()
    found, held_out, day = 0, 0, last
    while day >= first and (found < days or held_out < least):
        good_rows = int(rows_of.get(pd.Timestamp(day), 0))
        found += bad[day] <= good_rows
        held_out += good_rows
        day -= timedelta(days=1)
    return max((last - day).days, days)


def read(file: Path = QUARANTINE) -> Quarantine:
    """What was recognised when the data were gathered; nothing where the file is absent.

    Raises UserError where the file was damaged.
    """
    try:
        return Quarantine.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Quarantine()
    except ValidationError:
        raise UserError(f"{file}: not as it was written; run `python -m bike_demand train` again") from None


def write(quarantine: Quarantine, file: Path = QUARANTINE) -> None:
    """Keep it for the stages that follow."""
    write_atomically(file, quarantine.model_dump_json(indent=1).encode() + b"\n")
