"""The page of a comparison: a single self-contained HTML file."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from ladder import __version__, practices
from ladder.compare.results import Comparison
from ladder.levels import level
from ladder.output import save
from ladder.page import environment, text, words
from ladder.page.code import packed

MARK = "†"  # marks values that rest on assumptions


@dataclass(frozen=True)
class Drawn:
    """The chart as Plotly drew it at some width, in pixels: an edition with it needs no Plotly."""

    width: int
    svg: str


def write(comparison: Comparison, path: Path) -> None:
    """Write the page to `path`, in one piece or not at all."""
    save(render(comparison), path)


def render(comparison: Comparison, drawn: tuple[Drawn, ...] = ()) -> str:
    """The whole page. With `drawn` the small edition: these charts, and no Plotly in it."""
    numbers = sorted(int(each) for each in comparison.levels)
    facts = comparison.model_dump(mode="json")
    return str(
        _environment()
        .get_template("compare.html.j2")
        .render(
            c=comparison,
            numbers=numbers,
            names={number: level(number).short for number in numbers},
            n=_Numbers(facts),
            facts=_json(facts),
            drawn=drawn,
            plotly="" if drawn else _plotly(),
            style="\n".join([text("base.css"), text("templates/compare.css"), text("code.css")]),
            script=text("templates/compare.js"),
            measures=words.rows(words.words().measures, bool(comparison.story.incidents)),
            same_dates=words.rows(words.words().same_dates, bool(comparison.story.incidents)),
            areas=practices.areas(),
            rows=practices.rows(),
            practices=[each for each in practices.practices() if each.levels],
            packed=Markup(packed(tuple(numbers))),
            waits={number: _by_people(comparison, number) for number in numbers},
            longest=_longest(comparison),
            again=_again(comparison),
            mark=MARK,
            version=__version__,
        )
    )


def shown(value: object, digits: int = 0) -> str:
    """A value as a reader sees it: every number of the page goes through here."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.{digits}f}"
    return str(value)


class _Numbers:
    """Looks up values of the comparison by path (`levels.0.mae`) and marks their origin in the HTML.

    `*` stands for all items of a list, whose values are summed.
    """

    def __init__(self, facts: Mapping[str, Any]):
        self.facts = facts

    def value(self, path: str) -> Any:
        found: list[Any] = [self.facts]
        for step in path.split("."):
            if step == "*":
                found = [each for some in found for each in some]
            else:
                found = [each[int(step)] if isinstance(each, list) else each[step] for each in found]
        return sum(found) if "*" in path else found[0]

    def __call__(self, path: str, digits: int = 0) -> Markup:
        value = self.value(path)
        exact = Markup(' data-digits="{}"').format(digits) if digits else ""
        return Markup('<data value="{}" data-path="{}"{}>{}</data>').format(
            json.dumps(value), path, exact, shown(value, digits)
        )

    def part(self, path: str, of: list[str]) -> float:
        """The length of a value's bar relative to the longest, from 0 to 1; 0 without a value."""
        values = [self.value(each) for each in of]
        known = [each for each in values if isinstance(each, int | float)]
        value = self.value(path)
        return round(value / max(known), 4) if value is not None and known and max(known) else 0.0


@cache
def _environment() -> Environment:
    made = environment()
    made.filters["day"] = _day
    made.filters["short_day"] = lambda day: _day(day, "%b")
    made.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    made.filters["days"] = lambda number: f"{round(number, 1):g} day" + ("" if round(number, 1) == 1 else "s")
    made.globals["kinds"] = words.words().kinds
    made.globals["ticks"] = ticks
    made.globals["week_of"] = lambda start, week: start + timedelta(days=7 * week)
    return made


def _plotly() -> Markup:
    """Plotly's own script, from the installed package."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return Markup(script.replace("</script", "<\\/script"))


def _json(value: object) -> Markup:
    """JSON that is safe inside a script element, whatever texts it contains."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def _day(day: date, month: str = "%B") -> str:
    return f"{day.day} {day.strftime(month)} {day.year}"


def ticks(days: float) -> list[int]:
    """Tick marks for an axis from 0 to `days`: four to eight whole days."""
    step = next(each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if days / each <= 7)
    return list(range(0, int(days) + 1, step))


def _by_people(comparison: Comparison, number: int) -> bool:
    """Whether a level's releases wait for people, so that everything derived from their dates is assumed."""
    return any(each.days for each in comparison.assumed[str(number)].days.values())


def _longest(comparison: Comparison) -> float:
    ends = [
        step.ends for level in comparison.levels.values() if level.timeline for step in level.timeline.steps
    ]
    return max([1.0, *ends])


def _again(comparison: Comparison) -> str:
    """The command that regenerates such a page."""
    story = comparison.story
    options = {
        "--scenario": story.name,
        "--from": str(story.start),
        "--to": str(story.end),
        "--levels": ",".join(sorted(comparison.levels)),
        "--people": comparison.assumed_in,
    }
    if story.feed != "simulated":
        options["--feed"] = story.feed
    command = "python3 -m ladder compare " + shlex.join(word for option in options.items() for word in option)
    return command + ("" if comparison.same_dates is not None else " --no-same-dates")
