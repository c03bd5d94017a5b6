"""The error chart as a Plotly figure, and tick marks for an axis of days."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from ladder.compare.results import Comparison, LevelResult
from ladder.page.words import name_of

DAY = 86_400_000  # Plotly measures dates in milliseconds


def figure(comparison: Comparison) -> dict[str, Any]:
    """Traces, and the layout data that the script needs for any width.

    A trace's `uid` becomes a class of its SVG (`tracelevel3`), which the style sheet uses to apply the
    theme's colours. Values are rounded as in the comparison.
    """
    story = comparison.story
    traces: list[dict[str, Any]] = []
    if comparison.retrained_daily is not None:
        traces.append(
            _line("daily", "Retrained daily", story.start, comparison.retrained_daily.error_7_days, 2)
        )
    ordered = sorted(comparison.levels.items(), key=lambda each: int(each[0]))
    for number, result in ordered:
        line = _line(f"level{number}", f"Level {number}", story.start, result.error_7_days, 2.5)
        released = set(result.released_on)
        line["text"] = [
            "<br>released" if date.fromordinal(story.start.toordinal() + at) in released else ""
            for at in range(len(result.error_7_days))
        ]
        traces.append(line)
    # Above all lines, so that no line hides a release.
    traces += [_releases(number, result, story.start) for number, result in ordered]
    return {
        "traces": traces,
        "start": story.start.isoformat(),
        "end": story.end.isoformat(),
        "labels": [
            {"level": number}
            for number, result in ordered
            if any(each is not None for each in result.error_7_days)
        ],
        "incidents": [
            {
                "name": name_of(each.kind),
                "since": each.since.isoformat(),
                "until": each.until.isoformat() if each.until else None,
            }
            for each in story.incidents
        ],
    }


def _line(uid: str, name: str, start: date, values: Sequence[float | None], width: float) -> dict[str, Any]:
    return {
        "uid": uid,
        "name": name,
        "type": "scatter",
        "mode": "lines",
        "x0": start.isoformat(),
        "dx": DAY,
        "y": list(values),
        "line": {"width": width, **({"dash": "4px,4px"} if uid == "daily" else {})},
        "hovertemplate": f"<b>{name}</b><br>"
        "%{x|%-d %B %Y}<br>%{y:.1f} bikes an hour%{text}<extra></extra>",
        "text": "",
    }


def _releases(number: str, result: LevelResult, start: date) -> dict[str, Any]:
    """A mark on the line for each release except that of the first day, which every level has."""
    days, heights = [], []
    for day in result.released_on:
        at = (day - start).days
        height = result.error_7_days[at] if 0 < at < len(result.error_7_days) else None
        if height is not None:  # the line begins after the first week
            days.append(day.isoformat())
            heights.append(height)
    return {
        "uid": f"releases{number}",
        "type": "scatter",
        "mode": "markers",
        "x": days,
        "y": heights,
        "marker": {"size": 8, "symbol": "circle", "line": {"width": 2}},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def ticks(days: float) -> list[int]:
    """Tick marks for an axis from 0 to `days`: four to eight whole days."""
    step = next(each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if days / each <= 7)
    return list(range(0, int(days) + 1, step))
