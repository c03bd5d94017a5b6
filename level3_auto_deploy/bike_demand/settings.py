"""The project's settings (params.yaml) as one frozen object, and where its state lies."""

import os
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bike_demand.errors import UserError

PARAMS = Path("params.yaml")
# Relative to the project's folder, in which every command runs. The folder is made on first use.
STATE = Path("state")
DATA = STATE / "data"  # months as gathered
RUN = STATE / "run"  # what the last training wrote: its models, metrics and plots
REPORTS = STATE / "reports"
SERVING = (
    STATE / "serving"
)  # the services' copies of the versions that were live, a folder for each environment
ARTIFACTS = STATE / "artifacts"  # files of the runs, where the tracking store is a database


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
    worst_ratio: Annotated[float, Field(gt=0)]
    recipe: Recipe


class Validation(_Section):
    """What stops a training: see `data.validate`."""

    days: Annotated[int, Field(ge=1)]
    jump_c: Annotated[float, Field(gt=0)]
    missing_days: Annotated[int, Field(ge=1)]
    missing_share: Annotated[float, Field(ge=0, le=1)]
    stale_hours: Annotated[int, Field(ge=1)]
    clock: Literal["feed", "wall"]


class Flow(_Section):
    """When and where trainings, deployments and the steps of A/B tests run."""

    api: str
    cron: Annotated[str, Field(pattern=r"^\S+( \S+){4}$")]
    ab_cron: Annotated[str, Field(pattern=r"^\S+( \S+){4}$")]
    timezone: Annotated[str, Field(min_length=1)]
    work_pool: Annotated[str, Field(min_length=1)]
    work_pool_type: Literal["process", "docker", "kubernetes"]
    image: str
    retry_seconds: tuple[Annotated[int, Field(ge=0)], ...]


class ServiceLog(_Section):
    """What the service keeps of requests: see `prediction_log.writer` and `serving.telemetry`."""

    flush_seconds: Annotated[float, Field(gt=0, le=60)]
    queue: Annotated[int, Field(ge=1000)]
    requests: bool


class Serving(_Section):
    """Where the service listens, how often it looks which version is live, and what it keeps."""

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=0, le=65535)]
    workers: Annotated[int, Field(ge=1, le=64)]
    root_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)*$")] = ""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 65
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5
    poll_seconds: Annotated[float, Field(gt=0, le=3600)]
    keys: Annotated[str, Field(min_length=1)]
    log: ServiceLog


class Deploy(_Section):
    """What the gates of a deployment allow: see `release.gates`. Factors are of what the champion has."""

    automatic: bool
    golden_tolerance: Annotated[float, Field(gt=0, lt=1)]
    start_seconds: Annotated[float, Field(gt=0)]
    latency_factor: Annotated[float, Field(ge=1)]
    memory_factor: Annotated[float, Field(ge=1)]
    twin_factor: Annotated[float, Field(ge=1)]
    min_rows: Annotated[int, Field(ge=1)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    error_worse: Annotated[float, Field(ge=0)]
    slice_worse: Annotated[float, Field(ge=0)]
    slice_rows: Annotated[int, Field(ge=2)]


class Environment(_Section):
    """One of the places through which a version moves, with what is its own there."""

    alias: Annotated[str, Field(pattern=r"^[a-z][a-z_-]*$")]
    database: str
    url: str


class Environments(_Section):
    """The environments, in the order in which a version moves through them."""

    train: Environment
    test: Environment
    production: Environment

    @model_validator(mode="after")
    def _apart(self) -> "Environments":
        taken = ["challenger", "previous", *(each.alias for _, each in self)]
        for alias in taken:
            if taken.count(alias) > 1:
                raise ValueError(f"the alias {alias} is taken: a version would be there past its gates")
        if self.production.alias != "champion":
            raise ValueError("the alias of production is champion: all that is promoted goes by it")
        return self

    def named(self, name: str) -> Environment:
        """The environment of that name. Raises UserError where there is none."""
        if name not in type(self).model_fields:
            raise UserError(
                f"environment {name!r}: there is none; give one of {', '.join(type(self).model_fields)}"
            )
        found: Environment = getattr(self, name)
        return found


class AB(_Section):
    """The A/B test of a challenger against the champion: see `release.ab`. Times in story time."""

    mode: Literal["ab", "shadow"]
    share: Annotated[float, Field(gt=0, lt=1)]
    salt: Annotated[str, Field(min_length=1)]
    paired: bool
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    worse: Annotated[float, Field(gt=0, le=1)]
    days: Annotated[int, Field(ge=1)]
    tolerance: Annotated[float, Field(ge=0, le=1)]
    guard: Annotated[float, Field(gt=0)]
    watch_days: Annotated[int, Field(ge=0)]


class TrackingStore(_Section):
    """Where runs and models are on record."""

    uri: Annotated[str, Field(min_length=1)]


class Settings(_Section):
    """All of params.yaml."""

    feed: Annotated[str, Field(min_length=1)]
    first_month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
    validation: Validation
    training: Training
    flow: Flow
    deploy: Deploy
    ab: AB
    environments: Environments
    serving: Serving
    tracking: TrackingStore


def load_settings(path: Path = PARAMS) -> Settings:
    """Read the settings; BIKE_FEED overrides `feed`, MLFLOW_TRACKING_URI `tracking.uri`, BIKE_KEYS_FILE
    `serving.keys`, and BIKE_DATABASE_TEST and BIKE_DATABASE_PRODUCTION the `database` of these environments,
    as it may hold a password.

    Raises UserError with the key that is wrong.
    """
    try:
        given = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        raise UserError(f"{path}: not here; run this in the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if isinstance(given, dict) and os.environ.get("BIKE_FEED"):
        given["feed"] = os.environ["BIKE_FEED"]
    if isinstance(given, dict) and os.environ.get("MLFLOW_TRACKING_URI"):
        given["tracking"] = {"uri": os.environ["MLFLOW_TRACKING_URI"]}
    if isinstance(given, dict) and os.environ.get("BIKE_KEYS_FILE"):
        given["serving"]["keys"] = os.environ["BIKE_KEYS_FILE"]
    for name in ("test", "production"):
        address = os.environ.get(f"BIKE_DATABASE_{name.upper()}")
        if address and isinstance(given, dict):
            given["environments"][name]["database"] = address
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc'])) or 'top'}: {first['msg']}") from None
