"""Writing files and folders so that whoever reads them finds the old ones or the new ones, never a half."""

import os
import shutil
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name, then move it to `path`. Makes the folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp makes files that only their owner can read
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` in the place of `target`; both lie in the same folder.

    No system can swap two folders in one step everywhere. For a moment the old one lies at `.NAME.old`
    and nothing at `target`; killed right there, `settle` puts the old one back.
    """
    settle(target)
    old = _aside(target)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def settle(target: Path) -> None:
    """Finish or undo a `replace_folder` that was cut off."""
    old = _aside(target)
    if not old.exists():
        return
    if target.exists():
        shutil.rmtree(old)
    else:
        old.rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")
