"""The levels as projects of their own: a copy must work elsewhere and not show where it came from."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ladder import ROOT, workcopy
from ladder.levels import Level, levels

# A page that is rendered has a template too; "the template" is what a copy came from.
TRACES = re.compile(r"(?i)level[ _]?[0-4]|mlops|ladder|maturity|\b(?:this|the|our|from a) template\b")
EVERY = pytest.mark.parametrize("level", levels(), ids=lambda level: level.folder.name)


@EVERY
def test_nothing_in_a_level_names_its_number_or_where_it_came_from(level: Level, tmp_path: Path) -> None:
    workcopy.make(level, tmp_path)
    for path in sorted(tmp_path.rglob("*")):
        if ".git" in path.parts or not path.is_file() or path.suffix in (".lock", ".pkl"):
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = re.sub(r'"image/png": "[^"]*"', "", text)  # letters by chance
        found = TRACES.search(text)
        assert found is None, f"{path.name}: {found and found.group()}"


@EVERY
def test_a_level_imports_nothing_from_outside_its_folder(level: Level) -> None:
    others = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"tests"}
    for path in level.folder.rglob("*.py"):
        for name in re.findall(r"(?m)^\s*(?:from|import) ([\w]+)", path.read_text(encoding="utf-8")):
            assert name not in others, f"{path}: {name}"


@pytest.mark.parametrize("level", levels()[1:], ids=lambda level: level.folder.name)
def test_params_yaml_states_the_defaults(level: Level) -> None:
    """Not a test of the level itself: a copy of it may change settings."""
    program = (
        "from bike_demand.core.settings import Settings, load_settings; assert load_settings() == Settings()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=level.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@EVERY
def test_a_working_copy_has_the_levels_own_files_and_no_others(level: Level, tmp_path: Path) -> None:
    workcopy.make(level, tmp_path)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    made = {path for path in made if path.parts[0] != ".git"}
    assert made
    assert all((level.folder / path).read_bytes() == (tmp_path / path).read_bytes() for path in made)
    assert not any(path.parts[0] in ("state", "feed") or "__pycache__" in path.parts for path in made)
    assert (tmp_path / ".git").exists() == (level.number > 0)


def test_the_committed_notebook_is_small_and_has_its_outputs() -> None:
    import nbformat

    path = ROOT / "level0_manual" / "demand.ipynb"
    assert path.stat().st_size < 300_000
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs) >= 3
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert all(cell.execution_count for cell in code)
