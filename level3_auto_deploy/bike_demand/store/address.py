"""The address of the tracking store: which ones there are, and whether anybody answers there."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

from bike_demand.core.errors import UnreachableError, UserError

SETTING = "tracking.uri"  # where an address is given, if nothing else is said
CONNECT_SECONDS = 2.0
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def absolute(uri: str, given: str = SETTING) -> str:
    """The address with a sqlite path made absolute: MLflow keeps one store for each address it was given.

    Raises UserError where it is no address of a store, with where it was `given`.
    """
    try:
        parts = urlsplit(uri)
        scheme, _port = parts.scheme.partition("+")[0], parts.port
    except ValueError as error:  # a port that is no number, a bracket that is not closed
        raise UserError(f"{given} {uri!r}: {error}; correct it") from None
    if scheme == "sqlite":
        return f"sqlite:///{Path(uri.partition(':///')[2]).absolute().as_posix()}"
    if scheme in ("http", "https", *DATABASES):
        return uri.rstrip("/")
    raise UserError(
        f"{given} {uri!r}: not an address of a store; give sqlite:///FILE, postgresql://... or the http(s)"
        " address of an MLflow server"
    )


def is_database(uri: str) -> bool:
    """Whether it is a database, and not an MLflow server in front of one."""
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES


def reach(uri: str, given: str = SETTING) -> None:
    """Find out in two seconds whether anybody listens there: MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    port = parts.port or {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}.get(
        parts.scheme.partition("+")[0], 0
    )
    if not parts.hostname:
        return
    try:
        socket.create_connection((parts.hostname, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise UnreachableError(
            f"{without_password(uri)}: the tracking store does not answer ({error}); start it, or give"
            f" another {given}"
        ) from None


def without_password(uri: str) -> str:
    """The address as it may be shown."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
