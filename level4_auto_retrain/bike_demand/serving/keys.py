"""API keys with two roles: client (predictions, outcomes) and operations (models, metrics)."""

import base64
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import yaml
from fastapi import HTTPException, Request
from fastapi.security import APIKeyHeader
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bike_demand.core.configuration import read_yaml
from bike_demand.core.errors import UserError, first_violation
from bike_demand.core.files import write_atomically
from bike_demand.store.connection import file_stamp

HEADER = "X-API-Key"
BASIC = 'Basic realm="any name, and an operations key as password", charset="UTF-8"'
OPEN = "anyone"  # the client's name without keys
CLIENT = "bike_demand.client"  # key of a client's name in the scope of its request
CHECK_SECONDS = 1.0  # how soon a changed key file takes effect

KeyRole = Literal["client", "operations"]
log = logging.getLogger(__name__)


class StoredKey(BaseModel):
    """One key. Only its SHA-256 is stored: keys are long and random, so that a plain hash is enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    role: KeyRole


class ApiKeys:
    """The keys in a file, which is read again soon after it changes.

    Access is open until the file first exists, unless it `may_be_open` not at all.
    """

    def __init__(self, file: Path | None = None, *, may_be_open: bool = True) -> None:
        self._file = file
        self.is_open = may_be_open  # whether anyone may send requests, because there has never been a file
        self._keys: dict[str, StoredKey] = {}
        self._seen: tuple[int, int, int] | None = (0, 0, 0)  # differs from that of a missing file
        self._check_at = 0.0

    def holder(self, given: str | None) -> tuple[str, KeyRole | None] | None:
        """Name and role of a key's owner; None for an unknown key. Takes constant time.

        With open access, everybody is OPEN, without a role.
        """
        if time.monotonic() >= self._check_at:
            self.update()
        if self.is_open:
            return OPEN, None
        digest = hashlib.sha256((given or "").encode()).hexdigest()
        found = None
        for name, key in self._keys.items():
            if hmac.compare_digest(digest, key.sha256):
                found = (name, key.role)
        return found

    def update(self) -> None:
        """Read the file again if it changed. If it is missing or damaged, the keys in force stay."""
        self._check_at = time.monotonic() + CHECK_SECONDS
        stamp = file_stamp(self._file)
        if self._file is None or stamp == self._seen:
            return
        self._seen = stamp
        self.is_open = self.is_open and stamp is None
        try:
            if stamp is None and not self.is_open:
                raise UserError(f"{self._file}: missing")
            self._keys = read_keys(self._file)
        except UserError as error:
            effect = "previous keys stay in force" if self._keys else "all are refused"
            log.error("keys_error", extra={"detail": f"{error}; {effect}"})


class RequireKey(APIKeyHeader):
    """Dependency that admits a request by its API key. Returns the client's name.

    For operations, which only read, the key may also be the password of HTTP Basic, with any user name. A
    browser sends that with every page's requests, so it must not be enough to store anything.

    Raises HTTPException 401 without a known key, 403 for a key with another role. For pages (`browser`) both
    are 401, at which a browser asks for the key, or for another one.
    """

    def __init__(self, keys: ApiKeys, role: KeyRole, *, browser: bool = False) -> None:
        super().__init__(name=HEADER, scheme_name="ApiKey", auto_error=False)
        self._keys, self._role = keys, role
        self._challenge, self._wrong_role = (BASIC, 401) if browser else (HEADER, 403)

    def given(self, request: Request) -> str | None:
        """The API key of the request."""
        if (key := request.headers.get(HEADER)) is not None or self._role == "client":
            return key
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            decoded = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
        except ValueError:
            return None
        return decoded.partition(":")[2] or None

    async def __call__(self, request: Request) -> str:
        """The name of the client, which is also noted in the request's scope."""
        holder = self._keys.holder(self.given(request))
        headers = {"WWW-Authenticate": self._challenge}
        if holder is None:
            raise HTTPException(401, f"give an API key in the header {HEADER}", headers)
        name, role = holder
        request.scope[CLIENT] = name
        if role not in (None, self._role):
            message = f"the key of {name} has the role {role}; this needs {self._role}"
            raise HTTPException(self._wrong_role, message, headers)
        return name


def make_key(file: Path, name: str, role: KeyRole | None = None, *, replace: bool = False) -> str:
    """Create a key, add its digest to the file, and return the key itself. Raises UserError.

    Without a role it is that of the key that this one replaces, else client.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise UserError(f"name {name!r}: give up to 64 letters, digits, `_`, `.` or `-`")
    key = secrets.token_urlsafe(32)
    with _keys_to_change(file) as keys:
        if name in keys and not replace:
            raise UserError(f"{file}: {name} has a key already; give --replace, or another name")
        role = role or (keys[name].role if name in keys else "client")
        keys[name] = StoredKey(sha256=hashlib.sha256(key.encode()).hexdigest(), role=role)
    return key


def revoke_key(file: Path, name: str) -> None:
    """Delete a key from the file. Raises UserError if there is none of that name."""
    with _keys_to_change(file) as keys:
        if keys.pop(name, None) is None:
            raise UserError(f"{file}: no key of {name}; keys there: {', '.join(keys) or 'none'}")


@contextmanager
def _keys_to_change(file: Path) -> Iterator[dict[str, StoredKey]]:
    """The keys in the file, to be changed inside the block; it is written at the end, unless that fails."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        keys = read_keys(file)
        yield keys
        text = yaml.safe_dump({name: each.model_dump() for name, each in keys.items()}, sort_keys=True)
        write_atomically(file, text.encode())


def read_keys(file: Path) -> dict[str, StoredKey]:
    """The keys in the file by name; empty if there is no file. Raises UserError for any other content."""
    if not file.exists():
        return {}
    try:
        given = read_yaml(file, "keys by name, as `python -m bike_demand key NAME` makes them")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; the API keys cannot be read") from None
    try:
        return {str(name): StoredKey.model_validate(key) for name, key in given.items()}
    except ValidationError as error:
        raise UserError(f"{file}: {first_violation(error)}") from None
