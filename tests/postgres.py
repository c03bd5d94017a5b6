"""A real PostgreSQL server with a user and a password, where one is installed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import tenacity

from ladder.service import free_port


@contextmanager
def running_postgres(folder: Path, user: str, password: str) -> Iterator[int]:
    """The port of a server of its own on loopback, with its data in the folder. Skips where there is none."""
    initdb, server = program("initdb"), program("postgres")
    if initdb is None or server is None or sys.platform == "win32":
        pytest.skip("needs PostgreSQL on a POSIX system, which is not installed here")
    runs_as = (
        "postgres" if sys.platform != "win32" and os.geteuid() == 0 else None
    )  # it refuses to run as root
    folder.mkdir(parents=True)
    place = folder
    if runs_as:  # outside of pytest's folder, which every pytest of root closes to other users
        place = Path(tempfile.mkdtemp(prefix="postgres-"))
        for each in (place, *place.parents):
            if each.owner() == "root":
                each.chmod(each.stat().st_mode | 0o011)
    data, secret = place / "data", place / "password"
    data.mkdir()
    secret.write_text(password, encoding="utf-8")
    if runs_as:
        for each in (data, secret):
            shutil.chown(each, runs_as)
    command = [initdb, "-D", str(data), "-A", "scram-sha-256", "--pwfile", str(secret), "-U", user]
    command += ["-E", "UTF8", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", user=runs_as)
    port = free_port()
    settings = ["listen_addresses=127.0.0.1", "fsync=off", "unix_socket_directories="]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", str(data), "-p", str(port), *(word for each in settings for word in ("-c", each))],
            cwd="/",
            stdout=log,
            stderr=subprocess.STDOUT,
            user=runs_as,
        )
    try:
        _wait(port, user, password)
        yield port
    finally:
        process.send_signal(signal.SIGINT)  # at once: on SIGTERM it waits for its clients
        process.wait(30)
        if runs_as:
            shutil.rmtree(place, ignore_errors=True)


def query(port: int, user: str, password: str, database: str, sql: str) -> list[tuple[object, ...]]:
    """The rows of a query; none of a command."""
    with psycopg.connect(
        host="127.0.0.1", port=port, user=user, password=password, dbname=database, autocommit=True
    ) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


@tenacity.retry(
    stop=tenacity.stop_after_delay(30),
    wait=tenacity.wait_fixed(0.05),
    retry=tenacity.retry_if_exception_type(psycopg.OperationalError),
    reraise=True,
)
def _wait(port: int, user: str, password: str) -> None:
    query(port, user, password, "postgres", "SELECT 1")


def program(name: str) -> str | None:
    """A program of PostgreSQL; None where it is not installed."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)])
    return shutil.which(name, path=path)
