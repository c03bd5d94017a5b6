"""Which code shows which practice: every row has its places and its proof, every file its reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from data import UserError
from ladder import carry, practices
from ladder.levels import ROOT, level, levels
from ladder.page.code import excerpt
from ladder.practices import LIST, MODEL, Shown, gaps, load, matches

NUMBERS = [each.number for each in levels()]
EXCERPT_LINES = 60


def copied(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The list with a change, in a file of its own."""
    content = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "practices.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_nothing_is_missing_in_the_list() -> None:
    assert gaps(load()) == []


def test_no_row_of_the_model_is_cut_off_at_a_comma() -> None:
    rows = yaml.safe_load(MODEL.read_text(encoding="utf-8"))["rows"]
    assert [row["id"] for row in rows if set(row) - {"id", "level", "area", "absent", "says"}] == []


@pytest.mark.parametrize("row", practices.rows(), ids=lambda row: row.id)
def test_every_row_has_one_to_four_places_at_its_own_level_and_a_proof(row: practices.Row) -> None:
    places = practices.code_of(row.id)
    assert 1 <= len(places) <= 4
    for place in places:
        found = excerpt(place)
        assert place.level == row.level
        assert found.path == f"{level(row.level).folder.name}/{place.file}"
        assert found.text.strip()
    proof = practices.proof_of(row.id)
    lines = (ROOT / proof.file).read_text(encoding="utf-8").split("\n")
    assert lines[proof.line - 1].startswith(f"def {proof.name}(")
    assert proof.source.split("\n") == [
        *lines[proof.first - 1 : proof.first + proof.source.count("\n") - 1],
        "",
    ]
    assert f'maturity("{row.id}")' in proof.source


@pytest.mark.parametrize("pair", carry.written())
def test_every_new_or_changed_file_of_a_pair_serves_rows_of_its_level_or_is_in_a_group(pair: str) -> None:
    upper = int(pair.split("-")[1])
    for name in (*carry.written()[pair]["new"], *carry.written()[pair]["changed"]):
        served = practices.served_by(upper, name)
        assert served or practices.group_of(name), name
        assert {practices.row(each).level for each in served} <= {upper}, name


@pytest.mark.parametrize(
    ("number", "file", "first"),
    [
        (0, "score.py", "L0-R2"),
        (1, "bike_demand/data/ingest.py", "L1-C1"),
        (2, "bike_demand/training/reproduce.py", "L2-H2"),
        (3, "bike_demand/release/ab/rule.py", "L3-T1"),
        (3, "bike_demand/release/trace.py", "L3-H2"),
        (4, "bike_demand/monitoring/rules.py", "L4-C2"),
        (4, "bike_demand/loop/incidents.py", "L4-H4"),
    ],
)
def test_a_file_serves_first_the_row_that_it_is_there_for(number: int, file: str, first: str) -> None:
    assert practices.served_by(number, file)[0] == first


def test_a_file_of_a_group_serves_no_row_and_a_file_that_shows_one_does() -> None:
    assert practices.served_by(3, "requirements.lock") == ()
    assert practices.group_of("requirements.lock") is not None
    assert practices.served_by(2, ".github/CODEOWNERS")[:2] == ("L2-P1", "L2-P2")
    assert "L2-P3" not in practices.served_by(
        2, ".github/CODEOWNERS"
    )  # absent: what it lacks it does not serve


def test_practices_have_a_sentence_for_every_level_and_excerpts_that_can_be_read_at_a_glance() -> None:
    found = practices.practices()
    assert 8 <= len(found) <= 12
    for practice in found:
        assert sorted(practice.notes) == NUMBERS
        assert all(says.endswith(".") for says in practice.notes.values())
        for place in practice.shown:
            assert excerpt(place).text.count("\n") <= EXCERPT_LINES, place
        nothing = set(NUMBERS) - {place.level for place in practice.shown}
        assert all(practice.notes[number].startswith("Nothing at this level.") for number in nothing)


def row_missing(content: dict[str, Any]) -> None:
    del content["rows"]["L3-T1"]


def symbol_renamed(content: dict[str, Any]) -> None:
    content["rows"]["L3-T1"][0]["symbol"] = "_tests"


def file_gone(content: dict[str, Any]) -> None:
    content["practices"][0]["levels"][1]["shown"][0]["file"] = "bike_demand/ingest.py"


def pattern_of_nothing(content: dict[str, Any]) -> None:
    content["served"][3][0]["files"].append("bike_demand/abc/**")


def group_of_nothing(content: dict[str, Any]) -> None:
    content["groups"][0]["files"].append("READYOU.md")


