"""The one file of a project that says what it was made from."""

import tomllib
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ladder import UserError

FILE = ".starter.toml"
TEXT = """\
# What this project was made from: `ladder climb` reads it, nothing else does. Where you rename the package
# yourself, say so here.
level = {level}
package = "{package}"
version = "{version}"
"""


@dataclass(frozen=True)
class Mark:
    """The level, the name of the package, and the version of the template."""

    level: int
    package: str
    version: str

    def text(self) -> str:
        return TEXT.format(level=self.level, package=self.package, version=self.version)


class _Content(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    level: int = Field(ge=0, le=4)
    package: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    version: str


def read_mark(text: str) -> Mark:
    """The mark in the text of its file. Raises UserError where it is not as it was written."""
    try:
        content = _Content.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        first = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
        where = f": {first[0]}" if first else ""
        raise UserError(f"{FILE}{where} is not as it was written: restore the file from git") from None
    return Mark(content.level, content.package, content.version)
