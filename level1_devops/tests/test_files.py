"""Files and folders that are replaced as a whole."""

from pathlib import Path

import pytest

from bike_demand.core.files import recover_folder, replace_folder, write_atomically
from tests.tree import contents


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content, encoding="utf-8")
    return path


def test_a_file_is_written_with_its_folders_and_nothing_else(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "a" / "b" / "file", content)
        assert contents(tmp_path) == {"a/b/file": content}


def test_failed_write_keeps_old_file_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"first")
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "file", "text")  # type: ignore[arg-type]
    assert contents(tmp_path) == {"file": b"first"}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("left_over", [False, True])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, there: bool, left_over: bool) -> None:
    if there:
        folder(tmp_path / "target", "before")
    if left_over:
        folder(tmp_path / ".target.old", "long before")
    replace_folder(folder(tmp_path / "new", "after"), tmp_path / "target")
    assert contents(tmp_path) == {"target/file": b"after"}


def test_a_replacement_that_was_cut_off_is_undone(tmp_path: Path) -> None:
    folder(tmp_path / ".target.old", "before")
    recover_folder(tmp_path / "target")
    assert contents(tmp_path) == {"target/file": b"before"}


def test_a_replacement_that_was_done_is_cleaned_up(tmp_path: Path) -> None:
    folder(tmp_path / ".target.old", "before")
    folder(tmp_path / "target", "after")
    recover_folder(tmp_path / "target")
    assert contents(tmp_path) == {"target/file": b"after"}
