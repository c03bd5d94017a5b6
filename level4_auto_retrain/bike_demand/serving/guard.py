"""Lets a request in, or not, by the key that it carries."""

import base64
import sys
from pathlib import Path

from fastapi import HTTPException, Request

from bike_demand.errors import UserError
from bike_demand.serving.keys import HEADER, OPEN, Keys, Role, read_keys

_NAME = HEADER.lower().encode()


class Guard:
    """The keys of now. A key that was added or deleted counts from the next `refresh` on."""

    def __init__(self, keys: Keys | None = None, file: Path | None = None) -> None:
        self._file = file
        self._seen = _stamp(file)
        self._keys = keys if keys is not None else read_keys(file) if file else Keys()

    def client(self, request: Request, role: Role, *, browser: bool = False) -> str:
        """The name of who asks. Raises HTTPException 401 without a key that is known, 403 with one that is
        not for this. A `browser` may give the key as the password that it asks its user for (HTTP Basic)."""
        keys = self._keys
        if not keys:
            return OPEN
        holder = keys.holder(_key(request) or (_password(request) if browser else None))
        if holder is None:
            how = 'Basic realm="Bike demand: any name, and a key for operations", charset="UTF-8"'
            asks = {"WWW-Authenticate": how if browser else HEADER}
            raise HTTPException(401, f"give an API key in the header {HEADER}", asks)
        name, its_role = holder
        if its_role != role:
            raise HTTPException(403, f"the key of {name} has the role {its_role}; this needs {role}")
        return name

    def refresh(self) -> None:
        """Take the file's keys where it changed. One that is gone or spoilt changes nothing: that is said."""
        stamp = _stamp(self._file)
        if self._file is None or stamp == self._seen:
            return
        self._seen = stamp
        try:
            if stamp is None and self._keys:
                raise UserError(f"{self._file}: gone")
            self._keys = read_keys(self._file)
        except UserError as error:
            print(f"error: {error} (the keys of before go on counting)", file=sys.stderr, flush=True)


def _key(request: Request) -> str | None:
    for name, value in request.scope["headers"]:
        if name == _NAME:
            text: str = value.decode("latin-1")
            return text
    return None


def _password(request: Request) -> str | None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return None


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None
