"""Comparisons to look at: made from a seed within the contract of `compare.json`, without a replay."""

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import fmean

import numpy as np

from ladder.compare.results import (
    Answer,
    Comparison,
    Event,
    IncidentResult,
    LevelResult,
    Machine,
    Releases,
    RetrainedDaily,
    StoryFacts,
    Timeline,
    TimelineStep,
)
from ladder.levels import levels
from ladder.runbook import Days, Duration, Role, Team
from ladder.story import Incident

START = date(2011, 12, 25)
INCIDENTS = (
    Incident(kind="growth", since=date(2012, 1, 9), until=None),
    Incident(kind="units", since=date(2012, 3, 5), until=date(2012, 3, 11)),
)
EVERY = {0: 182, 1: 91, 2: 31, 3: 30, 4: 11}  # days between two releases
TAKES = {0: 21, 1: 8, 2: 3, 3: 0, 4: 0}  # days that a release takes people
WAITS = {0: 0.0, 1: 0.0, 2: 0.0, 3: 7.0, 4: 7.0}  # days that a test takes a machine
STEPS: dict[int, tuple[tuple[str, Role, Role | None, int, str], ...]] = {
    0: (
        ("export", "data engineer", "data scientist", 0, "Downloads the months and mails the file."),
        (
            "explore",
            "data scientist",
            None,
            5,
            "Opens the notebook, runs all cells until the score looks good.",
        ),
        (
            "judge",
            "data scientist",
            None,
            2,
            "Shows the score to colleagues, who agree that it is good enough.",
        ),
        ("write-down", "data scientist", None, 3, "Says in README.txt what goes in and what comes out."),
        ("mail", "data scientist", "data engineer", 1, "Mails the folder with the pickled model in it."),
        ("install", "data engineer", None, 10, "Saves the model and installs packages until it loads."),
        ("check", "data engineer", None, 0, "Scores a day and looks whether the numbers seem right."),
    ),
    1: (
        ("train", "data scientist", None, 2, "Trains a model on whichever machine is free."),
        ("judge", "data scientist", None, 2, "Looks at the error on the screen."),
        ("hand-over", "data scientist", "software engineer", 1, "Hands over the folder with the model."),
        ("integrate", "software engineer", None, 2, "Tries the model in the application."),
        ("restart", "software engineer", None, 1, "Restarts the service."),
    ),
    2: (
        ("train", "machine", None, 0, "Gathers, validates, trains, evaluates and registers, on a schedule."),
        ("review", "data scientist", "software engineer", 2, "Looks at errors and plots in MLflow."),
        ("release", "software engineer", None, 1, "Puts the version live, after its integration test."),
    ),
    3: (
        ("train", "machine", None, 0, "Trains on the schedule and goes on to deploy."),
        ("gates", "machine", None, 0, "Every gate in the test environment."),
        ("ab", "machine", None, 0, "The A/B test against the live version, on real requests."),
        ("promote", "machine", None, 0, "Puts the better of the two live."),
    ),
    4: (
        (
            "reason",
            "machine",
            None,
            0,
            "Production error is 1.6 times the reference error: retrains on fresh rows.",
        ),
        ("train", "machine", None, 0, "Trains, evaluates and registers a candidate."),
        ("ab", "machine", None, 0, "The A/B test against the live version, on real requests."),
        ("promote", "machine", None, 0, "Puts the better of the two live, and watches it."),
    ),
}
ASKS = {
    "reproduce": "Can you make the model of last March again?",
    "training_data": "Which data was the model of this prediction trained on?",
    "released_by": "Who put it live and why?",
}


