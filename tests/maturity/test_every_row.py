"""Every row of the maturity model has a proof at each level that exists, and each proof a row."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ladder import ROOT
from ladder.levels import levels

HERE = Path(__file__).parent
ROWS: dict[str, int] = {
    row["id"]: row["level"]
    for row in yaml.safe_load((ROOT / "docs" / "maturity-model.yaml").read_text(encoding="utf-8"))["rows"]
    if row.get("shown", True)
}
EXISTING = {level.number for level in levels()}
TEST = """
import pytest

@pytest.mark.maturity("L0-H1")
def test_one() -> None: ...

@pytest.mark.slow
@pytest.mark.maturity("{id}")
def {name}() -> None: ...
"""


def markers(folder: Path) -> Iterator[tuple[str, str, set[str]]]:
    """Of each maturity marker in the test files of a folder: its id, its test, and that test's other markers.

    Read from the files and not from pytest, which would forget a test that was deselected.
    """
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = [_mark(each) for each in node.decorator_list]
                others = {name for name, _ in marks if name != "maturity"}
                yield from (
                    (row, f"{path.name}::{node.name}", others) for name, row in marks if name == "maturity"
                )


def _mark(decorator: ast.expr) -> tuple[str, str]:
    """The name of a marker and its first argument, as text."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = called.attr if isinstance(called, ast.Attribute) else ""
    first = decorator.args[:1] if isinstance(decorator, ast.Call) else []
    return name, str(first[0].value) if first and isinstance(first[0], ast.Constant) else ""


def gaps(folder: Path) -> list[str]:
    """What is wrong with the proofs in a folder: rows without one, ids of no row, tests in a wrong file."""
    found = list(markers(folder))
    # A test that may be left out, or may fail, proves nothing by itself.
    proven = {row for row, _, others in found if not others & {"slow", "skip", "skipif", "xfail"}}
    missing = [f"{row}: no test" for row, number in ROWS.items() if number in EXISTING and row not in proven]
    unknown = [f"{test}: there is no row {row}" for row, test, _ in found if row not in ROWS]
    astray = [
        f"{test}: {row} belongs in test_level{ROWS[row]}.py"
        for row, test, _ in found
        if row in ROWS and not test.startswith(f"test_level{ROWS[row]}.py::")
    ]
    return missing + unknown + astray


def test_every_row_of_every_existing_level_has_a_test() -> None:
    assert gaps(HERE) == []


def test_the_model_has_rows_and_levels_and_each_test_proves_one_row() -> None:
    assert {0, 1} <= EXISTING
    assert {ROWS[row] for row in ROWS} >= EXISTING
    for test, group in itertools.groupby(markers(HERE), key=lambda each: each[1]):
        assert len(list(group)) == 1, f"{test} claims more than one row"


@pytest.mark.parametrize(
    ("row", "name", "wrong"),
    [
        ("L0-H2", "test_two", "L0-H2: no test"),
        ("L0-H2", "helper", "L0-H2: no test"),
        ("L9-X1", "test_two", "test_level0.py::test_two: there is no row L9-X1"),
        ("L1-H1", "test_two", "test_level0.py::test_two: L1-H1 belongs in test_level1.py"),
    ],
    ids=["may be left out", "not a test", "no such row", "wrong file"],
)
def test_a_gap_is_found(tmp_path: Path, row: str, name: str, wrong: str) -> None:
    (tmp_path / "test_level0.py").write_text(TEST.format(id=row, name=name), encoding="utf-8")
    found = gaps(tmp_path)
    assert wrong in found
    assert "L0-H1: no test" not in found
    assert "L0-T1: no test" in found
