"""A folder's content, to compare before and after."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, by its path, with its bytes. Without locks, which stay when released."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
