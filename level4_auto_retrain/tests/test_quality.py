"""What is wrong with data: each kind is found, told apart, and over when it is right again."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from bike_demand.data.quality import Finding, arrival, gaps, inputs, targets
from bike_demand.data.schema import Hour
from bike_demand.settings import load_settings
from tests.conftest import ROOT
from tests.spoilt import Change, fahrenheit, feed_hours, fourfold, no_humidity, spoilt, without

SETTINGS = load_settings(ROOT / "params.yaml").monitoring.quality
END = datetime(2011, 4, 1)
ROWS = feed_hours()
COUNTS = {row.timestamp: row.count for row in ROWS}


def found(rows: Sequence[Hour]) -> list[Finding]:
    """All checks on a feed whose counts the application was told all along."""
    asked = [row.timestamp for row in ROWS]
    return [*inputs(rows, SETTINGS), *gaps(rows, asked, SETTINGS), *targets(rows, COUNTS, {}, SETTINGS)]


def names(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(each.check, each.subject) for each in findings]


def changed(first: str, last: str) -> tuple[datetime, ...]:
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return tuple(row.timestamp for row in ROWS if begin <= row.timestamp < end)


def test_nothing_is_wrong_with_an_ordinary_feed_whether_or_not_its_counts_are_known() -> None:
    assert found(ROWS) == []
    assert gaps(ROWS, [], SETTINGS) == targets(ROWS, {}, {}, SETTINGS) == []
    assert arrival(ROWS, SETTINGS, END) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(fahrenheit, [("units", "temp_c"), ("units", "feels_like_c")], id="units"),
        pytest.param(no_humidity, [("nulls", "humidity")], id="nulls"),
        pytest.param(
            lambda row: row.model_copy(update={"windspeed_kmh": 300.0}),
            [("ranges", "windspeed_kmh")],
            id="ranges",
        ),
        pytest.param(fourfold, [("counts", "count")], id="counts"),
    ],
)
def test_each_fault_is_told_apart_with_its_hours_from_its_first_day_until_it_is_over(
    change: Change, expected: list[tuple[str, str]]
) -> None:
    rows = spoilt(ROWS, "2011-03-07", "2011-03-17", change)
    after_a_day = found([row for row in rows if row.timestamp < datetime(2011, 3, 8)])
    assert names(after_a_day) == expected
    assert all(each.goes_on for each in after_a_day)
    at_its_end = found([row for row in rows if row.timestamp < datetime(2011, 3, 17)])
    assert names(at_its_end) == expected
    assert all(each.goes_on for each in at_its_end)
    a_day_later = found([row for row in rows if row.timestamp < datetime(2011, 3, 18)])
    assert names(a_day_later) == expected
    assert not any(each.goes_on for each in a_day_later)
    for each in found(rows):
        assert set(each.hours) <= set(changed("2011-03-07", "2011-03-17"))
        assert len(each.hours) >= 0.95 * len(changed("2011-03-07", "2011-03-17"))


def test_after_ten_days_of_fahrenheit_in_which_it_grew_warm_celsius_is_right_again() -> None:
    begun = datetime(2011, 3, 7)

    def warmer(row: Hour) -> Hour:
        days = min(max((row.timestamp - begun) / timedelta(days=1), 0.0), 10.0)
        values = {name: getattr(row, name) + 2 * days for name in ("temp_c", "feels_like_c")}
        return row.model_copy(update=values)

    rows = spoilt([warmer(row) for row in ROWS], "2011-03-07", "2011-03-17", fahrenheit)
    for each in inputs(rows, SETTINGS):
        assert (each.check, each.goes_on) == ("units", False)
        assert set(each.hours) == set(changed("2011-03-07", "2011-03-17"))


def test_a_field_that_was_never_told_is_not_missed() -> None:
    assert inputs([no_humidity(row) for row in ROWS], SETTINGS) == []


def test_growth_of_the_world_is_not_taken_for_wrong_counts() -> None:
    grown = spoilt(
        ROWS,
        "2011-03-01",
        "2011-04-01",
        lambda row: row.model_copy(update={"count": round(1.6 * row.count)}),
    )
    told = {row.timestamp: row.count for row in grown}
    assert targets(grown, told, {}, SETTINGS) == targets(grown, {}, {}, SETTINGS) == []


def test_counts_that_nobody_can_compare_are_judged_by_their_level() -> None:
    rows = spoilt(ROWS, "2011-03-07", "2011-03-21", fourfold)
    (finding,) = targets(rows, {}, {}, SETTINGS)
    assert (finding.check, finding.subject, finding.goes_on) == ("level", "count", False)
    assert set(finding.hours) == set(changed("2011-03-07", "2011-03-21"))
    assert "bikes where" in finding.says


def test_a_level_that_the_champion_expects_is_plausible() -> None:
    rows = spoilt(ROWS, "2011-03-07", "2011-03-21", fourfold)
    assert targets(rows, {}, {hour: float(count) for hour, count in COUNTS.items()}, SETTINGS)
    assert targets(rows, {}, {row.timestamp: float(row.count) for row in rows}, SETTINGS) == []


def test_of_a_wrong_day_the_hours_that_were_told_the_same_are_good() -> None:
    def evening(row: Hour) -> Hour:
        return fourfold(row) if row.timestamp.hour >= 16 else row

    (finding,) = targets(spoilt(ROWS, "2011-03-07", "2011-03-08", evening), COUNTS, {}, SETTINGS)
    assert {hour.hour for hour in finding.hours} <= set(range(16, 24))
    assert f"{4 * max(COUNTS[hour] for hour in finding.hours)} instead of" in finding.says


def test_small_corrections_of_counts_are_no_fault() -> None:
    rows = [
        row.model_copy(update={"count": row.count + 3, "casual": None, "registered": None}) for row in ROWS
    ]
    assert targets(rows, COUNTS, {}, SETTINGS) == []


def test_hours_that_are_missing_are_found_and_the_gap_is_over_when_all_come_again() -> None:
    rows = without(ROWS, "2011-03-07", "2011-03-12", every=4)
    during = [row for row in rows if row.timestamp < datetime(2011, 3, 12)]
    (finding,) = found(during)
    assert (finding.check, finding.subject, finding.goes_on) == ("gaps", "feed", True)
    (finding,) = found(rows)
    assert not finding.goes_on
    assert set(finding.hours) == set(changed("2011-03-07", "2011-03-12")[::4])


def test_hours_without_rentals_are_no_gap_where_the_application_knows_of_none() -> None:
    rows = [row for row in ROWS if row.timestamp.hour >= 6]
    assert gaps(rows, [row.timestamp for row in rows], SETTINGS) == []
    assert names(gaps(rows, [], SETTINGS)) == [("gaps", "feed")]


@pytest.mark.parametrize(("hours", "check"), [(30, None), (31, "late"), (48, "late"), (49, "stale")])
def test_a_feed_is_late_and_then_stale(hours: int, check: str | None) -> None:
    findings = arrival(ROWS, SETTINGS, END + timedelta(hours=hours))
    assert names(findings) == ([] if check is None else [(check, "feed")])
    assert all(f"ended {hours} hours ago" in each.says and each.goes_on for each in findings)
