"""The project's settings (params.yaml) as one frozen object, and where its state lies."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bike_demand.configuration import Section, YamlSettings, read_settings

PARAMS = Path("params.yaml")
# Relative to the project's folder, in which every command runs. The folder is made on first use.
STATE = Path("state")
DATA = STATE / "data"  # months as gathered
RUN = STATE / "run"  # what the last training wrote: its models, metrics and plots
REPORTS = STATE / "reports"
SERVING = STATE / "serving"  # the service's copies of the versions that were live
ARTIFACTS = STATE / "artifacts"  # files of the runs, where the tracking store is a database


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
    worst_ratio: Annotated[float, Field(gt=0)] = 0.8
    recipe: Recipe = Recipe()


class Validation(Section):
    """What stops a training: see `data.validate`."""

    days: Annotated[int, Field(ge=1)] = 35
    jump_c: Annotated[float, Field(gt=0)] = 12
    missing_days: Annotated[int, Field(ge=1)] = 14
    missing_share: Annotated[float, Field(ge=0, le=1)] = 0.15
    stale_hours: Annotated[int, Field(ge=1)] = 48
    clock: Literal["feed", "wall"] = "feed"


class Flow(Section):
    """When and where trainings run."""

    api: str = "http://127.0.0.1:4200/api"
    cron: Annotated[str, Field(pattern=r"^\S+( \S+){4}$")] = "0 5 1 * *"
    timezone: Annotated[str, Field(min_length=1)] = "UTC"
    work_pool: Annotated[str, Field(min_length=1)] = "training"
    work_pool_type: Literal["process", "docker", "kubernetes"] = "process"
    image: str = "bike-demand-training"
    retry_seconds: tuple[Annotated[int, Field(ge=0)], ...] = (10, 60, 300)


class Serving(Section):
    """Where the service listens, and how often it looks which version is live."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    root_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)*$")] = ""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 65
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5
    poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 1


class Release(Section):
    """When a version may go live instead of another."""

    min_rows: Annotated[int, Field(ge=1)] = 24
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.05


class TrackingStore(Section):
    """Where runs and models are on record."""

    uri: Annotated[str, Field(min_length=1)] = "sqlite:///state/mlflow.db"


class Settings(YamlSettings):
    """All of params.yaml. BIKE_SECTION__KEY in the environment overrides a key."""

    shared: ClassVar = {"MLFLOW_TRACKING_URI": ("tracking", "uri")}

    feed: Annotated[str, Field(min_length=1)] = "feed/"
    first_month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] = "2011-01"
    validation: Validation = Validation()
    training: Training = Training()
    flow: Flow = Flow()
    release: Release = Release()
    serving: Serving = Serving()
    tracking: TrackingStore = TrackingStore()


def load_settings(path: Path = PARAMS) -> Settings:
    """Read the settings. Raises UserError with the key that is wrong."""
    return read_settings(Settings, path)
