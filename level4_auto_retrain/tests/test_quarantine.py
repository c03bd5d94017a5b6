"""Bad rows of the ingested data: detected, excluded from trainings, stored with the data's version."""

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest

from bike_demand import stages
from bike_demand.core.current import Row, row_id
from bike_demand.core.errors import UserError
from bike_demand.core.problem import DAY
from bike_demand.core.settings import QUARANTINE, QualityRules, load_settings
from bike_demand.data import quarantine
from bike_demand.data.frames import features_of
from bike_demand.data.ingested import read_rows
from bike_demand.data.label_check import check_ingested, check_labels
from bike_demand.data.month import iso
from bike_demand.data.quality import Violation
from bike_demand.data.quarantine import Quarantine, require_trainable_rows, without_quarantined
from bike_demand.data.regression_cases import RegressionCaseContent, count_undetected, make_case
from bike_demand.release.deploy import deploy
from bike_demand.release.gates import Gate, GateContext, GateResult
from bike_demand.store import event_log
from bike_demand.store.database import open_database
from bike_demand.store.outcomes import store
from bike_demand.store.tables import SignalKind
from bike_demand.store.tracking import Tracking
from bike_demand.training.train import fit
from tests.conftest import ROOT, Run
from tests.corrupted import (
    Change,
    changed,
    corrupt,
    fahrenheit,
    feed_rows,
    no_moisture,
    publish,
    times_four,
    without,
)
from tests.ingested import frame, rows_of
from tests.predictions import log, model_with_error
from tests.registry import register
from tests.tiny import constant

SETTINGS = load_settings(ROOT / "params.yaml")
RULES = SETTINGS.quality
ROWS = feed_rows()
LABELS = {row_id(row): row.amount for row in ROWS}
RIGHT = {row_id(row): row for row in ROWS}


def seen(rows: Sequence[Row], rules: QualityRules = RULES) -> Quarantine:
    return Quarantine(violations=tuple(check_ingested(frame(rows), LABELS, rules)))


def fit_of(rows: Sequence[Row], until: str, rules: QualityRules = RULES) -> list[Row]:
    """What a training as of a day would learn from."""
    end = datetime.fromisoformat(until)
    rows = [row for row in rows if row.begins < end]
    settings = SETTINGS.model_copy(update={"quality": rules})
    return rows_of(require_trainable_rows(frame(rows), seen(rows, rules), settings, end))


def left_of(rows: Sequence[Row]) -> list[Row]:
    """Those that may be learned from."""
    return rows_of(without_quarantined(frame(rows), seen(rows)))


def stahl(row: Row) -> Row:
    return changed(row, material="stahl")


def error(rows: Sequence[Row]) -> float:
    """The mean error, in pieces a day, from 18 March on, of a model trained on these rows."""
    model = fit(frame(rows), SETTINGS.training.params, SETTINGS.training.half_life_days)
    judged = [row for row in ROWS if row.begins >= datetime(2011, 3, 18)]
    answers = model.predict(features_of(frame(judged)))
    return float(np.abs(answers - np.array([row.amount for row in judged])).mean())


@pytest.mark.slow
def test_model_trained_on_poisoned_feed_is_as_good_as_on_the_clean_feed() -> None:
    clean = [row for row in ROWS if row.begins < datetime(2011, 3, 18)]
    bad = corrupt(clean, "2011-03-04", "2011-03-17", times_four)
    right, left_out = error(clean), error(left_of(bad))
    assert left_out < 1.1 * right
    assert error(bad) > 1.3 * right


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(times_four, id="labels"),
        pytest.param(fahrenheit, id="units", marks=pytest.mark.slow),
        pytest.param(no_moisture, id="nulls", marks=pytest.mark.slow),
    ],
)
def test_good_rows_stay_trainable(change: Change) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-17", change)
    for day in ("2011-03-08", "2011-03-16", "2011-03-18", "2011-03-25"):
        learned = fit_of(rows, day)
        assert all(row == RIGHT[row_id(row)] for row in learned)
        assert learned[0] == ROWS[0]
        assert (learned[-1].begins.day < 8) == (day < "2011-03-18")


@pytest.mark.parametrize(
    ("rule", "change"), [("labels", times_four), ("units", fahrenheit), ("nulls", no_moisture)]
)
def test_rows_are_trained_on_when_their_rule_is_off(rule: str, change: Change) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-17", change)
    rules = RULES.model_copy(update={rule: None, "ranges": None})
    assert fit_of(rows, "2011-03-20", rules) == [row for row in rows if row.begins < datetime(2011, 3, 20)]