def seeded(
    chosen: Sequence[int] = (0, 1, 2, 3, 4),
    *,
    start: date = START,
    days: int = 85,
    incidents: Sequence[Incident] = INCIDENTS,
    same_dates: bool = True,
) -> Comparison:
    """A comparison of these levels over `days` days.

    A level releases as often as EVERY says and is worse the older its model is. Level 1 loses requests in the
    second incident; levels 0 to 2 cannot answer everything; level 1 has no timeline where nothing happens.
    """
    end = start + timedelta(days=days - 1)
    ideal = _smooth(_world(days, start, incidents), seed=99, noise=2.0)
    return Comparison(
        story=StoryFacts(
            name="short",
            title="The short story",
            says="Twelve weeks: from 9 January on demand is 1.6 times as high, and early in March there is"
            " one week of Fahrenheit."
            if incidents
            else "A winter in which nothing happens.",
            start=start,
            end=end,
            hours=days * 24 - 17,
            feed="simulated",
            incidents=tuple(incidents),
            skipped=(),
        ),
        levels={str(number): _level(number, start, days, incidents) for number in chosen},
        same_dates={str(number): _once_more(number, start, days, incidents) for number in chosen}
        if same_dates
        else None,
        same_dates_says="on day 1 of each month: often enough for every level." if same_dates else None,
        retrained_daily=RetrainedDaily(
            since=start + timedelta(days=7),
            mae=round(fmean(ideal[13:]), 2),
            weekly_mae=(None, *_weekly(ideal)[1:]),
            error_7_days=(*[None] * 13, *ideal[13:]),
        )
        if incidents
        else None,
        assumed={str(number): _assumed(number) for number in chosen},
        assumed_in="data/people.yaml",
        verdicts=(
            "Level by level the error falls, from 92.6 to 64.2 bikes an hour; level 4 recovers from the step "
            "in demand in 13 days, level 0 in 71.",
            "Level 0 takes people 560 steps in a winter, level 4 none.",
            "Between levels 2 and 3 the error hardly differs: what level 3 saves is people's time.",
        ),
        machine=Machine(python="3.11.2", system="Linux", cores=4),
        wall_seconds=214.6,
    )


