"""The project's settings (params.yaml) as one frozen object, and the paths of its state."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from bike_demand.core.configuration import Section, YamlSettings, read_settings
from bike_demand.core.current import DEFAULT_PROBLEM, FIELDS, KEYS, LABEL_LAG, PROBLEM
from bike_demand.core.problem import DAY

PARAMS = Path("params.yaml")
Params: Any = PROBLEM.params
# Relative to the project's folder, in which every command runs. Created on first use.
STATE = Path("state")
DATA = STATE / "data"  # ingested months
QUARANTINE = STATE / "quarantine.json"  # rows excluded from training, and why
RUN = STATE / "run"  # output of the last training: models, metrics and plots
REPORTS = STATE / "reports"
EVIDENTLY = STATE / "evidently"  # drift reports: evidently ui --workspace state/evidently
SERVING = STATE / "serving"  # the services' cache of versions that were live, one folder per environment
ARTIFACTS = STATE / "artifacts"  # files of the runs, if the tracking store is a database

LABEL_DELAY_DAYS = -(-LABEL_LAG // DAY)  # days until labels are known, rounded up
# How far the loop looks back, in days of the log.
LOG_DAYS = 60  # before the days that are evaluated, to know what is normal
CLEAN_DAYS = 14  # without bad rows, after which later ones are another fault


class TrainingSettings(Section):
    """How a model is trained. Ages are in days of event time, counted back from the newest row."""

    half_life_days: Annotated[float, Field(gt=0)] | None = 30
    min_rows: Annotated[int, Field(ge=1)] = 500
    holdout_days: Annotated[int, Field(ge=1)] = 7
    worst_ratio: Annotated[float, Field(gt=0)] = 0.8
    params: Params = Params()  # hyper-parameters of the problem's model


def _off(value: object) -> object:
    return None if value is False or value == "off" else value


T = TypeVar("T")
Rule = Annotated[T | None, BeforeValidator(_off)]  # None: switched off (`off` in params.yaml)
EXPECTED = {name: each.expected for name, each in FIELDS.items() if each.expected is not None}
TEXTS = [name for name, each in FIELDS.items() if each.kind == "text" and name not in KEYS]
NULLABLE = [name for name, each in FIELDS.items() if each.nullable]


def _one_of(names: Collection[str], what: str) -> AfterValidator:
    """A validator that refuses any other name; `what` is the reason."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"{name} {what}; give one of {', '.join(names) or 'none'}")
        return name

    return AfterValidator(check)


ExpectedRangeField = Annotated[str, _one_of(EXPECTED, "has no expected range")]
NullableField = Annotated[str, _one_of(NULLABLE, "is not a field that may be null")]
TextField = Annotated[str, _one_of(TEXTS, "is not a text field, or is a key")]


class StaleRule(Section):
    """Longest time since the end of the feed's last row."""

    hours: Annotated[int, Field(ge=1)] = 30


class GapsRule(Section):
    """Violated if more than this share of rows is missing within `days` days (longer if below 14 rows)."""

    days: Annotated[int, Field(ge=1)] = 2
    share: Annotated[float, Field(ge=0, lt=1)] = 0.15


class NullsRule(Section):
    """Violated if at least this share of a day's rows is null in a field that had values. The fields in
    `allowed` may be null from now on.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    allowed: tuple[NullableField, ...] = ()


class LabelsRule(Section):
    """Labels differ if they are off by more than `max_difference` of the outcome or of the day's mean
    outcome, whichever is larger. `min_rows` such labels in a day are a violation.
    """

    max_difference: Annotated[float, Field(gt=0)] = 0.2
    min_rows: Annotated[int, Field(ge=1)] = 3


class TextsRule(Section):
    """Violated if at least this share of a day's rows has texts that the field never had, nor `known`."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    known: dict[TextField, tuple[str, ...]] = {}  # noqa: RUF012 (pydantic copies it)


class LevelRule(Section):
    """Violated if a day's labels are this many times as high, or as low, as the recent level."""

    factor: Annotated[float, Field(gt=1)] = 2.5


class QualityRules(Section):
    """Rules for all rows together, by name: see `data.quality`."""

    units: Rule[dict[ExpectedRangeField, Annotated[float, Field(gt=0)]]] = {  # noqa: RUF012 (pydantic copies it)
        name: each.change
        for name, each in EXPECTED.items()
        if each.change is not None and FIELDS[name].convert is not None
    }
    nulls: Rule[NullsRule] = NullsRule()
    texts: Rule[TextsRule] = TextsRule()
    ranges: Rule[dict[ExpectedRangeField, tuple[float, float]]] = {  # noqa: RUF012
        name: (each.low, each.high) for name, each in EXPECTED.items()
    }
    stale: Rule[StaleRule] = StaleRule()
    gaps: Rule[GapsRule] = GapsRule()
    level: Rule[LevelRule] = None
    labels: Rule[LabelsRule] = LabelsRule()

    @field_validator("ranges")
    @classmethod
    def _check_order(
        cls, ranges: dict[ExpectedRangeField, tuple[float, float]] | None
    ) -> dict[ExpectedRangeField, tuple[float, float]] | None:
        for name, (low, high) in (ranges or {}).items():
            if low >= high:
                raise ValueError(f"{name}: the lowest value comes first")
        return ranges