def nobodys_file(content: dict[str, Any]) -> None:
    content["served"][3] = [each for each in content["served"][3] if each["rows"] != ["L3-H3"]]
    everything_else = [each for each in content["served"][3] if "bike_demand/release/**" in each["files"]]
    everything_else[0]["files"].remove("bike_demand/release/**")


def row_of_another_level(content: dict[str, Any]) -> None:
    content["served"][3][0]["rows"] = ["L2-R2"]


def level_left_out(content: dict[str, Any]) -> None:
    del content["practices"][0]["levels"][2]


def no_such_row(content: dict[str, Any]) -> None:
    content["served"][3][0]["rows"] = ["L3-X9"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (row_missing, "L3-T1: no place shows it"),
        (symbol_renamed, "L3-T1: level 3: bike_demand/release/ab/step.py has no _tests"),
        (file_gone, "gather: level 1 has no file bike_demand/ingest.py"),
        (pattern_of_nothing, "served: level 3: bike_demand/abc/** fits no file"),
        (group_of_nothing, "group reading: READYOU.md fits no file"),
        (nobodys_file, "level 3: bike_demand/release/process.py serves no row and is in no group"),
        (row_of_another_level, "served: level 3: L2-R2 is a row of another level"),
        (level_left_out, "practice gather: level 2 is left out"),
        (no_such_row, "L3-X9: the maturity model has no such row"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_gap_is_found(tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    assert says in gaps(load(copied(tmp_path, change)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rows: [", "not YAML"),
        ("rows: {L0-H1: [{path: score.py}]}", "rows.L0-H1.0.file: Field required"),
        ("serves: {}", "serves: Extra inputs are not permitted"),
        ("served: {3: [{files: [], rows: [L3-T1]}]}", "served.3.0.files"),
    ],
)
def test_a_mistake_in_the_list_is_told_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "practices.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as told:
        load(path)
    assert str(told.value).startswith(f"{path}: ")
    assert says in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("file", "pattern", "fits"),
    [
        ("a/b/c.py", "a/**", True),
        ("ab/c.py", "a/**", False),
        ("a/c.py", "a/*.py", True),
        ("a/b/c.py", "a/*.py", False),
        ("tests/test_ab.py", "tests/test_*.py", True),
        ("x/tests/test_ab.py", "tests/test_*.py", False),
        ("c.py", "c.py", True),
        ("a/c.py", "c.py", False),
    ],
)
def test_a_pattern_stays_in_its_folder(file: str, pattern: str, fits: bool) -> None:
    assert matches(file, pattern) is fits


@pytest.mark.parametrize(
    ("place", "first", "last"),
    [
        (Shown(3, "bike_demand/serving/app.py", "create_app.predict"), "@direct.post(", "media_type"),
        (Shown(2, "bike_demand/tracking.py", "Tracking.back"), "def back(self)", "return self.version("),
        (Shown(3, "bike_demand/release/gates/__init__.py", "GATES"), "GATES = (", ")"),
        (Shown(0, "runbook.yaml", "release.install"), "- id: install", "live/model.pkl"),
        (Shown(1, ".github/workflows/application.yml", "jobs.image"), "image:", "docker stop trial"),
        (Shown(4, "params.yaml", "trigger"), "trigger:", "longest_age_days"),
        (Shown(1, "README.md", "What still hurts"), "## What still hurts", "- Going back"),
        (Shown(1, "pyproject.toml", "tool.mypy"), "[tool.mypy]", "explicit_package_bases"),
        (Shown(0, "demand.ipynb", "X_train, X_test"), "# %%", "mean_absolute_error(y_test"),
    ],
    ids=lambda each: each.symbol if isinstance(each, Shown) else "",
)
def test_a_symbol_is_found_with_all_that_belongs_to_it(place: Shown, first: str, last: str) -> None:
    lines = excerpt(place).text.rstrip("\n").split("\n")
    assert lines[0].lstrip().startswith(first)
    assert last in lines[-1] or last in lines[-2]


def test_an_excerpt_has_the_number_of_its_first_line() -> None:
    found = excerpt(Shown(3, "bike_demand/release/ab/step.py", "_test"))
    whole = (ROOT / found.path).read_text(encoding="utf-8").split("\n")
    assert whole[found.first_line - 1].startswith("def _test(")
    assert "\n".join(whole[found.first_line - 1 :]).startswith(found.text)


def test_a_symbol_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="there is no nothing"):
        excerpt(Shown(3, "bike_demand/flows.py", "nothing"))


def test_a_row_that_there_is_not_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="no row L9-Z9"):
        practices.code_of("L9-Z9")