def _world(
    days: int, start: date, incidents: Sequence[Incident]
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """How hard each day is for a model that is always fresh."""
    hard = 27 + 9 * np.sin(np.arange(days) / 23)
    for each in incidents:
        at = (each.since - start).days
        hard[at : at + 5] += 22
    return hard


def _smooth(hard: "np.ndarray[tuple[int], np.dtype[np.float64]]", seed: int, noise: float) -> list[float]:
    day = hard + np.random.default_rng(seed).normal(0, noise, len(hard))
    week = [float(np.mean(day[max(0, at - 6) : at + 1])) for at in range(len(day))]
    return [round(each, 2) for each in week]


def _weekly(days: Sequence[float | None]) -> tuple[float | None, ...]:
    return tuple(days[min(at + 6, len(days) - 1)] for at in range(0, len(days), 7))


def _released(number: int, start: date, days: int, every: int) -> tuple[date, ...]:
    first = TAKES[number] + int(WAITS[number])
    return (start, *(start + timedelta(days=at) for at in range(first + 13, days, every)))


def _errors(
    number: int, start: date, days: int, incidents: Sequence[Incident], released: Sequence[date]
) -> list[float]:
    hard = _world(days, start, incidents)
    level = np.zeros(days)
    for each in incidents:
        at = (each.since - start).days
        if each.until is None:  # hurts until the first release that has seen two weeks of it
            taught = each.since + timedelta(days=14 + TAKES[number])
            well = next((day for day in released if day >= taught), start + timedelta(days=days))
            level[at : (well - start).days] += 75
            level[(well - start).days :] += 10 * (4 - number) / 4
        elif number < 4:
            level[at : (each.until - start).days + 1] += 60
    age = np.array(
        [(start + timedelta(days=at) - max(d for d in released if d <= start + timedelta(days=at))).days
         for at in range(days)]
    )  # fmt: skip
    return _smooth(hard + level + 0.12 * age + 3 * (4 - number) / 4, seed=number, noise=5.0)


def _events(released: Sequence[date], number: int) -> tuple[Event, ...]:
    return tuple(
        Event(on=day, kind="released", says=f"version {at} went live")
        for at, day in enumerate(released[1:], 2)
    ) + ((Event(on=released[-1] + timedelta(days=1), kind="refused", says="a gate: worse than the live one"),)
         if number > 1 else ())  # fmt: skip


def _incident(number: int, each: Incident, end: date, events: Sequence[Event]) -> IncidentResult:
    passes = each.until is not None
    noticed = None if number < 2 and passes else {0: 24, 1: 12, 2: 9, 3: 3, 4: 1}[number]
    return IncidentResult(
        kind=each.kind,
        since=each.since,
        days_to_notice=noticed,
        noticed_by=None
        if noticed is None
        else "users"
        if number < 2
        else ("gate of train", "watch", "loop: error-drift of demand")[number - 2],
        done=tuple(one for one in events if each.since <= one.on <= each.since + timedelta(days=60)),
        days_to_recover=(
            (end - each.since).days if number == 0 else 0 if passes and number == 4 else 60 - 12 * number
        ),
        recovered=number > 0,
        bad_hours=1900 - 430 * number,
    )


def _made(number: int, start: date, days: int, incidents: Sequence[Incident], every: int) -> Releases:
    released = _released(number, start, days, every)
    errors = _errors(number, start, days, incidents, released)
    return Releases(
        mae=round(float(np.mean(errors)), 2),
        releases=len(released),
        released_on=released,
        trainings=len(released) + number // 3,
        days_to_recover=round(70.5 - 14.25 * number, 2) if incidents else None,
    )


def _once_more(number: int, start: date, days: int, incidents: Sequence[Incident]) -> Releases:
    return _made(number, start, days, incidents, 30)


def _level(number: int, start: date, days: int, incidents: Sequence[Incident]) -> LevelResult:
    known = _made(number, start, days, incidents, EVERY[number])
    errors = _errors(number, start, days, incidents, known.released_on)
    by_hand = sum(who != "machine" for _, who, *_ in STEPS[number]) * known.releases
    end = start + timedelta(days=days - 1)
    events = _events(known.released_on, number)
    return LevelResult(
        **known.model_dump(),
        name=next(each.name for each in levels() if each.number == number),
        weekly_mae=_weekly(errors),
        error_7_days=(*[None] * 6, *errors[6:]),
        manual_steps=by_hand + (3 * days if number == 0 else 0),
        manual_steps_of_releases=by_hand,
        manual_steps_per_release=round(by_hand / max(1, known.releases), 2),
        failed_requests=168 if number == 1 and len(incidents) > 1 else 0,
        reproducible=number >= 2,
        traceable=number >= 3,
        machine_seconds=(10.3, 28.2, 63.2, 94.4, 316.7)[number],
        incidents=tuple(_incident(number, each, end, events) for each in incidents),
        events=events,
        questions=_questions(number),
        timeline=None if number == 1 and not incidents else _timeline(number, known.released_on[-1]),
    )


def _questions(number: int) -> tuple[Answer, ...]:
    commands = {
        "reproduce": "python -m bike_demand reproduce 4b1f0c",
        "training_data": "python -m bike_demand trace 01J8 --rows",
        "released_by": "python -m bike_demand trace 01J8",
    }
    least = {"reproduce": 2, "training_data": 3, "released_by": 3}
    says = {
        "reproduce": "identical: the same data and code gave the same model, byte for byte",
        "training_data": "run 4b1f0c, data of 2012-03-01, 10,848 rows, SHA-256 9f2a…",
        "released_by": "deployed 2012-03-03 by the pipeline, because it was better in the A/B test",
    }
    no = "No: the export was overwritten, and <nobody> noted which packages were there."
    return tuple(
        Answer(
            question=question,  # type: ignore[arg-type]
            asks=asks,
            command=commands[question] if number >= least[question] else None,
            answered=number >= least[question],
            says=says[question] if number >= least[question] else no,
            seconds=3.4 if number >= least[question] else None,
        )
        for question, asks in ASKS.items()
    )


def _timeline(number: int, day: date) -> Timeline:
    at, steps = 0.0, []
    for name, who, to, takes, does in STEPS[number]:
        waits = WAITS[number] if name == "ab" else 0.0
        ends = at + takes + waits + (0.0001 if takes + waits == 0 else 0)
        steps.append(
            TimelineStep(
                id=name,
                who=who,
                gives_to=to,
                does=does,
                begins=at,
                ends=ends,
                seconds=8.4 if name in ("train", "gates", "integrate", "release", "promote") else None,
                assumed="Next to other work." if who != "machine" else None,
            )
        )
        at += takes + waits
    return Timeline(
        begins=day - timedelta(days=round(at)),
        live=day,
        why="It is the last one that went live in the story.",
        steps=tuple(steps),
    )


def _assumed(number: int) -> Team:
    why = ("Twice a year.", "Once a quarter.", "Monthly, a person releases.", "Monthly.", "No date.")
    return Team(
        live=Days(days=(), months=(), why=why[number]),
        days={
            name: Duration(days=takes, why="Next to other work." if takes else "At once.")
            for name, _, _, takes, _ in STEPS[number]
        },
    )