class Flow(Section):
    """The Prefect server to use, and the waits before retries; schedules are in prefect.yaml."""

    api: str = "http://127.0.0.1:4200/api"
    retry_seconds: tuple[Annotated[int, Field(ge=0)], ...] = (10, 60, 300)


class ServiceLog(Section):
    """What the service logs about requests: see `store.writer`, `store.retention`, `serving.telemetry`."""

    flush_seconds: Annotated[float, Field(gt=0, le=60)] = 0.5
    queue: Annotated[int, Field(ge=1000)] = 20000
    keep_days: Annotated[int, Field(ge=1)] = 400 + LABEL_DELAY_DAYS
    requests: bool = True


ReplaceableField = Annotated[str, _one_of([*EXPECTED, *TEXTS], "has neither an expected range nor texts")]
FallbackPolicy = Literal["typical", "none"]


class Fallbacks(Section):
    """When and by what implausible request values are replaced: see `serving.fallback`."""

    # "typical" for all others
    fields: dict[ReplaceableField, FallbackPolicy] = {}  # noqa: RUF012 (pydantic copies it)
    days: Annotated[int, Field(ge=1, le=36_500)] = 45


class ServingSettings(Section):
    """Where the service listens, how often it polls the registry, and what it logs."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    root_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)*$")] = ""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 65
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5
    poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 1
    keys: Annotated[str, Field(min_length=1)] = "state/keys.yaml"
    log: ServiceLog = ServiceLog()
    fallback: Fallbacks = Fallbacks()


class Deploy(Section):
    """Limits of the deployment gates: see `release.gates`. Factors are relative to the champion.

    `promote_to`: the registry to which versions that passed the gates are copied; empty: none.
    """

    automatic: bool = True
    start_seconds: Annotated[float, Field(gt=0)] = 60
    latency_factor: Annotated[float, Field(ge=1)] = 1.5
    memory_factor: Annotated[float, Field(ge=1)] = 1.5
    min_rows: Annotated[int, Field(ge=1)] = 24
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    error_worse: Annotated[float, Field(ge=0)] = 0.25
    slice_worse: Annotated[float, Field(ge=0)] = 0.1
    slice_rows: Annotated[int, Field(ge=2)] = 100
    promote_to: str = ""


# The ids of `release.gates.GATES`, which `core` cannot import; a test compares them.
GateId = Literal["blocked", "artifact", "schema", "golden", "test-environment", "cost", "error", "slices"]
ANYBODY = "*"


class PromotionPolicy(Section):
    """What a version needs to go live: see `release.policy`. The test is configured by `ab`."""

    gates: Annotated[tuple[GateId, ...], Field(min_length=1)] = get_args(GateId)
    test: Literal["ab", "none"] = "ab"
    may_skip_test: tuple[Annotated[str, Field(min_length=1)], ...] = (ANYBODY,)


class Environment(Section):
    """One environment on a version's way to production, with its own alias and database."""

    alias: Annotated[str, Field(pattern=r"^[a-z][a-z_-]*$")]
    database: str = ""  # of a service
    url: str = ""  # of the test environment's permanent service


class Environments(Section):
    """The environments, in the order in which a version passes through them."""

    train: Environment = Environment(alias="trained")
    test: Environment = Environment(alias="candidate", database="sqlite:///state/test.db")
    production: Environment = Environment(alias="champion", database="sqlite:///state/production.db")

    @model_validator(mode="after")
    def _apart(self) -> "Environments":
        taken = ["challenger", "previous", *(each.alias for _, each in self)]
        for alias in taken:
            if taken.count(alias) > 1:
                raise ValueError(f"{alias}: aliases must differ, also from challenger and previous")
        if self.production.alias != "champion":
            raise ValueError("the alias of production must be champion")
        if self.test.database == self.production.database:  # gates log what they send, old rows too
            raise ValueError("test and production have the same database; give each its own")
        return self


class AB(Section):
    """The A/B test of a challenger against the champion: see `release.ab`. Durations are in the time of the
    feed; the label delay is added to them.
    """

    mode: Literal["ab", "shadow"] = "ab"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    salt: Annotated[str, Field(min_length=1)] = PROBLEM.name
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    worse: Annotated[float, Field(gt=0, le=1)] = 0.05
    days: Annotated[int, Field(ge=1)] = 10
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.05
    guardrail: Annotated[float, Field(gt=0)] = 1.0
    randomize_by: Literal["time", "key"] = "key" if KEYS else "time"
    design_effect: Annotated[float, Field(ge=1)] = 2.0
    watch_days: Annotated[int, Field(ge=0)] = 3

    @field_validator("randomize_by")
    @classmethod
    def _has_keys(cls, unit: str) -> str:
        if unit == "key" and not KEYS:
            raise ValueError("the problem has no key field; give time")
        return unit


class Ranges(Section):
    """How expected ranges are computed: the range of the last good days, plus `margin` on each side."""

    days: Annotated[int, Field(ge=1)] = 7
    margin: dict[ExpectedRangeField, Annotated[float, Field(ge=0)]] = {  # noqa: RUF012
        name: each.change for name, each in EXPECTED.items() if each.change is not None
    }


