"""What the page calls things: incidents, areas of the maturity model, measures."""

from dataclasses import dataclass

KINDS = {
    "growth": ("Demand steps up", "From one day on many more bikes are rented; everything else stays."),
    "new-habits": ("New habits", "The commuter peaks flatten: people ride at other hours than before."),
    "units": ("Fahrenheit", "The weather station reports its temperatures in Fahrenheit."),
    "outage": ("Outage", "Humidity is missing, and hours of the feed are missing or late."),
    "poison": ("Poisoned counts", "A stretch of corrupted counts is published; demand is as ever."),
}


def name_of(kind: str) -> str:
    """A kind of incident as a heading: `units` is Fahrenheit; one that is not known keeps its name."""
    return KINDS[kind][0] if kind in KINDS else kind.replace("-", " ").capitalize()


def says_of(kind: str) -> str:
    """What an incident of that kind is, in a sentence; empty where that is not known."""
    return KINDS[kind][1] if kind in KINDS else ""


@dataclass(frozen=True)
class Measure:
    """A row of the table: `path` below a level, and a second one that stands beside it in small print."""

    path: str
    title: str
    says: str
    digits: int = 0
    assumed: bool = False  # depends on when people begin and how long they take
    also: tuple[str, str] | None = None  # a path, and the words after its value


MEASURES = (
    Measure(
        "mae",
        "Error",
        "Mean absolute error of what users were given, in bikes an hour. An hour without an answer "
        "counts as a prediction of 0.",
        digits=1,
        assumed=True,
    ),
    Measure(
        "days_to_recover",
        "Days to recover",
        "Mean over the incidents: until the error was normal again and stayed so; at least, where it "
        "was not before the next incident or the end.",
        digits=1,
        assumed=True,
    ),
    Measure(
        "incidents.*.bad_answers",
        "Bad answers",
        "Hours answered while the error was not normal, over all incidents.",
        assumed=True,
    ),
    Measure("failed_requests", "Failed requests", "No connection, an error of the server, or a row refused."),
    Measure(
        "manual_steps",
        "Steps by people",
        "Everything that people did in the period, releases and daily work.",
        assumed=True,
        also=("manual_steps_of_releases", "to release"),
    ),
    Measure(
        "manual_steps_a_release",
        "Steps by people a release",
        "Those to release, for each release: in all, a level takes the fewer the less it releases.",
        digits=1,
        assumed=True,
    ),
    Measure(
        "releases", "Releases", "How often another model went live, the first one included.", assumed=True
    ),
    Measure("trainings", "Trainings", "How many were begun, whatever came of them.", assumed=True),
    Measure("reproducible", "Can be made again", "A model of the past, byte for byte."),
    Measure("traceable", "Can be traced", "From an answer to the data that taught its model."),
    Measure(
        "machine_seconds",
        "Machine seconds",
        "Processor time of the level's own commands and service; on Linux, libraries are imported once.",
    ),
)
ONE_CADENCE = (
    Measure("mae", "Error", "Mean absolute error, bikes an hour.", digits=1, assumed=True),
    Measure("days_to_recover", "Days to recover", "Mean over the incidents.", digits=1, assumed=True),
    Measure("releases", "Releases", ""),
    Measure("trainings", "Trainings", ""),
)


def rows(measures: tuple[Measure, ...], incidents: bool) -> tuple[Measure, ...]:
    """Those of the measures that there are; without incidents none about them."""
    about = ("days_to_recover", "incidents.*.bad_answers")
    return tuple(each for each in measures if incidents or each.path not in about)
