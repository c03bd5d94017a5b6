"""Writes files and folders atomically: readers see the old content or the new, never a mixture."""

import os
import shutil
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file, then rename it to `path`. Creates the folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp creates files that only their owner can read
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_folder(new: Path, target: Path) -> None:
    """Replace the folder `target` with the folder `new`; both must have the same parent.

    No portable call swaps two folders in one step. For a moment the old folder is at `.NAME.old` and
    `target` does not exist; if the process is killed then, `recover_folder` restores the old folder.
    """
    recover_folder(target)
    old = _backup_path(target)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Finish or undo an interrupted `replace_folder`. To be called before `target` is read."""
    old = _backup_path(target)
    if not old.exists():
        return
    if target.exists():
        shutil.rmtree(old)
    else:
        old.rename(target)


def _backup_path(target: Path) -> Path:
    return target.parent / f".{target.name}.old"  # the name of "." is empty
