"""How settings are read: defaults in the code, params.yaml over them, environment variables over both."""

import os
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from bike_demand.core.errors import UserError

PREFIX = "BIKE_"  # BIKE_SERVING__PORT=8080 overrides `serving.port`
DELIMITER = "__"

S = TypeVar("S", bound="YamlSettings")


class Section(BaseModel):
    """A group of settings. Unknown keys are refused, so a typing error cannot pass for a setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class YamlSettings(BaseSettings):
    """Settings of a project. A variable that another tool defines too overrides the key named in `shared`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
        validate_default=True,
    )
    shared: ClassVar[dict[str, tuple[str, str]]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides what is given to the constructor, which is the content of params.yaml."""
        return env_settings, init_settings


def read_settings(model: type[S], path: Path) -> S:
    """The settings in a YAML file. Raises UserError that names the key, or the variable, that is wrong."""
    try:
        given = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader) or {}
    except FileNotFoundError:
        raise UserError(f"{path}: not here; run this in the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(given, dict):
        raise UserError(f"{path}: should hold sections like `training:`, not {type(given).__name__}")
    for variable, (section, key) in model.shared.items():
        if os.environ.get(variable):
            given[section] = {**(given.get(section) or {}), key: os.environ[variable]}
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{_source(path, first['loc'])}: {first['msg']}") from None
    except SettingsError as error:
        raise UserError(f"{error}; in an environment variable lists and mappings are JSON") from None


def _source(path: Path, keys: tuple[Any, ...]) -> str:
    """The variable that a value came from, or the file with the key."""
    variable = PREFIX + DELIMITER.join(str(key) for key in keys).upper()
    return variable if variable in os.environ else f"{path}: {'.'.join(map(str, keys)) or 'top'}"
