"""The comparison as a whole: what is put together, written, read again and shown."""

import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from ladder import runbook
from ladder.compare import report, terminal
from ladder.compare.results import Answer, Comparison, Event, ReplayResult
from ladder.levels import level
from ladder.story import Incident, Story
from tests.tool.made import answers, day, replayed, story

DAYS = 80
FIRST, SECOND = Incident("units", day(30), day(31)), Incident("units", day(55), day(56))
BAD = [*[10.0] * 30, *[40.0] * 5, *[10.0] * 45]


def replay_of(number: int, errors: list[float]) -> ReplayResult:
    replies = [
        Answer(question=each, asks="?", command=None, answered=number > 0, says="!", seconds=None)
        for each in ("reproduce", "training_data", "released_by")
    ]
    return replayed(
        number,
        errors,
        releases=[day(0)],
        trainings=number + 1,
        release_steps=3,
        daily_steps=7,
        machine_seconds=12.34,
        events=[Event(on=day(0), kind="released", says="version 1 is live")],
        questions=replies,
    )


def made(
    tale: Story, everyone: dict[int, ReplayResult], again: dict[int, ReplayResult] | None = None
) -> Comparison:
    people = runbook.load_people()
    chosen = [level(number) for number in everyone]
    return report.comparison(
        tale,
        chosen,
        everyone,
        again,
        answers(*[10.0] * DAYS) if tale.incidents else None,
        people,
        runbook.PEOPLE,
        None,
        [],
        1.5,
    )


@pytest.fixture(scope="module")
def both() -> Comparison:
    everyone = {0: replay_of(0, BAD), 1: replay_of(1, [10.0] * DAYS)}
    return made(story(DAYS, FIRST, SECOND), everyone, {0: replay_of(0, [12.0] * DAYS), 1: everyone[1]})


def test_each_level_has_its_measures(both: Comparison) -> None:
    low, high = both.levels["0"], both.levels["1"]
    assert (low.mae, high.mae) == (round((75 * 10 + 5 * 40) / 80, 2), 10.0)
    assert (low.manual_steps, low.manual_steps_of_releases, low.trainings) == (10, 3, 1)
    assert low.manual_steps_per_release == 3 / low.releases
    assert (low.reproducible, low.traceable, high.reproducible, high.traceable) == (False, False, True, True)
    assert [each.days_to_recover for each in low.incidents] == [11, 0]
    assert (low.days_to_recover, high.days_to_recover) == (5.5, 0)
    assert low.incidents[0].bad_hours == 11 * 24
    assert [each.since for each in low.incidents] == [day(30), day(55)]  # two of one kind


def test_the_error_of_seven_days_begins_with_the_seventh(both: Comparison) -> None:
    found = both.levels["0"].error_7_days
    assert len(found) == DAYS
    assert found[:6] == (None,) * 6
    assert (found[6], found[30], found[41]) == (10.0, 14.29, 10.0)
    assert found[34] == round((2 * 10 + 5 * 40) / 7, 2)


def test_the_reference_is_known_from_its_seventh_day_on(both: Comparison) -> None:
    found = both.retrained_daily
    assert found is not None
    assert (found.since, len(found.error_7_days)) == (day(0), DAYS)
    assert found.error_7_days[5:7] == (None, 10.0)
    assert set(found.weekly_mae) == {10.0}


def test_a_day_without_any_hour_has_no_error() -> None:
    tale = story(DAYS)
    gone = tale.clean["timestamp"].dt.date == day(20)
    short = Story(
        tale.name,
        tale.start,
        tale.end,
        tale.clean[~gone].reset_index(drop=True),
        tale.scenario,
        (),
    )
    found = replay_of(0, [10.0] * DAYS)
    found.predictions = found.predictions[~gone].reset_index(drop=True)
    errors = made(short, {0: found}).levels["0"].error_7_days
    assert (errors[19], errors[20], errors[21]) == (10.0, None, 10.0)


def test_with_the_same_dates_there_are_the_same_measures(both: Comparison) -> None:
    assert both.same_dates is not None
    assert (both.same_dates["0"].mae, both.same_dates["1"].mae) == (12.0, 10.0)
    assert both.same_dates_says is not None
    assert "of each month" in both.same_dates_says


def test_assumptions_about_people_are_listed_with_their_reasons(both: Comparison) -> None:
    people = runbook.load_people()
    assert both.assumed_in == "data/people.yaml"
    found = both.assumed["0"]
    assert found.live.says.startswith("on day 1 of January and July: Twice a year")
    assert found.days == people.levels[0].days
    assert all(each.why for each in found.days.values())


def test_a_story_without_incidents_has_nothing_to_recover_from() -> None:
    found = made(story(DAYS), {0: replay_of(0, [10.0] * DAYS), 1: replay_of(1, [10.0] * DAYS)})
    assert (found.retrained_daily, found.same_dates, found.same_dates_says) == (None, None, None)
    assert (found.levels["0"].days_to_recover, found.levels["0"].incidents) == (None, ())
    assert any("the higher levels do not reduce the error" in each for each in found.verdicts)


def test_it_is_the_same_after_writing_and_reading(both: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    path.write_text(both.model_dump_json(), encoding="utf-8")
    assert Comparison.model_validate_json(path.read_bytes()) == both
    assert not any(math.isnan(each) for each in both.levels["0"].error_7_days if each is not None)


def test_it_is_shown_within_80_columns_with_the_numbers_of_the_file(
    both: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show(both, Console(width=80))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    row = next(line for line in shown.splitlines() if line.startswith("0 no MLOps"))
    assert row.split()[3:] == ["11.9", "1", "/", "1", "3", "+", "7", "3.0", "5.5", "264", "no,", "no"]
    assert [line[:2] for line in shown.splitlines() if re.match(r"[0-4] \w", line)] == [
        f"{each} " for each in both.levels
    ]
    reference = next(line for line in shown.splitlines() if "retrained daily  " in line)
    assert both.retrained_daily is not None
    assert reference.split()[-1] == f"{both.retrained_daily.mae:.1f}"
    words = " ".join(shown.split())
    for verdict in both.verdicts:
        assert " ".join(verdict.split()) in words


def test_without_incidents_neither_recovery_nor_bad_hours_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.show(made(story(DAYS), {0: replay_of(0, [10.0] * DAYS)}), Console(width=80))
    shown = capsys.readouterr().out
    assert "error" in shown
    assert "recover" not in shown
    assert "bad" not in shown
