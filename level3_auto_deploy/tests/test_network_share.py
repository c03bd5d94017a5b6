"""What SQLite says on a network share, with the cause and the remedy."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.onnx_model import load_model
from bike_demand.store import network_share
from bike_demand.store.tracking import Tracking
from tests.service import serve_in_thread

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/my\\040disk ext4 rw 0 0
//server/share /mnt/share cifs rw 0 0
"""
REMEDY = "use a local disk, or PostgreSQL"


@pytest.fixture(autouse=True)
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mounts").write_text(MOUNTS, encoding="utf-8")
    monkeypatch.setattr(network_share, "MOUNTS", tmp_path / "mounts")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/a.db", "ext4"),
        ("/home/me/state/a.db", "nfs4"),
        ("/home/my disk/a.db", "ext4"),
        ("/homeless/a.db", "ext4"),
        ("/mnt/share/a.db", "cifs"),
    ],
)
def test_the_innermost_mount_says_what_a_file_is_on(path: str, kind: str) -> None:
    assert network_share.file_system(Path(path)) == kind


@pytest.mark.parametrize("output", ["disk I/O error", "locking protocol", "database is locked"])
def test_an_error_on_a_share_is_reported_with_cause_and_remedy(output: str) -> None:
    reported = network_share.explain_sqlite_error(output, Path("/home/me/state/a.db"))
    assert reported.startswith(f"{output}: it is on a network share (nfs4)")
    assert reported.endswith(REMEDY)


@pytest.mark.parametrize("output", ["disk I/O error", "database is locked"])
def test_on_a_local_disk_it_has_another_cause(output: str) -> None:
    assert network_share.explain_sqlite_error(output, Path("/srv/a.db")) == output


def test_a_locking_error_has_no_other_cause_where_the_system_does_not_name_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_share, "MOUNTS", tmp_path / "none")
    assert network_share.explain_sqlite_error("locking protocol", Path("/srv/a.db")).endswith(REMEDY)
    assert network_share.explain_sqlite_error("disk I/O error", Path("/srv/a.db")) == "disk I/O error"


@pytest.mark.usefixtures("stored")
def test_ready_reports_locked_database_and_keeps_serving(
    handoff: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = Tracking(load_settings())
    assert tracking.versions() == []

    def refuse(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("locking protocol")

    monkeypatch.setattr(sqlite3.dbapi2, "connect", refuse)
    with pytest.raises(UserError, match="probably a network share, where SQLite cannot lock") as reported:
        tracking.versions()
    holder = ModelHolder(load_model(handoff, "17"))
    holder.error = str(reported.value)
    with serve_in_thread(create_app(holder)) as client:
        response = client.get("/ready")
    assert (response.status_code, response.json()) == (
        200,
        {"status": "ready", "warning": str(reported.value)},
    )
