"""Who noticed an incident, what was done, and for how many hours users got bad answers."""

from datetime import date
from typing import Any

import pytest

from ladder.compare import incidents, measures
from ladder.compare.results import Event, IncidentResult, ReplayResult, StepDone
from ladder.runbook import Complaints
from ladder.story import Incident, Story
from tests.tool.made import answers, day, replayed, story

COMPLAINTS = Complaints(times=1.5, days=7, why="")
UNITS = Incident("units", day(30), day(39))
GROWTH = Incident("growth", day(30))
RIGHT, WRONG = [10.0] * 30, [40.0] * 15


def results(tale: Story, found: ReplayResult) -> tuple[IncidentResult, ...]:
    oracle = measures.daily_error(
        answers(*[10.0] * len(tale.clean["timestamp"].dt.date.unique())), tale.clean
    )
    days = measures.daily_error(found.predictions, tale.clean)
    return incidents.results(tale, found, days, oracle, COMPLAINTS)


def own_incident(kind: str, noticed: date, what: str = "Version 2 was trained.") -> dict[str, Any]:
    at = f"{noticed}T00:00:00"
    return {
        "kind": kind,
        "subject": "temp_c",
        "since": at,
        "detected_at": at,
        "description": "temp_c changes its unit.",
        "responses": [{"at": at, "response": what}],
        "ended_at": None,
    }


def test_users_complain_once_a_week_was_much_worse_than_they_are_used_to_for_a_week() -> None:
    (found,) = results(story(80, UNITS), replayed(0, [*RIGHT, *WRONG, *[10.0] * 35]))
    # One day of 40 makes the week (6 * 10 + 40) / 7 = 14.3, the second day 18.6: above 15 from then on.
    assert (found.noticed_by, found.days_to_notice) == ("users", 7)
    assert "1.5 times the 10.0 bikes an hour" in found.done[0].says


def test_users_who_are_given_what_they_are_used_to_do_not_complain() -> None:
    (found,) = results(story(80, UNITS), replayed(0, [10.0] * 80))
    assert (found.noticed_by, found.days_to_notice, found.done) == (None, None, ())
    assert (found.days_to_recover, found.recovered, found.bad_hours) == (0, True, 0)


def test_bad_hours_are_those_predicted_until_the_errors_are_normal_again() -> None:
    (found,) = results(story(80, UNITS), replayed(0, [*RIGHT, *WRONG, *[10.0] * 35]))
    # A week with one bad day is not normal (14.3 against 10), so it takes six more days after the last one.
    assert (found.days_to_recover, found.recovered) == (21, True)
    assert found.bad_hours == 21 * 24


def test_an_hour_without_an_answer_is_no_bad_answer() -> None:
    errors = [*RIGHT, *WRONG, *[10.0] * 35]
    errors[31] = float("nan")
    (found,) = results(story(80, UNITS), replayed(0, errors))
    assert found.bad_hours == 20 * 24


def test_who_does_not_recover_before_the_next_incident_is_reported_how_long_that_was() -> None:
    again = Incident("units", day(50), day(51))
    first, second = results(story(80, UNITS, again), replayed(0, [*RIGHT, *[40.0] * 50]))
    assert (first.since, first.days_to_recover, first.recovered) == (day(30), 20, False)
    assert (second.since, second.days_to_recover, second.recovered) == (day(50), 30, False)
    assert (first.bad_hours, second.bad_hours) == (20 * 24, 30 * 24)


def test_a_gate_that_refuses_during_an_incident_notices_before_users_do() -> None:
    refused = StepDone(3, "train", day(32), 1.0, refused="temperatures changed their unit")
    event = Event(on=day(32), kind="refused", says="train: temperatures changed their unit")
    later = Event(on=day(44), kind="released", says="version 3 is live")
    far = Event(on=day(70), kind="released", says="version 4 is live")
    (found,) = results(
        story(80, UNITS),
        replayed(2, [*RIGHT, *WRONG, *[10.0] * 35], steps=[refused], events=[event, later, far]),
    )
    assert (found.noticed_by, found.days_to_notice) == ("gate of train", 2)
    assert found.done == (event, later)


@pytest.mark.parametrize("number", [20, 30, 75])
def test_what_is_refused_before_an_incident_could_be_seen_or_long_after_it_notices_nothing(
    number: int,
) -> None:
    refused = StepDone(3, "train", day(number), 1.0, refused="too few hours")
    (found,) = results(story(80, UNITS), replayed(2, [10.0] * 80, steps=[refused]))
    assert found.noticed_by is None


def test_what_the_loop_noticed_counts_where_it_is_of_that_kind() -> None:
    own = own_incident("data-quality", day(31), "Nothing is trained.")
    reported = {"incidents": [own_incident("error-drift", day(31)), own], "releases": [], "trainings": []}
    (found,) = results(story(80, UNITS), replayed(4, [*RIGHT, *WRONG, *[10.0] * 35], reported=reported))
    assert (found.noticed_by, found.days_to_notice) == ("loop: data-quality of temp_c", 1)
    assert [(each.kind, each.says) for each in found.done] == [
        ("noticed", "data-quality, temp_c: temp_c changes its unit."),
        ("acted", "Nothing is trained."),
    ]
    (found,) = results(story(80, GROWTH), replayed(4, [*RIGHT, *WRONG, *[10.0] * 35], reported=reported))
    assert found.noticed_by == "loop: error-drift of temp_c"


def test_two_incidents_of_one_kind_have_results_of_their_own() -> None:
    again = Incident("units", day(70), day(71))
    first, second = results(story(100, UNITS, again), replayed(0, [*RIGHT, *WRONG, *[10.0] * 55]))
    assert (first.days_to_recover, second.days_to_recover) == (21, 0)
    assert (first.noticed_by, second.noticed_by) == ("users", None)


def test_what_the_loop_told_becomes_events() -> None:
    back = {"at": "2012-02-02T00:00:00", "version": 1, "rolled_back": 2}
    reported = {"incidents": [own_incident("data-quality", day(40))], "releases": [back], "trainings": []}
    found = incidents.reported_events(replayed(4, [10.0], reported=reported))
    assert [(each.on, each.kind) for each in found] == [
        (date(2012, 2, 2), "rolled back"),
        (day(40), "noticed"),
    ]
