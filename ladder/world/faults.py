"""Reporting faults: what the feed shows at a given time, and what requests carry, for any clean feed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ladder.world.feedfile import INPUTS
from ladder.world.scenario import Fault, Outage, Poison, Units

HOUR = pd.Timedelta(hours=1)


def publish(
    clean: pd.DataFrame,
    until: pd.Timestamp,
    faults: Sequence[Fault],
    corrected: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """The feed as published at `until`: the hours before it, with reporting faults.

    An hour that is n hours late appears n hours after its end. Hours before `corrected` are correct. `clean`
    is not modified.
    """
    until = pd.Timestamp(until)
    if corrected is not None:
        return pd.concat(
            [
                publish(clean[clean["timestamp"] < corrected], until, ()),
                publish(clean[clean["timestamp"] >= corrected], until, faults),
            ],
            ignore_index=True,
        )
    frame = clean[clean["timestamp"] < until]
    for fault in faults:
        if isinstance(fault, Outage):
            frame = _drop_hours(frame, until, fault)
    frame = frame.reset_index(drop=True)
    for fault in faults:
        frame = _change_inputs(frame, fault)
        if isinstance(fault, Poison):
            frame = _poison(frame, fault)
    return frame


def as_requested(clean: pd.DataFrame, faults: Sequence[Fault]) -> pd.DataFrame:
    """The request for each hour: `timestamp` and the input columns, no counts.

    Requests use the same weather station, so faults in its values apply. There is one for every hour that had
    rentals, whether or not its record arrives later.
    """
    frame = clean[INPUTS].reset_index(drop=True)
    for fault in faults:
        frame = _change_inputs(frame, fault)
    return frame


def _during(frame: pd.DataFrame, fault: Fault) -> npt.NDArray[np.bool_]:
    stamps = frame["timestamp"].to_numpy()
    first, after = np.datetime64(fault.since), np.datetime64(fault.to) + np.timedelta64(1, "D")
    return np.asarray((stamps >= first) & (stamps < after))


def _change_inputs(frame: pd.DataFrame, fault: Fault) -> pd.DataFrame:
    during = _during(frame, fault)
    if not during.any():
        return frame
    if isinstance(fault, Units):
        fahrenheit = {c: (frame[c] * 9 / 5 + 32).round(2) for c in ("temp_c", "feels_like_c")}
        return frame.assign(**{c: frame[c].where(~during, values) for c, values in fahrenheit.items()})
    if isinstance(fault, Outage) and fault.humidity_null:
        return frame.assign(humidity=frame["humidity"].mask(during))
    return frame


def _poison(frame: pd.DataFrame, fault: Poison) -> pd.DataFrame:
    during = _during(frame, fault)
    known = frame["casual"].notna()
    casual = (frame["casual"] * fault.factor).round().astype("Int64")
    registered = (frame["registered"] * fault.factor).round().astype("Int64")
    total = (casual + registered).where(known, (frame["count"] * fault.factor).round()).astype("int64")
    return frame.assign(
        casual=frame["casual"].mask(during, casual),
        registered=frame["registered"].mask(during, registered),
        count=frame["count"].mask(during, total),
    )


def _drop_hours(frame: pd.DataFrame, until: pd.Timestamp, fault: Outage) -> pd.DataFrame:
    during = _during(frame, fault)
    missing = _uniform(frame["timestamp"]) < fault.missing_share
    not_yet = (frame["timestamp"] + HOUR + fault.late_hours * HOUR).to_numpy() > until.to_datetime64()
    return frame[~(during & (missing | not_yet))]


def _uniform(stamps: pd.Series) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each hour, always the same (splitmix64 of the hour's number)."""
    z = stamps.to_numpy().astype("datetime64[h]").astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2.0**53)
