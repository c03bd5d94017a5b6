"""The project's settings (params.yaml) as one frozen object, and where its state lies."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bike_demand.configuration import Section, YamlSettings, read_settings

PARAMS = Path("params.yaml")
# Relative to the project's folder, in which every command runs. The folder is made on first use.
STATE = Path("state")
DATA = STATE / "data"  # months as gathered
HANDOFF = STATE / "handoff"  # what the last training wrote
MODEL = STATE / "model"  # what the service answers with


class Recipe(Section):
    """What of the model can be tuned; the rest is fixed in `training.model`."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    max_iter: Annotated[int, Field(ge=1)] = 100
    max_leaf_nodes: Annotated[int, Field(ge=2)] = 31
    min_samples_leaf: Annotated[int, Field(ge=1)] = 20
    random_state: Annotated[int, Field(ge=0)] = 0


class Training(Section):
    """How a model is trained. Ages in days of the feed, not of the clock."""

    half_life_days: Annotated[float, Field(gt=0)] = 30
    min_rows: Annotated[int, Field(ge=1)] = 500
    holdout_days: Annotated[int, Field(ge=1)] = 7
    recipe: Recipe = Recipe()


class Serving(Section):
    """Where the service listens."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    root_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)*$")] = ""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 65
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5


class Settings(YamlSettings):
    """All of params.yaml. BIKE_SECTION__KEY in the environment overrides a key."""

    feed: Annotated[str, Field(min_length=1)] = "feed/"
    first_month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] = "2011-01"
    training: Training = Training()
    serving: Serving = Serving()


def load_settings(path: Path = PARAMS) -> Settings:
    """Read the settings. Raises UserError with the key that is wrong."""
    return read_settings(Settings, path)