def test_warming_during_a_fault_is_no_unit_change(project: Path) -> None:
    begun = datetime(2011, 3, 7)

    def warmer(row: Row) -> Row:
        days = min(max((row.begins - begun) / DAY, 0.0), 10.0)
        return changed(row, **{name: getattr(row, name) + 2.5 * days for name in ("heat", "core_heat")})

    warm = [warmer(row) for row in ROWS]
    rows = corrupt(warm, "2011-03-07", "2011-03-17", fahrenheit)
    learned = fit_of(rows, "2011-03-20")
    end, over = datetime(2011, 3, 20), datetime(2011, 3, 17)
    assert learned == [row for row in warm if row.begins < end and not begun <= row.begins < over]
    assert not (project / "state" / "reports" / "validation.json").exists()


def test_ongoing_gap_suspends_training(project: Path) -> None:
    rows = without(ROWS, "2011-03-07", "2011-03-21", every=4)
    for day in ("2011-03-10", "2011-03-15", "2011-03-21"):
        with pytest.raises(UserError, match="rows of the feed are missing"):
            fit_of(rows, day)
    learned = fit_of(rows, "2011-03-23")
    assert learned == [row for row in rows if row.begins < datetime(2011, 3, 23)]
    assert not (project / "state" / "reports" / "validation.json").exists()


@pytest.mark.usefixtures("project")
def test_a_feed_that_is_late_is_not_trained_on() -> None:
    rows = [row for row in ROWS if row.begins < datetime(2011, 3, 20)]
    with pytest.raises(UserError, match="the feed is stale: its last row ended 36 hours ago"):
        require_trainable_rows(frame(rows), seen(rows), SETTINGS, datetime(2011, 3, 21, 12))


def test_holdout_keeps_enough_good_days() -> None:
    rows = corrupt(ROWS, "2011-03-15", "2011-03-25", times_four)
    known = seen(rows)
    rest = left_of(rows)
    days = quarantine.holdout_days(frame(rest), known, 7, 24)
    held_out = {row.begins.date() for row in rest if datetime(2011, 4, 1) - row.begins <= days * DAY}
    assert (days, len(held_out)) == (7, 7)
    (early, its) = ([row for row in given if row.begins < datetime(2011, 3, 27)] for given in (rows, rest))
    days = quarantine.holdout_days(frame(its), seen(early), 7, 24)
    held_out = {row.begins.date() for row in its if datetime(2011, 3, 27) - row.begins <= days * DAY}
    assert (days, len(held_out)) == (17, 7)
    assert quarantine.holdout_days(frame(ROWS), seen(ROWS), 7, 24) == 7


def test_bad_rows_of_one_key_do_not_make_the_holdout_longer() -> None:
    rows = corrupt(
        ROWS, "2011-03-01", "2011-04-01", lambda row: fahrenheit(row) if row.machine == "m08" else row
    )
    assert {key for _, key in seen(rows).excluded_rows} == {"m08"}
    assert quarantine.holdout_days(frame(left_of(rows)), seen(rows), 7, 24) == 7


def test_holdout_has_the_rows_that_gates_need() -> None:
    shifted = Quarantine(level_shifts=(date(2011, 3, 29),))
    assert quarantine.holdout_days(frame(without(ROWS, "2011-03-31", "2011-04-01", 2)), shifted, 7, 24) == 2


@pytest.mark.parametrize(("day", "days"), [(29, 1), (26, 2), (13, 6), (4, 7)])
def test_holdout_after_a_level_shift_is_short(day: int, days: int) -> None:
    shifted = Quarantine(level_shifts=(date(2011, 3, day),))
    assert quarantine.holdout_days(frame(ROWS), shifted, 7, 12) == days
    assert quarantine.holdout_days(frame(ROWS), Quarantine(level_shifts=(date(2011, 4, 3),)), 7, 24) == 7


# ---- regression cases


def case_of(violation: Violation, rows: Sequence[Row]) -> RegressionCaseContent:
    made = make_case(7, violation, frame(rows), LABELS, RULES)
    assert made is not None
    return RegressionCaseContent.model_validate_json(
        made.model_dump_json()
    )  # as it comes out of the database


