"""The gate that keeps out what is wrong like a model that was taken back, and lets what is new pass."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bike_demand.data.month import parse_month
from bike_demand.data.schema import CONDITION_COLUMNS, Hour
from bike_demand.handoff import write_handoff
from bike_demand.prediction_log import journal
from bike_demand.prediction_log.database import open_database
from bike_demand.prediction_log.journal import MODEL, Kind
from bike_demand.release.gates import GATES, Case, Finding
from bike_demand.serving.onnx_model import load_model
from bike_demand.settings import load_settings
from bike_demand.tracking import Tracking
from tests.conftest import ROOT
from tests.feedmaker import HEADER, MONTHS, month_lines
from tests.registry import register
from tests.tiny import constant

NOON = datetime(2011, 3, 20, 12)
(GATE,) = [each for each in GATES if each.id == "cases"]
Change = Callable[[Hour], Hour]


def hours(seed: int = 0) -> list[Hour]:
    """Three months of a feed; another seed has other weather and other luck."""
    texts = {month: "".join(f"{line}\n" for line in (HEADER, *month_lines(month, seed))) for month in MONTHS}
    return [row for month, text in texts.items() for row in parse_month(text.encode(), month, month)]


def trained(folder: Path, rows: list[Hour], change: Change = lambda row: row) -> Path:
    """What the recipe makes of the rows; the hand-off's folder."""
    from bike_demand.training.export import to_onnx
    from bike_demand.training.model import fit

    settings = load_settings(ROOT / "params.yaml").training
    recipe = settings.recipe.model_copy(update={"max_iter": 40})  # enough to tell these apart, and fast
    write_handoff(folder, to_onnx(fit([change(row) for row in rows], recipe, settings.half_life_days)))
    return folder


def more(factor: float) -> Change:
    """So many times as much demand."""
    return lambda row: times(row, factor)


def times(row: Hour, factor: float) -> Hour:
    return row.model_copy(update={"count": round(row.count * factor), "casual": None, "registered": None})


def flat(row: Hour) -> Hour:
    """Working days without their commuter peaks: another habit of the world."""
    hour = row.timestamp.hour
    return times(row, 0.6 if row.workingday and hour in (7, 8, 9, 16, 17, 18) else 1.1)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What may want to go live after a champion, and what was taken back once."""
    folder = tmp_path_factory.mktemp("models")
    rows = hours()
    end = rows[-1].timestamp
    early = [row for row in rows if row.timestamp < end - timedelta(days=14)]
    poison = [times(row, 4) if row.timestamp > end - timedelta(days=14) else row for row in rows]
    return {
        "champion": trained(folder / "champion", early),
        "ordinary": trained(folder / "ordinary", rows),
        "another": trained(folder / "another", hours(seed=1)),
        "growth": trained(folder / "growth", rows, more(1.6)),
        "flat": trained(folder / "flat", rows, flat),
        "poisoned": trained(folder / "poisoned", poison),
        "poisoned later": trained(folder / "later", poison[200:]),
        "constant": constant(folder / "constant", 400.0),
        "another constant": constant(folder / "other", 330.0),
    }


@pytest.fixture
def learn(stored: Path, models: dict[str, Path]) -> Callable[[str], None]:
    """Keeps the case of a bad model, as the loop does after it was taken back."""

    def keep(bad: str) -> None:
        rows = [row for row in hours() if NOON <= row.timestamp < NOON + timedelta(days=2)]
        answers = {name: load_model(models[name]).predict(rows) for name in (bad, "champion")}
        content = {
            "version": 2,
            "digest": load_model(models[bad]).digest,
            "rows": [row.model_dump(mode="json", include=set(CONDITION_COLUMNS)) for row in rows],
            "bad": answers[bad],
            "good": answers["champion"],
        }
        with closing(open_database(f"sqlite:///{stored / 'state' / 'production.db'}")) as database:
            incident = journal.open_incident(
                database, Kind.RELEASE, "version 2", since=NOON, noticed_at=NOON, noticed_by="the watch"
            )
            journal.add_lesson(database, incident.id, MODEL, content)

    return keep


def judged(models: dict[str, Path], name: str, tmp_path: Path, live: str | None = "champion") -> Finding:
    tracking = Tracking(load_settings())
    champion = None if live is None else register(models[live], tracking=tracking)
    version = register(models[name], tracking=tracking)
    case = Case(load_settings(), tracking, version, champion, [], tmp_path / "scratch")
    return GATE.judge(case)


@pytest.mark.usefixtures("stored")
def test_while_no_case_is_kept_everything_passes_and_no_database_is_made(
    models: dict[str, Path], tmp_path: Path
) -> None:
    assert judged(models, "constant", tmp_path).says == "no case is kept yet"
    assert not Path("state/production.db").exists()


@pytest.mark.parametrize(
    ("bad", "again"),
    [("poisoned", "poisoned"), ("poisoned", "poisoned later"), ("constant", "another constant")],
)
def test_a_model_that_is_wrong_like_one_that_was_taken_back_is_refused_under_any_number(
    models: dict[str, Path], learn: Callable[[str], None], tmp_path: Path, bad: str, again: str
) -> None:
    learn(bad)
    found = judged(models, again, tmp_path)
    assert not found.passed
    assert found.says.startswith("it is wrong like version 2, which was taken back (incident 1)")
    (case,) = found.evidence["cases"]
    assert case["from_the_bad_one"] < case["from_the_champion"] / 2


@pytest.mark.parametrize("bad", ["poisoned", pytest.param("constant", marks=pytest.mark.slow)])
def test_what_was_trained_again_passes_also_after_the_world_has_changed(
    models: dict[str, Path], learn: Callable[[str], None], tmp_path: Path, bad: str
) -> None:
    learn(bad)
    found = {
        name: judged(models, name, tmp_path) for name in ("ordinary", "another", "growth", "flat", "champion")
    }
    assert all(each.passed for each in found.values()), found
    assert found["ordinary"].says == "unlike the models of one case that were taken back"


def test_a_case_stands_for_a_distortion_and_not_for_a_level(
    models: dict[str, Path], learn: Callable[[str], None], tmp_path: Path
) -> None:
    learn("poisoned")
    # Demand grew since: the bad model's answers of then would be nearly right, its distortion is not there.
    assert judged(models, "growth", tmp_path, live="growth").passed
    assert judged(models, "poisoned", tmp_path, live="poisoned later").passed


def test_where_nothing_is_live_it_is_compared_with_what_was_good_then(
    models: dict[str, Path], learn: Callable[[str], None], tmp_path: Path
) -> None:
    learn("poisoned")
    assert not judged(models, "poisoned later", tmp_path, live=None).passed
    assert judged(models, "ordinary", tmp_path, live=None).passed


def test_it_is_one_of_the_gates_of_every_deployment_and_looks_again_at_another_champion() -> None:
    assert GATE in GATES
    assert replace(GATE).compares
