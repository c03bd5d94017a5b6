"""The findings of a comparison, also those against the higher levels."""

from typing import Any

import pytest

from ladder.compare.results import (
    Answer,
    IncidentResult,
    LevelResult,
    Releases,
    StoryFacts,
)
from ladder.compare.verdict import verdicts
from ladder.runbook import Question
from ladder.story import Incident
from tests.tool.made import START, day

STORY = StoryFacts(
    name="made", title="Made", says="", start=START, end=day(99), hours=2400, feed="simulated", incidents=()
)
ALL: tuple[Question, ...] = ("reproduce", "training_data", "released_by")


def level(mae: float, **more: Any) -> LevelResult:
    given: dict[str, Any] = {
        "mae": mae,
        "releases": 1,
        "released_on": (),
        "trainings": 1,
        "days_to_recover": None,
        "name": "Made",
        "weekly_mae": (),
        "error_7_days": (),
        "manual_steps": 10,
        "manual_steps_of_releases": 10,
        "manual_steps_per_release": 10.0,
        "failed_requests": 0,
        "reproducible": False,
        "traceable": False,
        "machine_seconds": 1.0,
        "incidents": (),
        "events": (),
        "questions": (),
        "timeline": None,
    }
    return LevelResult(**given | more)


def incident(days: int, **more: Any) -> IncidentResult:
    given: dict[str, Any] = {
        "kind": "units",
        "since": day(30),
        "days_to_notice": None,
        "noticed_by": None,
        "done": (),
        "days_to_recover": days,
        "recovered": True,
        "bad_hours": 0,
    }
    return IncidentResult(**given | more)


def findings(*levels: LevelResult, story: StoryFacts = STORY, **same_dates: float) -> str:
    again = {number.lstrip("l"): releases(mae) for number, mae in same_dates.items()}
    return "\n".join(verdicts(story, {str(n): each for n, each in enumerate(levels)}, again or None))


def releases(mae: float) -> Releases:
    return Releases(mae=mae, releases=1, released_on=(), trainings=1, days_to_recover=None)


@pytest.mark.parametrize(
    ("mae", "word"),
    [(97.0, "better"), (98.5, "hardly different"), (101.5, "hardly different"), (103.0, "worse")],
)
def test_errors_within_a_fiftieth_hardly_differ(mae: float, word: str) -> None:
    assert f"error {word} ({mae:.1f} against 100.0)" in findings(level(100.0), level(mae))


@pytest.mark.parametrize(("swings", "word"), [(1.0, "better"), (40.0, "perhaps better")])
def test_where_the_weeks_disagree_an_error_is_perhaps_better(swings: float, word: str) -> None:
    low = level(100.0, weekly_mae=(100.0, None) * 6)
    high = level(90.0, weekly_mae=(90.0 - swings, 50.0, 90.0 + swings, None) * 3)
    assert f"error {word} (90.0 against 100.0)" in findings(low, high)


def test_a_level_that_is_worse_in_one_thing_is_reported_so() -> None:
    found = findings(
        level(100.0, days_to_recover=10.0, incidents=(incident(10),)),
        level(
            80.0, days_to_recover=20.0, incidents=(incident(20, recovered=False),), manual_steps_per_release=2
        ),
    )
    assert (
        "Level 1 compared with level 0: error better (80.0 against 100.0); days to recover worse"
        " (at least 20.0 against 10.0); manual steps per release better (2.0 against 10.0), in all 10 against"
        " 10." in found
    )


def test_no_level_with_a_lower_error_is_reported() -> None:
    found = findings(level(50.0), level(49.0), level(52.0))
    assert "the higher levels do not reduce the error" in found


def test_a_single_level_without_benefit_is_named() -> None:
    found = findings(level(100.0), level(80.0), level(90.0))
    assert "Level 2 does not reduce the error compared with level 1" in found
    assert "the higher levels" not in found


def test_the_difference_is_split_into_practice_and_release_dates() -> None:
    found = findings(level(90.0), level(70.0), l0=80.0, l1=75.0)
    assert "level 0 to 1 -20.0 in all: -5.0 by practice (same release dates), -15.0 by release dates" in found
    assert "release dates" not in findings(level(90.0), level(70.0))


def test_who_noticed_is_reported_for_each_level() -> None:
    found = findings(
        level(90.0, incidents=(incident(5, noticed_by="users", days_to_notice=9),)),
        level(80.0, incidents=(incident(5, noticed_by="loop: data-quality", days_to_notice=1),)),
        level(80.0, incidents=(incident(5),)),
    )
    assert (
        "level 0: users 1 (after 9 days); level 1: the level itself 1 (after 1 day);"
        " level 2: unnoticed 1." in found
    )


def test_incidents_of_one_kind_that_were_not_recovered_from_are_distinguished() -> None:
    facts = STORY.model_copy(
        update={
            "incidents": (
                Incident(kind="units", since=day(30), until=day(31)),
                Incident(kind="units", since=day(60), until=None),
            )
        }
    )
    stuck = (incident(5), incident(40, since=day(60), recovered=False))
    found = findings(level(90.0, incidents=stuck), story=facts)
    assert f"Level 0 did not recover from units ({day(60)})" in found
    assert f"{day(30)}" not in found


def test_questions_that_nobody_could_answer_are_named() -> None:
    def replies(*answered: Question) -> tuple[Answer, ...]:
        return tuple(
            Answer(question=each, asks="", command=None, answered=each in answered, says="", seconds=None)
            for each in ALL
        )

    found = findings(
        level(90.0, questions=replies()), level(80.0, questions=replies("reproduce", "training_data"))
    )
    assert (
        "nobody at level 0 can reproduce the old model, name the data it was trained on or name who" in found
    )
    assert "nobody at level 1 can name who released it, and why." in found
    found = findings(level(90.0, questions=replies(*ALL)), level(80.0, questions=replies(*ALL)))
    assert "At levels 0 and 1 all three questions about an old prediction can be answered." in found


def test_requests_without_an_answer_are_reported() -> None:
    assert "At level 0, 24 of 2,400 requests failed." in findings(level(90.0, failed_requests=24))
    assert "requests failed" not in findings(level(90.0))