class Drift(Section):
    """How often inputs are compared with the champion's training data, and what counts as drift."""

    every_days: Annotated[int, Field(ge=1)] = 7
    reference_days: Annotated[int, Field(ge=7)] = 60
    distance: Annotated[float, Field(gt=0)] = 1.5
    min_fields: Annotated[int, Field(ge=1)] = 2


class Monitoring(Section):
    """How the loop monitors production: see `monitoring`. Days are feed time."""

    recount_days: Annotated[int, Field(ge=1)] = 14
    ranges: Ranges = Ranges()
    drift: Drift = Drift()


# A binary outcome carries less information than an amount, so its share is estimated less precisely.
IS_PROBABILITY = PROBLEM.prediction_range == (0, 1)


class Trigger(Section):
    """When to train: see `monitoring.retraining_policy`. Biases are shares of the targets."""

    window_days: Annotated[int, Field(ge=3)] = 14
    min_days: Annotated[int, Field(ge=2)] = 3
    min_rows: Annotated[int, Field(ge=1)] = 48
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    bias: Annotated[float, Field(ge=0)] = 0.15 if IS_PROBABILITY else 0.03
    error_increase: Annotated[float, Field(ge=0)] = 0.3
    urgent_bias: Annotated[float, Field(ge=0)] = 0.4 if IS_PROBABILITY else 0.15
    cool_down_days: Annotated[int, Field(ge=1)] = 4
    max_cool_down_days: Annotated[int, Field(ge=1)] = 64
    budget: Annotated[int, Field(ge=1)] = 4
    max_age_days: Annotated[int, Field(ge=1)] = 90

    @model_validator(mode="after")
    def _check_order(self) -> "Trigger":
        if self.max_cool_down_days < self.cool_down_days:
            raise ValueError("max_cool_down_days is shorter than cool_down_days")
        if self.window_days < self.min_days:
            raise ValueError("window_days is shorter than min_days")
        return self


class Alerts(Section):
    """Where alerts are delivered: see `loop.alerts`. An alert is not repeated during its quiet period."""

    webhook: Annotated[str, Field(pattern=r"^([a-z][a-z0-9+.-]*://\S+)?$")] = ""
    quiet_days: Annotated[float, Field(ge=0)] = 7


class Loop(Section):
    """When the loop runs a cycle, and when it pauses trainings: see `loop`. Days are feed time."""

    seconds: Annotated[float, Field(gt=0)] = 3600
    max_failures: Annotated[int, Field(ge=1)] = 3
    pause_days: Annotated[float, Field(ge=0)] = 7
    alerts: Alerts = Alerts()


class Dashboard(Section):
    """The page /dashboard: polling interval, when the loop counts as stopped, and links."""

    refresh_seconds: Annotated[int, Field(ge=1, le=3600)] = 5
    loop_stale_hours: Annotated[float, Field(gt=0)] = 26
    links: dict[
        Annotated[str, Field(min_length=1, max_length=40)],
        Annotated[str, Field(pattern=r"^(https?://\S+|/[^/\s]\S*)$")],
    ] = Field(default={})


class TrackingStore(Section):
    """Where runs and models are logged."""

    uri: Annotated[str, Field(min_length=1)] = "sqlite:///state/mlflow.db"


class Settings(YamlSettings):
    """All of params.yaml. BIKE_SECTION__KEY in the environment overrides a key."""

    shared_variables: ClassVar = {"MLFLOW_TRACKING_URI": ("tracking", "uri")}

    problem: str = DEFAULT_PROBLEM  # read ahead of the others, by `core.current`
    feed: Annotated[str, Field(min_length=1)] = "feed/"
    first_month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] = "2011-01"
    clock: Literal["feed", "wall"] = "feed"
    quality: QualityRules = QualityRules()
    training: TrainingSettings = TrainingSettings()
    flow: Flow = Flow()
    deploy: Deploy = Deploy()
    ab: AB = AB()
    promotion_policy: PromotionPolicy = PromotionPolicy()
    monitoring: Monitoring = Monitoring()
    trigger: Trigger = Trigger()
    environments: Environments = Environments()
    serving: ServingSettings = ServingSettings()
    dashboard: Dashboard = Dashboard()
    loop: Loop = Loop()
    tracking: TrackingStore = TrackingStore()

    @model_validator(mode="after")
    def _check_keep_days(self) -> "Settings":
        monitored_days = self.monitoring.recount_days + LOG_DAYS
        twice = 2 * (self.ab.days + self.ab.watch_days)  # tests and watches may take twice as long
        needed = max(twice, monitored_days) + LABEL_DELAY_DAYS
        if self.serving.log.keep_days < needed:
            raise ValueError(
                f"serving.log.keep_days is too short: a test and its watch, monitoring and late labels"
                f" need at least {needed} days"
            )
        return self


def load_settings(path: Path = PARAMS) -> Settings:
    """Read the settings. Raises UserError that names the invalid key."""
    return read_settings(Settings, path)
