"""The project's settings (params.yaml) as one frozen object, and where its state lies."""

import os
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bike_demand.errors import UserError

PARAMS = Path("params.yaml")
# Relative to the project's folder, in which every command runs. The folder is made on first use.
STATE = Path("state")
DATA = STATE / "data"  # months as gathered
HANDOFF = STATE / "handoff"  # what the last training wrote
MODEL = STATE / "model"  # what the service answers with


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Recipe(_Section):
    """What of the model can be tuned; the rest is fixed in `training.model`."""

    learning_rate: Annotated[float, Field(gt=0, le=1)]
    max_iter: Annotated[int, Field(ge=1)]
    max_leaf_nodes: Annotated[int, Field(ge=2)]
    min_samples_leaf: Annotated[int, Field(ge=1)]
    random_state: Annotated[int, Field(ge=0)]


class Training(_Section):
    """How a model is trained. Ages in days of the feed, not of the clock."""

    half_life_days: Annotated[float, Field(gt=0)]
    min_rows: Annotated[int, Field(ge=1)]
    holdout_days: Annotated[int, Field(ge=1)]
    recipe: Recipe


class Serving(_Section):
    """Where the service listens."""

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=0, le=65535)]
    workers: Annotated[int, Field(ge=1, le=64)]
    root_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)*$")] = ""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 65
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5


class Settings(_Section):
    """All of params.yaml."""

    feed: Annotated[str, Field(min_length=1)]
    first_month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
    training: Training
    serving: Serving


def load_settings(path: Path = PARAMS) -> Settings:
    """Read the settings; BIKE_FEED overrides `feed`. Raises UserError with the key that is wrong."""
    try:
        given = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        raise UserError(f"{path}: not here; run this in the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if isinstance(given, dict) and os.environ.get("BIKE_FEED"):
        given["feed"] = os.environ["BIKE_FEED"]
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc'])) or 'top'}: {first['msg']}") from None