@pytest.mark.parametrize(
    ("change", "rule", "weaker"),
    [
        pytest.param(fahrenheit, "units", {"heat": 90.0, "core_heat": 90.0}, id="units"),
        pytest.param(no_moisture, "nulls", {"share": 1.0}, id="nulls", marks=pytest.mark.slow),
        pytest.param(times_four, "labels", {"max_difference": 9.0}, id="labels", marks=pytest.mark.slow),
        pytest.param(times_four, "labels", None, id="off"),
        pytest.param(stahl, "texts", None, id="texts"),
    ],
)
def test_regression_case_must_be_detected(change: Change, rule: str, weaker: dict[str, float] | None) -> None:
    # Of moisture one row of each day has a value, or requiring all of them would still find it.
    rows = corrupt(ROWS, "2011-03-07", "2011-03-17", lambda row: row if row.machine == "m12" else change(row))
    found = check_ingested(frame(rows), LABELS, RULES)
    case = case_of(next(each for each in found if each.rule == rule), rows)
    assert 40 <= len(case.must_detect) <= 48
    assert len(case.rows) <= (11 if rule == "texts" else 5) * 24
    assert count_undetected(case, RULES) == 0
    quarantine.require_cases_detected(Quarantine(cases=(case,)), RULES)
    forgetful = QualityRules.model_validate(RULES.model_dump() | {"ranges": None, rule: weaker})
    with pytest.raises(UserError, match=rf"no longer detect incident 7 \({rule}, .*bad rows"):
        quarantine.require_cases_detected(Quarantine(cases=(case,)), forgetful)


def test_sparse_rows_make_a_regression_case() -> None:
    rows = [row for row in corrupt(ROWS, "2011-03-01", "2011-04-01", no_moisture) if row.machine == "m08"]
    (found,) = check_ingested(frame(rows), LABELS, RULES)
    case = case_of(found, rows)
    assert len(case.must_detect) >= 14


@pytest.mark.parametrize("changed_part", ["valid range", "type", "key", "field"])
def test_regression_case_outlives_a_change_of_the_schema(changed_part: str) -> None:
    rows = corrupt(ROWS, "2011-03-07", "2011-03-09", fahrenheit)
    found = check_ingested(frame(rows), LABELS, RULES)
    content = case_of(next(each for each in found if each.rule == "units"), rows).model_dump(mode="json")
    for row in content["rows"]:
        match changed_part:
            case "valid range":
                row["heat"] *= 10
            case "type":
                row["heat"] = "hot"
            case "key":
                del row["machine"]
            case "field":
                row["warmth"] = row.pop("heat")
    kept = Quarantine(cases=(RegressionCaseContent.model_validate(content),))
    quarantine.require_cases_detected(Quarantine.model_validate_json(kept.model_dump_json()), RULES)


def test_gap_is_detected_from_its_regression_case() -> None:
    rows = without(ROWS, "2011-03-07", "2011-03-12", every=3)
    case = case_of(next(each for each in seen(rows).violations if each.rule == "gaps"), rows)
    assert count_undetected(case, RULES) == 0
    assert count_undetected(case, RULES.model_copy(update={"gaps": None})) == len(case.must_detect)


# ---- the stages


def post_right_outcomes() -> None:
    """The application got the right outcomes all along."""
    with closing(open_database(load_settings().environments.production.database)) as database:
        store(database, LABELS)


@pytest.fixture
def poisoned(project: Path, run: Run) -> Path:
    """A project whose feed was poisoned for a while, ingested."""
    publish(corrupt(ROWS, "2011-03-04", "2011-03-17", times_four), project / "feed")
    post_right_outcomes()
    assert run("ingest").status == 0
    return project


@pytest.mark.usefixtures("poisoned")
def test_stages_exclude_rows_contradicted_by_outcomes() -> None:
    (violation,) = quarantine.read_quarantine().violations
    assert violation.rule == "labels"
    for stage in ("validate", "train", "evaluate"):
        assert stages.main([stage]) == 0
    learned = json.loads(stages.VALIDATION.read_text(encoding="utf-8"))["rows"]
    assert learned == len(ROWS) - len(violation.times)
    report = json.loads(stages.REPORT.read_text(encoding="utf-8"))
    assert report["refit"]["rows"] == learned
    assert report["excluded"].startswith(f"{len(violation.times)} rows: rule labels on label (2011-03-04T")
    assert report["held_out"]["first"] == "2011-03-25T00:00:00"
    assert json.loads(stages.METRICS.read_text(encoding="utf-8"))["holdout_error"] < 40


@pytest.mark.slow
@pytest.mark.usefixtures("poisoned")
def test_exclusions_are_part_of_the_data_version() -> None:
    kept = QUARANTINE.read_bytes()
    Path("state/production.db").unlink()
    for stage in ("validate", "train"):
        assert stages.main([stage]) == 0
    rows = json.loads(stages.REPORT.read_text(encoding="utf-8"))["refit"]["rows"]
    assert rows == len(without_quarantined(frame(ROWS), quarantine.read_quarantine()))
    assert rows < len(ROWS)
    assert QUARANTINE.read_bytes() == kept


