"""Which code shows which practice: every row has its places and its proof, every file its reason."""

from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from ladder import ROOT, UserError, practices
from ladder.levels import level, levels
from ladder.page.code import excerpt
from ladder.practices import LIST, CodeLocation, load, locate
from ladder.workcopy import own_files

EXCERPT_LINES = 60


def copied(tmp_path: Path, change: Callable[[list[Any]], None]) -> Path:
    """The list with a change, in a file of its own."""
    content = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    change(content["practices"])
    path = tmp_path / "practices.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def gaps(found: tuple[practices.Practice, ...]) -> list[str]:
    """What is wrong with a list, one line each; empty: nothing.

    Rows that no practice or several show, or no test proves; code that is not there; levels left out;
    patterns that fit no file or stand twice; files that serve no practice.
    """
    known = {each.id for each in practices.rows()}
    shown = Counter(each for practice in found for at in practice.levels.values() for each in at.rows)
    wrong = [f"{row_id}: {shown[row_id]} practices show it" for row_id in known if shown[row_id] != 1]
    wrong += [
        f"{row_id}: no test in tests/maturity proves it" for row_id in known - practices._proofs().keys()
    ]
    numbers = {each.number for each in levels()}
    for practice in found:
        if practice.levels and practice.levels.keys() != numbers:
            left = ", ".join(map(str, sorted(numbers ^ practice.levels.keys())))
            wrong.append(f"practice {practice.id}: level {left} is left out, or does not exist")
        for number, at in practice.levels.items():
            wrong += [
                f"practice {practice.id}: {row_id} is no row of level {number}"
                for row_id in at.rows
                if row_id not in known or practices.row(row_id).level != number
            ]
            wrong += [
                f"practice {practice.id}: no code shows {at.rows[0]}" for _ in at.rows[:1] if not at.code
            ]
            for code in at.code if number in numbers else ():
                try:
                    excerpt(locate(number, code))
                except UserError as error:
                    wrong.append(f"practice {practice.id}: {error}")
    files = {path.as_posix() for each in levels() for path in own_files(each.folder)}
    patterns = Counter(pattern for practice in found for pattern in practice.files)
    wrong += [f"{pattern} stands twice" for pattern, count in patterns.items() if count > 1]
    for pattern in patterns:
        if not any(fnmatchcase(file, pattern) for file in files):
            wrong.append(f"{pattern} fits no file of any level")
    wrong += [
        f"{file} serves no practice"
        for file in sorted(files)
        if not any(fnmatchcase(file, pattern) for pattern in patterns)
    ]
    return wrong


def test_nothing_is_missing_in_the_list() -> None:
    assert gaps(load()) == []


@pytest.mark.parametrize("row", practices.rows(), ids=lambda row: row.id)
def test_every_row_has_one_to_four_places_at_its_own_level_and_a_proof(row: practices.Row) -> None:
    places = practices.code_of(row.id)
    assert 1 <= len(places) <= 4
    for each in places:
        found = excerpt(each)
        assert each.level == row.level
        assert found.path == f"{level(row.level).folder.name}/{each.file}"
        assert found.text.strip()
    proof = practices.proof_of(row.id)
    lines = (ROOT / proof.file).read_text(encoding="utf-8").split("\n")
    assert lines[proof.line - 1].startswith(f"def {proof.name}(")
    assert proof.source.split("\n") == [
        *lines[proof.first - 1 : proof.first + proof.source.count("\n") - 1],
        "",
    ]
    assert f'maturity("{row.id}")' in proof.source


@pytest.mark.parametrize(
    ("file", "practice"),
    [
        ("score.py", "serve"),
        ("bike_demand/data/ingest.py", "ingest"),
        ("bike_demand/data/another.py", "ingest"),
        ("bike_demand/training/reproduce.py", "record"),
        ("bike_demand/release/ab/statistics.py", "try"),
        ("bike_demand/release/trace.py", "trace"),
        ("requirements.lock", "packaging"),
        ("bike_demand/core/settings.py", "start"),
    ],
)
def test_a_file_serves_the_practice_whose_pattern_fits_it_best(file: str, practice: str) -> None:
    found = practices.practice_of(file)
    assert found is not None
    assert found.id == practice


def test_a_file_that_no_pattern_fits_serves_none() -> None:
    assert practices.practice_of("somewhere/else.py") is None


def test_code_of_a_practice_can_be_read_at_a_glance() -> None:
    for practice in practices.practices():
        for number, at in practice.levels.items():
            for each in at.code:
                found = excerpt(locate(number, each))
                assert found.text.count("\n") <= EXCERPT_LINES, (number, each)


