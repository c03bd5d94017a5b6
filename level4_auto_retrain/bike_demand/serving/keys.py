"""API keys: who may ask and post, and who may look inside."""

import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bike_demand.errors import UserError
from bike_demand.files import write_atomically

HEADER = "X-API-Key"
OPEN = "anyone"  # the client's name where there are no keys

Role = Literal["client", "operations"]


class Key(BaseModel):
    """One key, of which only its SHA-256 is kept: it is random and long, so nobody finds it from that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    role: Role


class Keys:
    """The keys in a file; without the file there are none, and everybody may do everything."""

    def __init__(self, keys: dict[str, Key] | None = None) -> None:
        self._keys = [(name, bytes.fromhex(key.sha256), key.role) for name, key in (keys or {}).items()]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def holder(self, given: str | None) -> tuple[str, Role] | None:
        """Whose key that is, and what it is for; None: nobody's.

        Takes as long for a wrong key as for a right one.
        """
        digest = hashlib.sha256((given or "").encode()).digest()
        found = None
        for name, known, role in self._keys:
            if hmac.compare_digest(digest, known):
                found = (name, role)
        return found


def read_keys(file: Path) -> Keys:
    """The keys in the file; none where there is no file. Raises UserError where it is not a file of keys."""
    return Keys(_read(file))


def make_key(file: Path, name: str, role: Role) -> str:
    """Make a key, add it to the file, and return it: it is not kept anywhere. Raises UserError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise UserError(f"name {name!r}: give up to 64 letters, digits, `_`, `.` or `-`")
    keys = _read(file)
    if name in keys:
        raise UserError(f"{file}: {name} has a key already; delete its entry there, or give another name")
    key = secrets.token_urlsafe(32)
    keys[name] = Key(sha256=hashlib.sha256(key.encode()).hexdigest(), role=role)
    text = yaml.safe_dump({name: each.model_dump() for name, each in keys.items()}, sort_keys=True)
    write_atomically(file, text.encode())
    return key


def _read(file: Path) -> dict[str, Key]:
    try:
        given = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; who may ask is not known") from None
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise UserError(f"{file}: not a file of keys; make one with `python -m bike_demand key NAME`")
    try:
        return {str(name): Key.model_validate(key) for name, key in given.items()}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{file}: {'.'.join(map(str, first['loc'])) or 'top'}: {first['msg']}") from None
