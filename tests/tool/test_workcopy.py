"""Working copies: made anew without losing what is somebody's, and without getting stuck."""

from pathlib import Path

import pytest

from ladder import UserError, workcopy


def test_a_fresh_folder_replaces_one_that_the_tool_made(tmp_path: Path) -> None:
    folder = workcopy.fresh(tmp_path / "demo")
    (folder / "old").touch()
    assert [path.name for path in workcopy.fresh(folder).iterdir()] == [workcopy.MARK]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis").touch()
    with pytest.raises(UserError, match="was not made by this tool"):
        workcopy.fresh(tmp_path / "demo")
    assert (tmp_path / "demo" / "thesis").exists()


def test_a_removal_that_was_cut_off_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workcopy.fresh(tmp_path / "demo")
    (folder / "big").touch()

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ladder.workcopy.shutil.rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            workcopy.fresh(folder)
    assert [path.name for path in workcopy.fresh(folder).iterdir()] == [workcopy.MARK]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