def row_missing(content: list[Any]) -> None:
    content[0]["levels"][3]["rows"] = []


def row_twice(content: list[Any]) -> None:
    content[1]["levels"][3]["rows"].append("L3-C1")


def row_of_another_level(content: list[Any]) -> None:
    content[0]["levels"][3]["rows"].append("L2-R2")


def symbol_renamed(content: list[Any]) -> None:
    content[0]["levels"][1]["code"] = ["bike_demand/data/ingest.py#takes_in"]


def file_gone(content: list[Any]) -> None:
    content[0]["levels"][1]["code"] = ["bike_demand/ingest.py#ingest"]


def level_left_out(content: list[Any]) -> None:
    del content[0]["levels"][2]


def pattern_of_nothing(content: list[Any]) -> None:
    content[0]["files"].append("bike_demand/abc/*")


def pattern_twice(content: list[Any]) -> None:
    content[1]["files"].append("bike_demand/data/*")


def nobodys_file(content: list[Any]) -> None:
    content[-1]["files"].remove("pyproject.toml")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (row_missing, ["L3-C1"]),
        (row_twice, ["L3-C1"]),
        (row_of_another_level, ["ingest", "L2-R2"]),
        (symbol_renamed, ["ingest", "level1_", "ingest.py", "takes_in"]),
        (file_gone, ["ingest", "level1_", "bike_demand/ingest.py"]),
        (level_left_out, ["ingest", "level 2"]),
        (pattern_of_nothing, ["bike_demand/abc/*"]),
        (pattern_twice, ["bike_demand/data/*"]),
        (nobodys_file, ["pyproject.toml"]),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_gap_is_found(tmp_path: Path, change: Callable[[list[Any]], None], named: list[str]) -> None:
    found = gaps(load(copied(tmp_path, change)))
    assert any(all(each in line for each in named) for line in found), found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("practices: [", "not YAML"),
        ("topics: []\ntopics: []", "given twice"),
        ("[]", "valid dictionary"),
        ("rows: {}", "practices: Field required"),
        ("practices: [{id: ingest, title: Ingest, says: How.}]", "practices.0.files"),
        ("practices: [{id: ingest, title: Ingest, says: How., files: []}]", "practices.0.files"),
        ("practices: [{id: ingest, title: Ingest, says: How., files: [a], serves: x}]", "practices.0.serves"),
    ],
)
def test_a_mistake_in_the_list_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "practices.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("where", "first", "last"),
    [
        (CodeLocation(3, "bike_demand/serving/app.py", "create_app.predict"), "@app.post(", "media_type"),
        (
            CodeLocation(2, "bike_demand/store/tracking.py", "Tracking.champion"),
            "def champion(self)",
            "self.version(number)",
        ),
        (CodeLocation(3, "bike_demand/release/gates/__init__.py", "GATES"), "GATES = (", ")"),
        (CodeLocation(0, "runbook.yaml", "release.install"), "- id: install", "live/model.pkl"),
        (CodeLocation(1, ".github/workflows/application.yml", "jobs.image"), "image:", "docker stop trial"),
        (CodeLocation(4, "params.yaml", "trigger"), "trigger:", "max_age_days"),
        (CodeLocation(1, "README.md", "Known limitations"), "## Known limitations", "- Rollback"),
        (CodeLocation(0, "demand.ipynb", "X_train, X_test"), "# %%", "mean_absolute_error(y_test"),
    ],
    ids=lambda each: each.symbol if isinstance(each, CodeLocation) else "",
)
def test_a_symbol_is_found_with_all_that_belongs_to_it(where: CodeLocation, first: str, last: str) -> None:
    lines = excerpt(where).text.rstrip("\n").split("\n")
    assert lines[0].lstrip().startswith(first)
    assert last in lines[-1] or last in lines[-2]


def test_an_excerpt_has_the_number_of_its_first_line() -> None:
    found = excerpt(CodeLocation(3, "bike_demand/release/ab/step.py", "_evaluate_test"))
    whole = (ROOT / found.path).read_text(encoding="utf-8").split("\n")
    assert whole[found.first_line - 1].startswith("def _evaluate_test(")
    assert "\n".join(whole[found.first_line - 1 :]).startswith(found.text)


def test_a_symbol_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(UserError, match="there is no nothing"):
        excerpt(CodeLocation(3, "bike_demand/flows.py", "nothing"))


def test_a_row_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(UserError, match="no row L9-Z9"):
        practices.code_of("L9-Z9")
