"""`ladder maturity`, and the rows in the READMEs of the levels."""

from pathlib import Path

import pytest

from ladder import cli, maturity
from ladder.levels import Level, levels
from ladder.practices import every_row, proof_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADDER_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("level", levels(), ids=lambda each: each.folder.name)
def test_a_readme_has_the_rows_of_its_level(level: Level) -> None:
    text = (level.folder / "README.md").read_text(encoding="utf-8")
    assert text == maturity.readme(level), "run `python -m ladder.maturity`"


def test_each_row_is_printed_with_its_proof_and_its_last_result(capsys: pytest.CaptureFixture[str]) -> None:
    maturity.store({"L2-H1": "passed", "L2-H2": "failed"})
    maturity.store({"L2-H2": "passed"})
    assert {row: each["outcome"] for row, each in maturity.results().items()} == {
        "L2-H1": "passed",
        "L2-H2": "passed",
    }
    assert cli.main(["maturity", "2"]) == 0
    out = capsys.readouterr().out
    for each in every_row():
        assert (each.id in out) == (each.level == 2)
    lines = out.split("\n")
    first = next(at for at, line in enumerate(lines) if line.startswith("L2-H1"))
    assert lines[first].rstrip().endswith("passed")
    assert proof_of("L2-H1").name in lines[first + 1]
    assert "not run" in out


def test_all_levels_are_printed_and_one_that_was_never_proven_says_how(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["maturity"]) == 0
    out = capsys.readouterr().out
    assert all(each.id in out for each in every_row())
    assert "tests/maturity" in out


def test_results_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    (tmp_path / "maturity.json").write_text("[", encoding="utf-8")
    assert maturity.results() == {}
