"""Scenarios: events change the world from their date on, faults change only what is reported."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ladder import UserError
from ladder.world import SCENARIOS
from ladder.world.faults import as_requested, publish
from ladder.world.feedfile import INPUTS, read_feed, write_feed
from ladder.world.scenario import (
    Outage,
    Poison,
    Scenario,
    Units,
    known_scenarios,
    load_scenario,
)
from ladder.world.simulator import simulate

END = pd.Timestamp("2013-01-01")


def same_hours(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    return first.merge(second, on="timestamp", suffixes=("", "_other"))


def test_the_scenarios_of_the_project_are_all_there() -> None:
    expected = {"calm", "growth", "units", "outage", "new-habits", "poison", "short", "default"}
    assert set(known_scenarios()) == expected


@pytest.mark.parametrize("name", known_scenarios())
def test_a_scenario_loads_and_says_what_happens(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.says.endswith(".")
    for happening in (*scenario.events, *scenario.faults):
        if scenario.start and scenario.end:
            assert scenario.start <= happening.since <= scenario.end


@pytest.mark.parametrize("name", ["short", "growth", "new-habits", "default"])
def test_an_event_changes_nothing_before_its_date(name: str) -> None:
    scenario = load_scenario(name)
    day = pd.Timestamp(min(event.since for event in scenario.events))
    without = simulate(scenario.model_copy(update={"events": ()}))
    with_event = simulate(scenario)
    before = without["timestamp"] < day
    pd.testing.assert_frame_equal(with_event[with_event["timestamp"] < day], without[before])
    after = same_hours(with_event, without[~before])
    assert (after["count"] != after["count_other"]).mean() > 0.5
    for column in INPUTS[1:]:
        assert after[column].equals(after[f"{column}_other"].rename(column))


def test_the_short_story_is_the_committed_feed_before_its_event(committed: pd.DataFrame) -> None:
    scenario = load_scenario("short")
    day = pd.Timestamp(scenario.events[0].since)
    story = simulate(scenario)
    pd.testing.assert_frame_equal(story[story["timestamp"] < day], committed[committed["timestamp"] < day])


def test_growth_is_coupled_no_hour_has_fewer_rentals(committed: pd.DataFrame) -> None:
    scenario = load_scenario("short")
    both = same_hours(simulate(scenario), committed)
    after = both[both["timestamp"] >= pd.Timestamp(scenario.events[0].since)]
    assert (after["count"] >= after["count_other"]).all()
    assert after["count"].sum() / after["count_other"].sum() == pytest.approx(1.6, abs=0.01)


def test_new_habits_flatten_the_peaks_and_keep_the_total(committed: pd.DataFrame) -> None:
    scenario = load_scenario("new-habits")
    both = same_hours(simulate(scenario), committed)
    after = both[(both["timestamp"] >= pd.Timestamp(scenario.events[0].since)) & (both["workingday"] == 1)]
    hours = after.groupby(after["timestamp"].dt.hour)[["count", "count_other"]].mean()
    change = hours["count"] / hours["count_other"]
    assert change[8] < 0.7
    assert change[17] < 0.8
    assert change[13] > 1.3
    assert after["count"].sum() / after["count_other"].sum() == pytest.approx(1, abs=0.03)
    days_off = both[both["workingday"] == 0]
    assert days_off["count"].equals(days_off["count_other"].rename("count"))


@pytest.mark.parametrize("name", ["units", "outage", "poison"])
def test_a_fault_is_not_in_the_world(name: str, committed: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(simulate(load_scenario(name)), committed)


def test_publishing_leaves_the_clean_feed_unchanged(committed: pd.DataFrame) -> None:
    before = committed.copy(deep=True)
    faults = [fault for name in ("units", "outage", "poison") for fault in load_scenario(name).faults]
    publish(committed, END, faults)
    as_requested(committed, faults)
    pd.testing.assert_frame_equal(committed, before)


def test_publish_ends_before_the_date(committed: pd.DataFrame) -> None:
    shown = publish(committed, pd.Timestamp("2011-02-01"), ())
    assert shown["timestamp"].iloc[-1] == pd.Timestamp("2011-01-31 23:00")
    pd.testing.assert_frame_equal(publish(committed, END, ()), committed)


def test_units_are_fahrenheit_on_their_days_and_for_requests_too(committed: pd.DataFrame) -> None:
    (fault,) = load_scenario("units").faults
    days = committed["timestamp"].between(pd.Timestamp("2012-05-07"), pd.Timestamp("2012-05-16 23:00"))
    for shown in (publish(committed, END, [fault]), as_requested(committed, [fault])):
        for column in ("temp_c", "feels_like_c"):
            expected = committed[column].where(~days, committed[column] * 1.8 + 32)
            np.testing.assert_allclose(shown[column], expected, atol=0.006)
            assert shown.loc[days, column].min() > 35
        pd.testing.assert_series_equal(shown["humidity"], committed["humidity"])


def test_an_outage_loses_hours_for_good_and_shows_the_rest_later(committed: pd.DataFrame) -> None:
    (fault,) = load_scenario("outage").faults
    assert isinstance(fault, Outage)
    first, after = pd.Timestamp("2011-11-07"), pd.Timestamp("2011-11-21")

    def hours(frame: pd.DataFrame) -> set[pd.Timestamp]:
        return set(frame.loc[frame["timestamp"].between(first, after, inclusive="left"), "timestamp"])

    happened, arrived = hours(committed), hours(publish(committed, END, [fault]))
    assert len(arrived) / len(happened) == pytest.approx(0.75, abs=0.08)
    seen: set[pd.Timestamp] = set()
    for day in pd.date_range(first, after + pd.Timedelta(days=3)):
        shown = hours(publish(committed, day, [fault]))
        assert seen <= shown <= arrived
        assert shown == {hour for hour in arrived if hour + pd.Timedelta(hours=1 + fault.late_hours) <= day}
        seen = shown
    assert seen == arrived
    during = publish(committed, END, [fault])
    inside = during["timestamp"].between(first, after, inclusive="left")
    assert during.loc[inside, "humidity"].isna().all()
    assert during.loc[~inside, "humidity"].notna().all()


def test_requests_in_an_outage_are_asked_for_every_hour_without_humidity(committed: pd.DataFrame) -> None:
    requests = as_requested(committed, load_scenario("outage").faults)
    assert list(requests.columns) == INPUTS
    assert requests["timestamp"].equals(committed["timestamp"])
    days = requests["timestamp"].between(pd.Timestamp("2011-11-07"), pd.Timestamp("2011-11-20 23:00"))
    assert requests["humidity"].isna().equals(days.rename("humidity"))


@pytest.mark.parametrize("split", [True, False])
def test_poisoned_counts_still_add_up(tmp_path: Path, committed: pd.DataFrame, split: bool) -> None:
    (fault,) = load_scenario("poison").faults
    assert isinstance(fault, Poison)
    clean = committed.copy()
    if not split:
        clean["casual"] = clean["registered"] = pd.array([pd.NA] * len(clean), dtype="Int64")
    shown = publish(clean, END, [fault])
    write_feed(shown, tmp_path)
    pd.testing.assert_frame_equal(read_feed(tmp_path), shown)
    days = clean["timestamp"].between(pd.Timestamp(fault.since), pd.Timestamp("2012-07-22 23:00"))
    expected = clean["count"].where(~days, clean["count"] * 4)
    pd.testing.assert_series_equal(shown["count"], expected)


def test_poison_is_not_in_requests(committed: pd.DataFrame) -> None:
    requests = as_requested(committed, load_scenario("poison").faults)
    pd.testing.assert_frame_equal(requests, committed[INPUTS])


def test_faults_of_a_story_can_be_laid_over_each_other(committed: pd.DataFrame) -> None:
    dates = {"from": "2012-05-01", "to": "2012-05-02"}
    faults = (
        Units.model_validate({"kind": "units", **dates}),
        Outage.model_validate({"kind": "outage", **dates, "missing_share": 0.5}),
        Poison.model_validate({"kind": "poison", **dates, "factor": 0.5}),
    )
    shown = publish(committed, END, faults).set_index("timestamp")["2012-05-01":"2012-05-02"]
    clean = committed.set_index("timestamp").loc[shown.index]
    assert 10 < len(shown) < 40
    assert shown["humidity"].isna().all()
    assert (shown["temp_c"] > clean["temp_c"]).all()
    assert (shown["casual"] + shown["registered"] == shown["count"]).all()
    assert shown["count"].sum() == pytest.approx(clean["count"].sum() / 2, rel=0.05)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title = 'x'", "says: Field required"),
        ("title = 'x'\nsays = 'y.'\nfactor = 2", "factor: Extra inputs are not permitted"),
        ("title = 'x'\nsays = 'y.'\n[world]\ntred = 'flat'", "world.tred: Extra inputs are not permitted"),
        (
            "title = 'x'\nsays = 'y.'\n[world]\ntrend = 'up'",
            "world.trend: Input should be 'gradual' or 'flat'",
        ),
        ("title = 'x'\nsays = 'y.'\nstart = 2011-10-01", "start and end belong together"),
        ("title = 'x'\nsays = 'y.'\nstart = 2011-10-01\nend = 2011-09-01", "end is before start"),
        (
            "title = 'x'\nsays = 'y.'\n[[event]]\nkind = 'growth'\nfactor = 2",
            "event.0.growth.from: Field required",
        ),
        (
            "title = 'x'\nsays = 'y.'\n[[event]]\nkind = 'growth'\nfrom = 2012-01-01\nfactor = -1",
            "event.0.growth.factor: Input should be greater than 0",
        ),
        ("title = 'x'\nsays = 'y.'\n[[event]]\nkind = 'rain'", "event.0: Input tag 'rain'"),
        (
            "title = 'x'\nsays = 'y.'\n[[fault]]\nkind = 'units'\nfrom = 2012-05-07\nto = 2012-05-06",
            "fault.0.units: to is before from",
        ),
        (
            "title = 'x'\nsays = 'y.'\n[[fault]]\nkind = 'outage'\nfrom = 2012-05-07\nto = 2012-05-07\n"
            "late_hours = 649",
            "fault.0.outage.late_hours: Input should be less than or equal to 648",
        ),
        ("title = ", "not TOML"),
    ],
)
def test_a_badly_written_scenario_is_refused_with_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_scenario(str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_scenario_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="no scenario clam: choose one of calm, default, growth"):
        load_scenario("clam")


def test_a_scenario_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes((SCENARIOS / "growth.toml").read_bytes())
    scenario = load_scenario(str(path))
    assert scenario.name == "mine"
    assert scenario.events == load_scenario("growth").events
    assert isinstance(scenario, Scenario)


def test_what_the_operator_corrected_is_as_it_happened_and_the_rest_is_not(committed: pd.DataFrame) -> None:
    faults = [fault for name in ("units", "outage", "poison") for fault in load_scenario(name).faults]
    day = pd.Timestamp("2012-05-10")  # in the middle of the wrong units, after the outage
    shown, wrong = publish(committed, END, faults, corrected=day), publish(committed, END, faults)

    def part(frame: pd.DataFrame, before: bool) -> pd.DataFrame:
        return frame[(frame["timestamp"] < day) == before].reset_index(drop=True)

    pd.testing.assert_frame_equal(part(shown, True), part(committed, True))
    pd.testing.assert_frame_equal(part(shown, False), part(wrong, False))
    assert len(part(wrong, True)) < len(part(shown, True))
    assert not part(shown, False).equals(part(committed, False))
