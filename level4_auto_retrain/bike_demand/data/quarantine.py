"""The hours that trainings leave out, and why: recognised when the feed is gathered, kept with its version.

The file lies beside the data, as a further output of the stage that gathers them, so that a training that is
made again leaves out the same hours, whatever is known by then.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.data import quality
from bike_demand.data.lessons import Case, unrecognised
from bike_demand.data.quality import Finding, arrival
from bike_demand.data.schema import Hour
from bike_demand.data.store import gathered_months, read_hours
from bike_demand.data.table import iso
from bike_demand.data.validate import inspect
from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.settings import DATA, QUARANTINE, REPORTS, Quality, Settings


class Stretch(BaseModel):
    """A finding about gathered hours, and what follows from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    subject: str
    says: str
    then: str  # leave-out or stop
    goes_on: bool
    hours: tuple[datetime, ...]

    def __str__(self) -> str:
        return str(Finding(self.check, self.subject, self.says, self.hours, self.goes_on))


class Quarantine(BaseModel):
    """All that is wrong with the gathered hours, and the cases of before that still have to be recognised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stretches: tuple[Stretch, ...] = ()
    cases: tuple[Case, ...] = ()

    @property
    def left_out(self) -> set[datetime]:
        """The hours that nothing is to be learned from."""
        return {hour for each in self.stretches if each.check != "gaps" for hour in each.hours}

    @property
    def lost(self) -> set[datetime]:
        """The hours that are missing, and known to be: a gap that is over."""
        return {
            hour
            for each in self.stretches
            if each.check == "gaps" and not each.goes_on
            for hour in each.hours
        }


def recognise(
    rows: Sequence[Hour],
    known: Mapping[datetime, int],
    expected: Mapping[datetime, float],
    cases: Sequence[Case],
    settings: Quality,
) -> Quarantine:
    """What is wrong with these rows (ascending, at least one), by the counts that the application was told
    and the predictions for hours of which it was told none.

    When the feed came is not looked at: that is no matter of its rows.
    """
    asked = [hour for hour, count in known.items() if count]
    found = [
        *quality.inputs(rows, settings),
        *quality.gaps(rows, asked, settings),
        *quality.targets(rows, known, expected, settings),
    ]
    return Quarantine(
        stretches=tuple(Stretch(**vars(each), then=getattr(settings, each.check).then) for each in found),
        cases=tuple(cases),
    )


def good(rows: Sequence[Hour], quarantine: Quarantine) -> list[Hour]:
    """The rows that may be learned from."""
    bad = quarantine.left_out
    return [row for row in rows if row.timestamp not in bad]


def good_hours(folder: Path = DATA, file: Path = QUARANTINE) -> list[Hour]:
    """The gathered hours that may be learned from. Raises UserError where nothing was gathered."""
    return good(read_hours(folder), read(file))


def strike(folder: Path, file: Path) -> None:
    """Take the lines of the hours in quarantine out of the files of the gathered months."""
    bad = {iso(hour).encode() for hour in read(file).left_out}
    for month in gathered_months(folder) if bad else ():
        path = folder / f"{month}.csv"
        header, *lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.partition(b",")[0] not in bad]
        write_atomically(path, b"".join([header, *kept]))


def fit_hours(
    rows: Sequence[Hour], quarantine: Quarantine, settings: Settings, as_of: datetime | None
) -> list[Hour]:
    """The rows (ascending, at least one) that may be learned from, if these are fit for training by `as_of`.

    Raises UserError where they are not; then there is a report of every hour, or of every stretch.
    """
    quality = settings.monitoring.quality
    report = REPORTS / "validation.json"
    refuse_forgotten(quarantine, quality)
    now = as_of if as_of is not None or settings.validation.clock == "feed" else datetime.now()
    late = [] if now is None else arrival(rows, quality, now)
    stopping: list[Stretch | Finding] = [*_stopping(rows, quarantine, settings.validation.days), *late]
    if stopping:
        told = [{"what": each.says, "hours": [iso(hour) for hour in each.hours]} for each in stopping]
        write_atomically(report, (json.dumps(told, indent=1) + "\n").encode())
        raise UserError(
            f"the data are not fit for training: {'; '.join(map(str, stopping))}; nothing was trained, have"
            f" the feed corrected ({report.as_posix()} has every hour)"
        )
    rest = good(rows, quarantine)
    if not rest:
        raise UserError("not one of the gathered hours is good; look into state/quarantine.json and the feed")
    inspect(rest, settings.validation, as_of, report, quarantine.left_out | quarantine.lost)
    return rest


def refuse_forgotten(quarantine: Quarantine, settings: Quality) -> None:
    """Raises UserError that names the incident where a case of before would not be recognised any more."""
    for case in quarantine.cases:
        missed = unrecognised(case, settings)
        if missed:
            raise UserError(
                "the checks of monitoring.quality in params.yaml no longer recognise incident"
                f" {case.incident} ({case.check}, {case.subject}): they miss {missed} of its"
                f" {len(case.must)} bad hours; nothing was trained, make them recognise it again"
            )


def _stopping(rows: Sequence[Hour], quarantine: Quarantine, days: int) -> list[Stretch]:
    """What stops a training: it goes on, or lies in the newest `days` and cannot just be left out."""
    since = rows[-1].timestamp - timedelta(days=days)
    return [
        each
        for each in quarantine.stretches
        if each.then == "stop" and (each.goes_on or (each.check != "gaps" and each.hours[-1] > since))
    ]


def holdout_days(rows: Sequence[Hour], quarantine: Quarantine, days: int) -> int:
    """How many days before the last row hold `days` days that are not left out: so many are held out."""
    bad = {hour.date() for hour in quarantine.left_out | quarantine.lost}
    last, found, back = rows[-1].timestamp.date(), 0, 0
    while found < days and last - timedelta(days=back) >= rows[0].timestamp.date():
        found += last - timedelta(days=back) not in bad
        back += 1
    return max(back, days)


def read(file: Path = QUARANTINE) -> Quarantine:
    """What was recognised when the data were gathered; nothing where nobody looked.

    Raises UserError where somebody spoilt the file.
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
