"""Data quality: each rule stops the bad data it is for, and lets them pass when it is off."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bike_demand.core.current import Row, RowId, row_id
from bike_demand.core.errors import UserError
from bike_demand.core.problem import EventTime
from bike_demand.core.settings import QualityRules, Settings, load_settings
from bike_demand.data import quality
from bike_demand.data.quality import (
    RECENT,
    RETIRED_AFTER,
    Violation,
    check,
    check_gaps,
    check_inputs,
    check_level,
    check_stale,
    require_no_violations,
)
from tests.conftest import ROOT
from tests.corrupted import (
    Change,
    changed,
    corrupt,
    fahrenheit,
    feed_rows,
    no_moisture,
    times_four,
    unlabelled,
    without,
)
from tests.ingested import frame
from tests.toy import MACHINES

RULES = QualityRules.model_validate(
    {
        "units": {"heat": 12, "core_heat": 12},
        "nulls": {"share": 0.5},
        "ranges": {"speed": [0, 130]},
        "stale": {"hours": 48},
        "gaps": {"days": 2, "share": 0.15},
        "level": {"factor": 2.5},
    }
)
END = datetime(2011, 4, 1)
ROWS = feed_rows()
LABELS = {row_id(row): row.amount for row in ROWS}


def racing(row: Row) -> Row:
    return changed(row, speed=300.0)


def off(rule: str) -> QualityRules:
    return QualityRules.model_validate(RULES.model_dump() | {rule: False})


def with_rules(rules: QualityRules) -> Settings:
    return load_settings(ROOT / "params.yaml").model_copy(update={"quality": rules})


def names(violations: Sequence[Violation]) -> list[tuple[str, str]]:
    return [(each.rule, each.subject) for each in violations]


def ids(first: str, last: str) -> tuple[RowId, ...]:
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return tuple(row_id(row) for row in ROWS if begin <= row.begins < end)


def bad_feed(rule: str) -> tuple[list[Row], datetime]:
    """Rows that break the rule, and when they are checked."""
    changes = {"units": fahrenheit, "nulls": no_moisture, "ranges": racing, "level": times_four}
    if rule in changes:
        return corrupt(ROWS, "2011-03-20", "2011-03-25", changes[rule]), END
    if rule == "gaps":
        return without(ROWS, "2011-03-20", "2011-03-25", every=3), END
    return list(ROWS), END + timedelta(hours=49)


@pytest.mark.parametrize("rule", ["units", "nulls", "ranges", "gaps", "level", "stale"])
def test_each_rule_stops_bad_data_and_lets_them_pass_when_it_is_off(project: Path, rule: str) -> None:
    rows, now = bad_feed(rule)
    with pytest.raises(UserError, match="not fit for training") as refused:
        require_no_violations(frame(rows), check(frame(rows), RULES), with_rules(RULES), now)
    assert "2011-03-" in str(refused.value)
    report = project / "state" / "reports" / "validation.json"
    assert report.exists()
    require_no_violations(frame(rows), check(frame(rows), off(rule)), with_rules(off(rule)), now)
    assert not report.exists()


@pytest.mark.parametrize("word", ["off", "false", "null"])
def test_params_yaml_switches_a_rule_off_by_name(tmp_path: Path, word: str) -> None:
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert "  nulls: {share: 0.5}" in text
    path.write_text(text.replace("  nulls: {share: 0.5}", f"  nulls: {word}"), encoding="utf-8")
    assert load_settings(path).quality.nulls is None


def test_level_rule_is_off_by_default() -> None:
    assert load_settings(ROOT / "params.yaml").quality.level is None
    closed = corrupt(ROWS, "2011-03-10", "2011-03-14", lambda row: changed(row, amount=0))
    assert check(frame(closed), load_settings(ROOT / "params.yaml").quality) == []


def test_an_ordinary_feed_breaks_no_rule() -> None:
    assert (
        check(frame(ROWS), RULES)
        == check(frame(ROWS), RULES, LABELS)
        == check_stale(frame(ROWS), RULES, END)
        == []
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(fahrenheit, [("units", "heat"), ("units", "core_heat")], id="units"),
        pytest.param(no_moisture, [("nulls", "moisture")], id="nulls", marks=pytest.mark.slow),
        pytest.param(racing, [("ranges", "speed")], id="ranges", marks=pytest.mark.slow),
    ],
)
def test_a_violation_has_its_times_from_the_first_day_until_it_is_over(
    change: Change, expected: list[tuple[str, str]]
) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-17", change)
    for end, ongoing in (("2011-03-08", True), ("2011-03-17", True), ("2011-03-18", False)):
        found = check(frame([row for row in rows if row.begins < datetime.fromisoformat(end)]), RULES)
        assert names(found) == expected
        assert {each.ongoing for each in found} == {ongoing}
    for each in check(frame(rows), RULES):
        assert set(each.rows) <= set(ids("2011-03-07", "2011-03-17"))
        assert len(each.rows) >= 0.95 * len(ids("2011-03-07", "2011-03-17"))


def test_units_recover_after_long_violation_with_warming() -> None:
    begun = datetime(2011, 3, 7)

    def hotter(row: Row) -> Row:
        days = min(max((row.begins - begun) / timedelta(days=1), 0.0), 10.0)
        values = {name: getattr(row, name) + 2 * days for name in ("heat", "core_heat")}
        return changed(row, **values)

    rows = corrupt([hotter(row) for row in ROWS], "2011-03-07", "2011-03-17", fahrenheit)
    for each in check_inputs(frame(rows), RULES):
        assert (each.rule, each.ongoing) == ("units", False)
        assert set(each.rows) == set(ids("2011-03-07", "2011-03-17"))


def test_a_sudden_fall_and_a_hot_day_are_plausible() -> None:
    def fall(row: Row) -> Row:
        return changed(row, heat=20.0 - 10.0 * (1 + (row.begins - datetime(2011, 3, 10)).days))

    rows = corrupt(ROWS, "2011-03-08", "2011-03-10", lambda row: changed(row, heat=20.0))
    rows = [
        row for row in corrupt(rows, "2011-03-10", "2011-03-12", fall) if row.begins >= datetime(2011, 3, 8)
    ]
    assert check_inputs(frame([row for row in rows if row.begins < datetime(2011, 3, 12)]), RULES) == []


def test_a_field_that_never_had_values_is_not_missed() -> None:
    assert check_inputs(frame([no_moisture(row) for row in ROWS]), RULES) == []


def test_a_field_that_is_missing_of_one_key_only_is_a_violation() -> None:
    rows = corrupt(
        ROWS, "2011-03-01", "2011-04-01", lambda row: no_moisture(row) if row.machine == "m08" else row
    )
    (found,) = check_inputs(frame(rows), RULES)
    assert (found.rule, found.subject, {key for _, key in found.rows}) == ("nulls", "moisture", {"m08"})
    assert len(found.rows) > 20


def test_sparse_rows_are_judged_over_several_days() -> None:
    rows = [row for row in ROWS if row.machine == "m08"]
    rows = corrupt(rows, "2011-03-01", "2011-04-01", no_moisture)
    (found,) = check_inputs(frame(rows), RULES)
    assert (found.rule, found.subject, found.ongoing) == ("nulls", "moisture", True)


def test_a_gap_is_over_when_all_rows_come_again() -> None:
    rows = without(ROWS, "2011-03-07", "2011-03-12", every=4)
    (found,) = check(frame([row for row in rows if row.begins < datetime(2011, 3, 12)]), RULES)
    assert (found.rule, found.subject, found.ongoing) == ("gaps", "feed", True)
    (found,) = check(frame(rows), RULES)
    assert not found.ongoing
    assert set(found.rows) == set(ids("2011-03-07", "2011-03-12")[::4])


def test_missing_rows_with_zero_known_labels_are_no_gap() -> None:
    rows = [row for row in ROWS if row.machine >= "m06" or row.begins < datetime(2011, 2, 1)]
    assert check_gaps(frame(rows), RULES, {row_id(row): row.amount for row in rows}) == []
    assert names(check_gaps(frame(rows), RULES)) == [("gaps", "feed")]


def test_a_few_missing_rows_are_no_gap() -> None:
    assert (
        check_gaps(frame([row for row in ROWS if row.machine != "m08" or row.begins.day % 10]), RULES) == []
    )


def without_one(machine: str, first: str, last: str) -> list[Row]:
    lost = set(ids(first, last))
    return [row for row in ROWS if row.machine != machine or row_id(row) not in lost]


def test_rows_of_one_key_that_are_missing_are_a_gap() -> None:
    (found,) = check_gaps(frame(without_one("m08", "2011-03-20", "2011-03-24")), RULES)
    assert found.rows == tuple((datetime(2011, 3, day), "m08") for day in (20, 21, 22, 23))
    assert not found.ongoing


def test_rows_of_many_keys_that_are_missing_in_one_day_are_a_gap() -> None:
    (found,) = check_gaps(frame(without(ROWS, "2011-03-31", "2011-04-01", every=2)), RULES)
    assert (list(found.rows), found.ongoing) == (list(ids("2011-03-31", "2011-04-01")[::2]), True)


def test_retired_key_is_not_reported_missing() -> None:
    (found,) = check_gaps(frame(without_one("m08", "2011-02-10", "2011-04-01")), RULES)
    assert (found.times[-1], found.ongoing) == (datetime(2011, 2, 9) + RETIRED_AFTER, False)


def test_with_a_time_zone_the_hour_that_clocks_skip_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "CADENCE", timedelta(hours=1))
    berlin = EventTime(timezone="Europe/Berlin")
    rules = QualityRules.model_validate(RULES.model_dump() | {"gaps": {"days": 1, "share": 0}})
    hours = [row.begins + timedelta(hours=MACHINES.index(row.machine)) for row in ROWS]
    hourly = [changed(row, machine="m00", begins=hour) for row, hour in zip(ROWS, hours, strict=True)]
    local = [row for row in hourly if row.begins != datetime(2011, 3, 27, 2)]
    utc = [changed(row, begins=berlin.to_utc(row.begins)) for row in local]
    (of_labels,), (of_utc,) = (check_gaps(frame(rows), rules) for rows in (local, utc))
    assert set(of_utc.times) == {berlin.to_utc(each) for each in of_labels.times} - {datetime(2011, 3, 27, 1)}


@pytest.mark.parametrize(("hours", "broken"), [(48, False), (49, True)])
def test_a_feed_is_stale_by_the_age_of_its_last_row(hours: int, broken: bool) -> None:
    found = check_stale(frame(ROWS), RULES, END + timedelta(hours=hours))
    assert names(found) == ([("stale", "feed")] if broken else [])
    assert check_stale(frame(ROWS), RULES, None) == []


@pytest.mark.parametrize(("days", "broken"), [(31, False), (48, True)])
def test_irregular_events_are_stale_after_an_unusually_long_pause(
    monkeypatch: pytest.MonkeyPatch, days: int, broken: bool
) -> None:
    monkeypatch.setattr(quality, "CADENCE", None)
    rows = frame(ROWS[:3])
    rows["begins"] = pd.to_datetime(["2023-12-01", "2023-12-01", "2024-01-01"])
    found = check_stale(rows, RULES, datetime(2024, 1, 1) + timedelta(days=days))
    assert names(found) == ([("stale", "feed")] if broken else [])


def test_earlier_outage_does_not_hide_staleness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "CADENCE", None)
    rows = frame(ROWS[:4])
    rows["begins"] = pd.to_datetime(["2023-09-01", "2023-09-02", "2023-12-31", "2024-01-01"])
    assert names(check_stale(rows, RULES, datetime(2024, 1, 5))) == [("stale", "feed")]


def test_a_level_is_judged_only_where_no_other_source_has_the_labels() -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-21", times_four)
    (found,) = check_level(frame(rows), RULES)
    assert (found.subject, found.ongoing) == ("label", False)
    assert set(found.rows) == set(ids("2011-03-07", "2011-03-21"))
    assert check_level(frame(rows), RULES, LABELS) == []
    (found,) = check_level(frame(corrupt(rows, "2011-03-21", "2011-04-01", unlabelled)), RULES)
    assert found.ongoing
    assert check_level(frame([unlabelled(row) for row in rows]), RULES) == []
    grown = corrupt(
        ROWS, "2011-03-01", "2011-04-01", lambda row: changed(row, amount=round(1.6 * row.amount))
    )
    assert check_level(frame(grown), RULES) == []


def test_a_level_is_judged_by_the_keys_that_a_day_has() -> None:
    rows = [row for row in ROWS if row.begins < datetime(2011, 3, 31) or row.machine < "m12"]
    assert check_level(frame(rows), RULES) == []
    rows = corrupt(rows, "2011-03-31", "2011-04-01", times_four)
    assert names(check_level(frame(rows), RULES)) == [("level", "label")]


def test_all_that_is_wrong_is_reported_at_once_and_what_is_old_is_not(project: Path) -> None:
    rows = without(corrupt(ROWS, "2011-03-20", "2011-03-22", fahrenheit), "2011-03-25", "2011-03-28", every=2)
    with pytest.raises(UserError) as refused:
        require_no_violations(
            frame(rows), check(frame(rows), RULES), with_rules(RULES), END + timedelta(days=9)
        )
    for word in ("heat", "core_heat", "missing", "stale"):
        assert word in str(refused.value)
    old = ROWS[-1].begins - RECENT
    rows = corrupt(ROWS, "2011-02-01", f"{old:%Y-%m-%d}", fahrenheit)
    rows = corrupt(rows, "2011-03-29", "2011-03-30", fahrenheit)  # a single day
    assert check(frame(rows), RULES)
    require_no_violations(frame(rows), check(frame(rows), RULES), with_rules(RULES), END)
    assert not (project / "state" / "reports" / "validation.json").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("units", {"moistur": 1}),
        ("ranges", {"heat": [48, -35]}),
        ("gaps", {"share": 2}),
        ("texts", {"known": {"materia": ["oak"]}}),
        ("nulls", {"allowed": ["moistur"]}),
        ("texts", {"known": {"heat": ["oak"]}}),
        ("texts", {"known": {"machine": ["m99"]}}),
        ("nulls", {"allowed": ["heat"]}),
    ],
)
def test_settings_of_rules_that_make_no_sense_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        QualityRules.model_validate({key: value})


# ---- texts


def with_texts(renamed: str, until: str, machines: Sequence[str] = MACHINES) -> pd.DataFrame:
    """Rows with one of three materials or none, of which one has another name in these days."""
    rows = frame(ROWS)
    rows["material"] = [("steel", "brass", "oak", None)[at % 4] for at in range(len(rows))]
    is_renamed = rows["begins"].between(renamed, until) & rows["machine"].isin(machines)
    is_renamed &= rows["material"] == "steel"
    return rows.assign(material=rows["material"].where(~is_renamed, "stahl"))


def test_a_value_that_is_renamed_is_a_violation_from_its_first_day_to_its_last() -> None:
    rows = with_texts("2011-03-10", "2011-03-12")
    (found,) = [each for each in check_inputs(rows, RULES) if each.rule == "texts"]
    assert (found.subject, "'stahl'" in found.message, found.ongoing) == ("material", True, False)
    assert list(found.times) == rows.loc[rows["material"] == "stahl", "begins"].tolist()
    assert not [each for each in check_inputs(rows, off("texts")) if each.rule == "texts"]
    assert not [each for each in check_inputs(rows, RULES, {"material": ["stahl"]}) if each.rule == "texts"]


def test_new_values_and_nulls_of_single_fields_can_be_accepted() -> None:
    rows = with_texts("2011-03-10", "2011-04-01")
    rows["material"] = rows["material"].fillna("oak")
    rows.loc[rows["begins"] >= "2011-03-20", ["moisture", "heat"]] = None
    broken = {("texts", "material"), ("nulls", "moisture"), ("nulls", "heat")}
    assert {(each.rule, each.subject) for each in check_inputs(rows, RULES)} == broken
    accepted = {"texts": {"known": {"material": ["stahl"]}}, "nulls": {"allowed": ["moisture"]}}
    rules = QualityRules.model_validate(accepted)
    assert {(each.rule, each.subject) for each in check_inputs(rows, rules)} == {("nulls", "heat")}


def test_occasional_or_ubiquitous_new_values_are_no_violation() -> None:
    rows = with_texts("2011-03-10", "2011-03-10", MACHINES[12:16])
    assert (rows["material"] == "stahl").sum() == 1
    assert not [each for each in check_inputs(rows, RULES) if each.rule == "texts"]
    names = rows.assign(material=[f"material {at}" for at in range(len(rows))])
    assert not [each for each in check_inputs(names, RULES) if each.rule == "texts"]
