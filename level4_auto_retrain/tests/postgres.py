"""A real PostgreSQL server for tests, where one is installed."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service import free_port


def _program(name: str) -> str | None:
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(name) or next(
        (str(place / name) for place in places if (place / name).exists()), None
    )


@contextmanager
def running_postgres(folder: Path, port: int | None = None) -> Iterator[str]:
    """A server of its own on this machine, with its data in the folder; the address of its first database."""
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("needs PostgreSQL, which is not installed here")
    data, user = folder / "data", None
    if sys.platform != "win32" and os.geteuid() == 0:  # it refuses to run as root
        user, data = "postgres", _reachable(data)
    if not (data / "PG_VERSION").exists():
        data.mkdir(exist_ok=True)
        if user:
            shutil.chown(data, user)
        command = [initdb, "-D", str(data), "-A", "trust", "-U", "app", "--no-sync", "-E", "UTF8"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", user=user)
    port = port or free_port()
    process = subprocess.Popen(
        [
            server,
            "-D",
            str(data),
            "-p",
            str(port),
            "-k",
            "",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
        ],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=user,
    )
    try:
        yield _answering(f"postgresql+psycopg://app@127.0.0.1:{port}/postgres", process)
    finally:
        process.send_signal(signal.SIGINT)  # at once: on SIGTERM it waits for its clients
        process.wait(30)


def _reachable(link: Path) -> Path:
    """Where the link leads: a folder outside of pytest's, which each pytest of root closes to others."""
    if not link.exists():
        place = Path(tempfile.mkdtemp(prefix="postgres-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        for each in place.parents:
            if each.owner() == "root":
                each.chmod(each.stat().st_mode | 0o011)
        link.symlink_to(place)
    return link.resolve()


def _answering(address: str, process: "subprocess.Popen[bytes]") -> str:
    import psycopg

    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(address.replace("+psycopg", ""), connect_timeout=2).close()
            return address
        except psycopg.OperationalError:
            assert process.poll() is None, "PostgreSQL did not start"
            assert time.monotonic() < until
            time.sleep(0.05)
