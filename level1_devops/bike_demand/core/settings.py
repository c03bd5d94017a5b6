"""The project's settings (params.yaml) as one frozen object, and the paths of its state."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bike_demand.core.configuration import Section, YamlSettings, read_settings
from bike_demand.core.current import DEFAULT_PROBLEM, PROBLEM

PARAMS = Path("params.yaml")
Params: Any = PROBLEM.params
# Relative to the project's folder, in which every command runs. Created on first use.
STATE = Path("state")
DATA = STATE / "data"  # ingested months
HANDOFF = STATE / "handoff"  # output of the last training
MODEL = STATE / "model"  # the model that the service loads


class TrainingSettings(Section):
    """How a model is trained. Ages are in days of event time, counted back from the newest row."""

    half_life_days: Annotated[float, Field(gt=0)] | None = 30
    min_rows: Annotated[int, Field(ge=1)] = 500
    holdout_days: Annotated[int, Field(ge=1)] = 7
    params: Params = Params()  # hyper-parameters of the problem's model


class ServingSettings(Section):
    """Where the service listens."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    root_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)*$")] = ""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 65
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5


class Settings(YamlSettings):
    """All of params.yaml. BIKE_SECTION__KEY in the environment overrides a key."""

    problem: str = DEFAULT_PROBLEM  # read ahead of the others, by `core.current`
    feed: Annotated[str, Field(min_length=1)] = "feed/"
    first_month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] = "2011-01"
    training: TrainingSettings = TrainingSettings()
    serving: ServingSettings = ServingSettings()


def load_settings(path: Path = PARAMS) -> Settings:
    """Read the settings. Raises UserError that names the invalid key."""
    return read_settings(Settings, path)
