"""Numbers, days and names as people read them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

WORDS = {
    "temp_c": "temperature",
    "feels_like_c": "felt temperature",
    "humidity": "humidity",
    "windspeed_kmh": "wind",
    "weather": "weather",
    "workingday": "working day",
    "holiday": "holiday",
    "prediction": "answers",
    "feed": "the feed",
    "count": "counts",
}
_FIELD = re.compile(r"\b(temp_c|feels_like_c|windspeed_kmh|workingday)\b")


def duration(seconds: float) -> str:
    """How long something took, as short as can be."""
    return (
        f"{1e3 * seconds:.2g} ms"
        if seconds < 0.1
        else f"{1e3 * seconds:.0f} ms"
        if seconds < 1
        else f"{seconds:.2g} s"
    )


def short(value: float) -> str:
    """A count as short as can be."""
    return f"{value / 1000:.1f}k" if value >= 10_000 else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def on_date(moment: str | datetime) -> str:
    """The day and the year."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{day_of(at.date())} {at.year}"


def day_of(day: date) -> str:
    """The day, without its year."""
    return f"{day.day} {day:%b}"


def plain(text: str) -> str:
    """A sentence with the fields called by their names for people, and a capital at its start."""
    return capital(_FIELD.sub(lambda found: WORDS[found[0]], text))


def capital(text: str) -> str:
    """With a capital at its start."""
    return text[:1].upper() + text[1:]


def listed(names: Iterable[str]) -> str:
    """One or more names, the last after "and"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def sentence(value: Any) -> str:
    """Whatever was kept, as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {sentence(each)}" for key, each in value.items())
    if isinstance(value, Sequence):
        return "; ".join(sentence(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
