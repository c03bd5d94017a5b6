"""Explains SQLite errors on network shares: its locks and its WAL need a local disk."""

from pathlib import Path

MOUNTS = Path("/proc/mounts")  # Linux only
NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "fuse.rclone", "afs", "ceph", "glusterfs", "lustre")
SYMPTOMS = ("locking protocol", "disk I/O error", "database is locked", "unable to open database file")


def explain_sqlite_error(message: str, database: Path) -> str:
    """SQLite's error for a database file, with cause and remedy if the file is on a network share."""
    kind = file_system(database)
    known = kind is not None and kind.startswith(NETWORK)
    symptom = next((each for each in SYMPTOMS if each in message), None)
    if symptom is None or not (known or symptom == SYMPTOMS[0]):  # the first has no other cause
        return message
    share = f"a network share ({kind})" if known else "probably a network share"
    return f"{symptom}: it is on {share}, where SQLite cannot lock; use a local disk, or PostgreSQL"


def file_system(path: Path) -> str | None:
    """The type of the file system of a path; None if unknown (not Linux)."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    place, depth, found = path.absolute(), 0, None
    for line in lines:
        _, mounted, kind, *_ = line.split(" ")
        folder = Path(mounted.replace("\\040", " "))
        if place.is_relative_to(folder) and len(folder.parts) >= depth:
            depth, found = len(folder.parts), kind
    return found