@pytest.mark.slow
def test_gates_ignore_quarantined_rows(released: Path, run: Run) -> None:
    publish(corrupt(ROWS, "2011-03-04", "2011-03-17", times_four), released / "feed")
    post_right_outcomes()
    assert run("ingest").status == 0
    register(constant(released / "model", 50.0))
    judged: list[Row] = []

    def judge(case: GateContext) -> GateResult:
        judged.extend(rows_of(case.rows))
        return GateResult(True, "seen")

    deploy(load_settings(), "2", None, print, gates=(Gate("look", "Looks", judge),))
    assert 0 < len(judged) < len(ROWS)
    assert all(row.amount == LABELS[row_id(row)] for row in judged)


def test_without_database_only_the_feed_is_checked(project: Path, run: Run) -> None:
    publish(corrupt(ROWS, "2011-03-04", "2011-03-17", fahrenheit), project / "feed")
    assert run("ingest").status == 0
    assert "Excluded from training: heat changes its unit" in run("validate").out
    assert not (project / "state" / "production.db").exists()


@pytest.mark.usefixtures("poisoned")
def test_undetected_case_blocks_training(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load_settings()
    rows = frame(corrupt(ROWS, "2011-03-04", "2011-03-17", times_four))
    with closing(open_database(settings.environments.production.database)) as database:
        since, noticed = datetime(2011, 3, 4), datetime(2011, 3, 5)
        incident = event_log.open_incident(
            database, SignalKind.QUALITY, "label", since=since, detected_at=noticed, description="test"
        )
        case = make_case(incident.id, check_labels(rows, LABELS, RULES)[0], rows, LABELS, RULES)
        assert case is not None
        event_log.add_regression_case(database, incident.id, json.loads(case.model_dump_json()))
        event_log.end_incident(database, incident.id, noticed, {})
    assert run("ingest").status == 0
    assert len(quarantine.read_quarantine().cases) == 1
    assert stages.main(["validate"]) == 0
    params = Path("params.yaml")
    text = params.read_text(encoding="utf-8")
    assert "labels: {max_difference: 0.2," in text
    params.write_text(
        text.replace("labels: {max_difference: 0.2,", "labels: {max_difference: 9.9,"), encoding="utf-8"
    )
    capsys.readouterr()
    assert stages.main(["validate"]) == 1
    assert f"no longer detect incident {incident.id} (labels, label)" in capsys.readouterr().err
    assert f"incidents --withdraw {incident.id}\n" in run("validate").refusal()
    assert "withdraw" not in run("incidents", "--withdraw", incident.id).out
    assert "fit for training" in run("validate").out
    assert "no regression case" in run("incidents", "--withdraw", incident.id).refusal()


@pytest.mark.slow
def test_train_prints_and_logs_excluded_rows(copy: Path, run: Run) -> None:
    publish(corrupt(ROWS, "2011-03-04", "2011-03-17", times_four), copy / "feed")
    post_right_outcomes()
    out = run("train", "--no-deploy").out
    kept = quarantine.read_quarantine()
    first = iso(min(kept.excluded_rows)[0])
    left_out = f"{len(kept.excluded_rows)} rows: rule labels on label ({first} to 2011-03-16T00:00:00)"
    assert f"It was trained on {len(ROWS) - len(kept.excluded_rows):,} rows; excluded: {left_out}." in out
    (version,) = Tracking(load_settings()).versions()
    assert Tracking(load_settings()).run(version.run_id).tags["excluded"] == left_out


@pytest.mark.slow
def test_reproduction_excludes_the_same_rows(copy: Path, run: Run) -> None:
    publish(corrupt(ROWS, "2011-03-04", "2011-03-17", times_four), copy / "feed")
    post_right_outcomes()
    assert run("train").status == 0
    (version,) = Tracking(load_settings()).versions()
    learned = Tracking(load_settings()).run(version.run_id).dataset
    assert learned is not None
    assert learned.rows == len(without_quarantined(frame(ROWS), quarantine.read_quarantine())) < len(ROWS)
    # Neither the reported outcomes nor the feed are as they were.
    (copy / "state" / "production.db").unlink()
    publish(ROWS, copy / "feed")
    for run_id in (version.run_id, version.holdout_run_id):
        output = run("reproduce", run_id)
        assert (output.status, output.err) == (0, "")
        assert "identical: model" in output.out
    (known,) = log(ROWS[-1:], (version.number, model_with_error(10.0)))
    assert run("trace", known, "--rows").status == 0
    restored = read_rows(copy / "state" / "traced" / version.run_id)
    assert len(restored) == learned.rows
    assert all(row.amount == LABELS[row_id(row)] for row in rows_of(restored))
    # The poison is over: the same feed without it is another version of the data.
    assert run("train").status == 0
    assert len(Tracking(load_settings()).versions()) == 2
