"""The carry-over rule: what does not change from one level to the next is the same to the byte."""

from pathlib import Path

import yaml

from ladder import carry
from ladder.levels import Level


def project(folder: Path, **files: str) -> Level:
    for name, content in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return Level(1, folder.name, folder)


def test_the_list_of_what_each_level_changes_is_up_to_date() -> None:
    found = carry.as_written(carry.differences())
    written = yaml.safe_load(carry.LIST.read_text(encoding="utf-8"))
    assert written == found, "edit carried files in every level, or run `python -m ladder.carry`"


def test_a_file_edited_in_one_level_only_is_no_longer_carried(tmp_path: Path) -> None:
    lower = project(tmp_path / "lower", same="1", other="1", old="1")
    upper = project(tmp_path / "upper", same="1", other="1", extra="1")
    assert carry.compare_levels(lower, upper) == {
        "new": ["extra.py"],
        "changed": [],
        "gone": ["old.py"],
        "carried": ["other.py", "same.py"],
    }
    (upper.folder / "same.py").write_text("2", encoding="utf-8")
    assert carry.compare_levels(lower, upper)["changed"] == ["same.py"]
