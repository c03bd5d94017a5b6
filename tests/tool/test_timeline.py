"""One release of each level, step by step, as it was played."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from ladder import runbook
from ladder.compare.results import ReplayResult, StepDone
from ladder.compare.timeline import timeline
from ladder.levels import level
from ladder.runbook import Runbook, Team
from ladder.story import Incident
from tests.tool.made import day, replayed, story

GROWTH = Incident("growth", day(40))
UNITS = Incident("units", day(20), day(25))
DAYS = 150


def of(number: int) -> tuple[Runbook, Team]:
    chosen = level(number)
    return runbook.load(chosen.folder), runbook.load_people().team(chosen)


def played(number: int, lives: Sequence[date], released_on: Sequence[date] = (), **more: Any) -> ReplayResult:
    """A replay in which people were ready with a release on each of these days."""
    book, team = of(number)
    steps = []
    for release, live in enumerate(lives):
        on = live - timedelta(days=sum(team.days[step.id].days for step in book.release))
        for step in book.release:
            on += timedelta(days=team.days[step.id].days)
            steps.append(StepDone(release, step.id, on, 8.64))
    return replayed(number, [10.0] * DAYS, steps=steps, releases=list(released_on or lives), **more)


def test_a_release_by_hand_shows_the_days_of_people_and_the_seconds_of_the_machine() -> None:
    found = timeline(story(DAYS, UNITS, GROWTH), *of(1), played(1, [day(0), day(30), day(60), day(90)]))
    assert found is not None
    assert (found.begins, found.live) == (day(52), day(60))
    assert "growth" in found.why
    assert [(step.id, step.begins, step.ends) for step in found.steps] == [
        ("train", 0, 2),
        ("judge", 2, 4),
        ("hand-over", 4, 5),
        ("integrate", 5, 7),
        ("restart", 7, 8),
    ]
    train, judge, hand_over, *_ = found.steps
    assert (train.who, train.seconds, judge.seconds) == ("data scientist", 8.6, None)
    assert hand_over.gives_to == "software engineer"
    assert all(step.assumed for step in found.steps)


def test_a_machine_step_is_measured_and_not_assumed() -> None:
    found = timeline(story(DAYS, GROWTH), *of(2), played(2, [day(0), day(33), day(64)]))
    assert found is not None
    train, look, release = found.steps
    assert (train.assumed, train.seconds) == (None, 8.6)
    assert (train.begins, train.ends) == (0, 0.0001)  # 8.64 seconds of a day
    assert (look.who, look.gives_to, look.ends - look.begins) == ("data scientist", "software engineer", 2)
    assert (release.ends, found.live) == (3.0001, day(64))


def test_the_stretch_of_gates_and_test_ends_on_the_day_on_which_users_got_the_version() -> None:
    live = [day(0), day(36), day(67)]
    found = timeline(story(DAYS, GROWTH), *of(3), played(3, [day(0), day(31), day(61)], live))
    assert found is not None
    assert (found.begins, found.live) == (day(61), day(67))
    train, tested = found.steps
    assert (tested.id, tested.who, tested.assumed, tested.seconds) == ("tested", "machine", None, None)
    assert (tested.begins, tested.ends) == (train.ends, 6)


def test_a_version_that_users_never_got_is_no_release() -> None:
    live = [day(0), day(96)]  # what was trained on day 61 lost its test
    found = timeline(story(DAYS, GROWTH), *of(3), played(3, [day(0), day(61), day(91)], live))
    assert found is not None
    assert (found.begins, found.live) == (day(91), day(96))


def test_a_release_that_a_gate_ended_is_not_shown() -> None:
    # On the day of the refusal another version went live, so that days alone are not enough.
    left = played(2, [day(0), day(64), day(95)])
    left.steps[:] = [
        StepDone(each.release, each.id, each.on, each.seconds, refused="worse")
        if (each.release, each.id) == (1, "release")
        else each
        for each in left.steps
    ]
    found = timeline(story(DAYS, GROWTH), *of(2), left)
    assert found is not None
    assert found.live == day(95)


def test_a_release_that_changed_nothing_for_users_is_not_shown() -> None:
    found = timeline(story(DAYS, GROWTH), *of(2), played(2, [day(0), day(64), day(95)], [day(0), day(95)]))
    assert found is not None
    assert found.live == day(95)


def test_without_a_lasting_incident_the_first_regular_release_is_shown() -> None:
    found = timeline(story(DAYS, UNITS), *of(1), played(1, [day(0), day(30), day(60)]))
    assert found is not None
    assert (found.begins, found.live) == (day(22), day(30))
    assert "after the story began" in found.why
    # Where a release takes no days, the one that is live from the start begins with the story, too.
    found = timeline(story(DAYS), *of(3), played(3, [day(0), day(31)], [day(0), day(36)]))
    assert found is not None
    assert (found.begins, found.live) == (day(31), day(36))


def test_where_there_is_but_one_release_it_is_shown_and_where_none_nothing() -> None:
    found = timeline(story(DAYS, GROWTH), *of(0), played(0, [day(0)]))
    assert found is not None
    assert (found.live, "no other" in found.why) == (day(0), True)
    assert timeline(story(DAYS, GROWTH), *of(0), replayed(0, [10.0] * DAYS)) is None


def test_a_level_that_acts_by_itself_shows_what_it_told() -> None:
    def at(number: int) -> str:
        return f"{day(number)}T00:00:00"

    def training(number: int, outcome: str) -> dict[str, Any]:
        return {"at": at(number), "reason": "42% too low", "detail": {"result": outcome}}

    reported = {
        "trainings": [
            training(0, "went live"),
            training(30, "went live"),
            training(44, "rejected after its A/B test"),
            training(55, "went live"),
        ],
        "incidents": [
            {
                "kind": "error-drift",
                "detected_at": at(50),
                "description": "39% too low",
                "responses": [
                    {"at": at(50), "response": "It cools down."},
                    {"at": at(55), "response": "Trained."},
                ],
                "ended_at": at(60),
            }
        ],
    }
    left = replayed(4, [10.0] * DAYS, reported=reported, releases=[day(0), day(34), day(59)])
    found = timeline(story(DAYS, GROWTH), *of(4), left)
    assert found is not None
    assert (found.begins, found.live) == (day(50), day(59))
    assert [(step.id, step.begins, step.ends) for step in found.steps] == [
        ("notice", 0, 0),
        ("wait", 0, 5),
        ("train", 5, 5),
        ("tested", 5, 9),
    ]
    assert "39% too low" in found.steps[0].does
    assert found.steps[1].does == "It cools down."
    assert {step.who for step in found.steps} == {"machine"}
