"""Reads settings: defaults in the code, overridden by params.yaml, overridden by environment variables."""

import os
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from bike_demand.core.errors import UserError

PREFIX = "BIKE_"  # BIKE_SERVING__PORT=8080 overrides `serving.port`
DELIMITER = "__"

SettingsT = TypeVar("SettingsT", bound="YamlSettings")


class Section(BaseModel):
    """A group of settings. Unknown keys are rejected, so that a typo is not silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class YamlSettings(BaseSettings):
    """Settings of a project.

    `shared_variables`: environment variables that other tools read as well, with the key that each overrides.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
        validate_default=True,
    )
    shared_variables: ClassVar[dict[str, tuple[str, str]]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment variables override the constructor's arguments, which come from params.yaml."""
        return env_settings, init_settings


def read_settings(model: type[SettingsT], path: Path) -> SettingsT:
    """Read settings from a YAML file. Raises UserError that names the invalid key or variable."""
    given = read_yaml(path, "sections like `training:`")
    for variable, (section, key) in model.shared_variables.items():
        if os.environ.get(variable) and isinstance(given.get(section) or {}, dict):
            given[section] = {**(given.get(section) or {}), key: os.environ[variable]}
    try:
        return model(**{str(key): value for key, value in given.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{_origin(path, first['loc'])}: {first['msg']}") from None
    except SettingsError as error:
        raise UserError(f"{error}; write lists and mappings in environment variables as JSON") from None


class UniqueKeyLoader(yaml.CSafeLoader):
    """Rejects duplicate keys, of which YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is given twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, expected: str) -> dict[Any, Any]:
    """The mapping in a YAML file, empty for an empty file. Raises UserError for any other content."""
    try:
        given = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=UniqueKeyLoader) or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run this in the project's folder") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, like 2011-13-01
        tab = "; indent with spaces, not tabs" if "cannot start any token" in str(error) else ""
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}{tab}") from None
    if not isinstance(given, dict):
        raise UserError(f"{path}: expected {expected}, not {type(given).__name__}")
    return given


def _origin(path: Path, keys: tuple[Any, ...]) -> str:
    """Where a value came from: the environment variable, or the file and key."""
    variable = PREFIX + DELIMITER.join(str(key) for key in keys).upper()
    return variable if variable in os.environ else f"{path}: {'.'.join(map(str, keys)) or 'top level'}"
