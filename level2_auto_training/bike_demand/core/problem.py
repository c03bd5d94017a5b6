"""The `Problem` interface: all that the code outside `problem/` knows about the prediction problem.

A problem states facts: the fields of a row, the label, features, model and loss. Policies (which rules,
windows and margins apply) are settings, whose defaults are derived from these facts.
"""

import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pydantic.dataclasses
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from bike_demand.core.errors import UserError

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]  # name to values, each of shape [rows]
Floats = npt.NDArray[np.float64]
Kind = Literal["time", "number", "integer", "category", "boolean", "text"]

# Plausible event times. Placeholders such as 0001-01-01 are rejected; backfills and forecasts are possible.
MIN_TIME, MAX_AHEAD = datetime(1970, 1, 2), timedelta(days=3653)  # ten years after now
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Pattern of times without an offset in OpenAPI documents, whose format `date-time` would require one.
LOCAL_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?"
# The fields of a response besides event time and keys.
RESERVED_FIELDS = ("id", "prediction", "model_version", "variant", "replaced")
_EXAMPLES = {"1h": "be a full hour, like 2012-06-13T17:00:00", "1D": "be midnight, like 2012-06-13T00:00:00"}
_DURATION_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "D": DAY}


# Conversions from the unit that is often confused with a unit, unless `Unit` has its own.
CONVERSIONS: Mapping[str, Callable[[float], float]] = {
    "degrees C": lambda fahrenheit: (fahrenheit - 32) / 1.8
}


def is_plausible(moment: datetime) -> bool:
    """Whether a moment is plausible as an event time, by this machine's clock."""
    return MIN_TIME <= moment <= datetime.now() + MAX_AHEAD


def parse_duration(text: str) -> timedelta:
    """Parse a duration like 30min, 1h or 30D. Raises ValueError."""
    found = re.fullmatch(r"([1-9]\d{0,5})(min|h|D)", text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration; write it like 30min, 1h or 30D")
    return int(found[1]) * _DURATION_UNITS[found[2]]


@dataclass(frozen=True)
class EventTime:
    """Marks the field that holds the event time of a row.

    `cadence` is the interval between rows (a divisor of a day, like 30min, 1h or 1D); with None, rows are
    events that may occur at any second.

    With a `timezone` like Europe/Berlin, rows are stored in UTC, as datetimes without an offset. Files and
    requests give local times, with or without an offset; without one, an ambiguous time (at the end of
    daylight saving time) means the first occurrence. Features receive local times. With None, times are
    wall-clock labels without a zone.
    """

    cadence: str | None = "1h"
    timezone: str | None = None

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone. Raises KeyError or ValueError if it is unknown."""
        return None if self.timezone is None else ZoneInfo(self.timezone)

    def to_utc(self, local: datetime) -> datetime:
        """Convert a local time to the time that rows store (UTC if there is a time zone)."""
        return local.replace(tzinfo=self.zone).astimezone(UTC).replace(tzinfo=None) if self.zone else local

    def to_local(self, time: datetime) -> datetime:
        """Convert the event time of a row to local time."""
        return time.replace(tzinfo=UTC).astimezone(self.zone).replace(tzinfo=None) if self.zone else time

    def format(self, time: datetime) -> str:
        """Format the event time of a row as in files and requests: local, with its offset if there is one."""
        given = time.replace(tzinfo=UTC).astimezone(self.zone) if self.zone else time
        return given.isoformat(timespec="seconds")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        as_text = core_schema.plain_serializer_function_ser_schema(self.format, when_used="json")
        return core_schema.with_info_after_validator_function(
            self._validate, handler(source), serialization=as_text if self.timezone else None
        )

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, str]:
        offset = r"(Z|[+-]\d\d:\d\d)?" if self.timezone else ""
        return {"type": "string", "pattern": f"{LOCAL_TIME}{offset}$"}

    def _validate(self, value: datetime, info: core_schema.ValidationInfo) -> datetime:
        if not is_plausible(value.replace(tzinfo=None)):
            raise ValueError(f"should lie between {MIN_TIME:%Y-%m-%d} and ten years from now")
        if value.tzinfo is not None:
            if self.zone is None:
                raise ValueError("must not have a UTC offset: event times are local")
            value = value.astimezone(UTC).replace(tzinfo=None)
        elif self.timezone and info.mode == "json":  # in Python, rows are in UTC already
            local, value = value, self.to_utc(value)
            if self.to_local(value) != local:
                raise ValueError(f"does not exist in {self.timezone} (start of daylight saving time)")
        if self.cadence is not None and (self.to_local(value) - datetime.min) % parse_duration(self.cadence):
            text = f"lie a multiple of {self.cadence} after midnight, like 2012-06-13T00:00:00"
            raise ValueError(f"should {_EXAMPLES.get(self.cadence, text)}")
        if value.microsecond:
            raise ValueError("should be given in whole seconds")
        return value


class Key:
    """Marks a field that identifies a row together with its event time, like a customer or a machine."""


@dataclass(frozen=True)
class Unit:
    """The unit of a number. `convert` converts from the unit that it is often confused with, if any."""

    name: str
    convert: Callable[[float], float] | None = None


@dataclass(frozen=True)
class Expected:
    """The expected range of a number, in its unit. Values outside are accepted, but may be monitored.

    `change` is the largest plausible difference from the values of the day before.
    """

    low: float
    high: float
    change: float | None = None


class Categories(tuple[str, ...]):
    """Marks an integer as a category. Names its values, starting with the lowest."""

    __slots__ = ()

    def __new__(cls, *names: str) -> "Categories":
        return super().__new__(cls, names)


@dataclass(frozen=True)
class InputField:
    """One input field as described by its annotations. Values outside `valid` are rejected."""

    name: str
    kind: Kind
    description: str
    unit: str
    valid: tuple[float, float]
    expected: Expected | None
    nullable: bool
    categories: tuple[str, ...]
    convert: Callable[[float], float] | None = None  # from the unit that it is often confused with


@dataclass(frozen=True)
class Loss:
    """The error of a prediction; lower is better.

    `per_row(predictions, targets)`: arrays of shape [rows] in, losses of shape [rows] out. Models are
    compared by the mean loss, reported as `name` in `unit`, rounded to `decimals`.
    """

    per_row: Callable[[Any, Any], Any]
    name: str
    unit: str
    decimals: int


@dataclass(frozen=True)
class BehaviorTest:
    """A behavioral test: a property that the model must have, stated in one sentence.

    `find_failure` receives the predictions for `rows` (at most 1,000, sent as one request), in order, and
    returns a description of what is wrong, or None. It is optional: in every test, predictions have to be
    within the prediction range.
    """

    sentence: str
    rows: Callable[[], Sequence[Mapping[str, Any]]]
    find_failure: Callable[[Sequence[float]], str | None] | None = None


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Problem:
    """A prediction problem: its data, features, model and loss.

    - `inputs`: the fields of a request. `label`: the fields that become known later, at most `label_delay`
      after the event time (like 1h or 30D). Its one required field is the label; optional fields are parts
      of it that the feed may provide.
    - `features(columns)`: turns input columns into the named columns that models see, numbers and texts. The
      event time is datetime64[s], texts are str with "" for null, all others are float64 with NaN for null.
      It never receives the label.
    - `build_model(params)`: an unfitted scikit-learn estimator or pipeline, to be fitted to a data frame of
      features.
    - `target(label)`: what the model learns. `loss`: what models are compared by.
    - `metrics`: reported next to the loss, without effect on decisions. Functions of predictions and targets,
      each of shape [rows]; NaN if a metric cannot be computed.
    - `prediction_range`: plausible predictions; a model whose prediction for the example is outside is
      rejected. Served predictions are rounded to `decimals`, not clipped.

    Raises pydantic's ValidationError if an attribute is missing or has the wrong type, and UserError, which
    names the attribute, if attributes contradict each other.
    """

    name: Annotated[str, Field(pattern=r"^[\w-]+$")]  # name of the registered model
    title: str
    description: str
    inputs: type[BaseModel]
    label: type[BaseModel]
    label_delay: str
    features: Callable[[Columns], Columns]
    params: type[BaseModel]
    build_model: Callable[[Any], Any]
    target: Callable[[Any], Any]
    loss: Loss
    unit: str  # unit of a prediction
    prediction_range: tuple[float, float]
    decimals: int
    example: Mapping[str, Any]  # a valid request
    example_label: Mapping[str, Any]  # a possible label for it
    more_examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by what they demonstrate
    baseline: str = "7D"  # to beat: "7D" (the target 7 days earlier), "mean" or "majority"
    average_by: str | None = None  # the input by which losses are averaged first, so that no series dominates
    metrics: Mapping[str, Callable[[Floats, Floats], float]] = field(default_factory=dict)
    slices: Mapping[str, Callable[[Columns], Array]] = field(default_factory=dict)
    behavior_tests: Sequence[BehaviorTest] = ()
    retired: Sequence[str] = ()  # features computed only for older models that still need them
    ignored: Sequence[str] = ()  # columns of files that no code reads: those of fields to come, or removed

    def __post_init__(self) -> None:
        shared = set(self.inputs.model_fields) & set(self.label.model_fields)
        if shared:
            raise UserError(f"problem: label: {min(shared)} is also an input; the model would see the label")
        if self.average_by is not None and self.average_by not in self.inputs.model_fields:
            raise UserError(f"problem: average_by: {self.average_by} is not an input")
        # Evaluated now, so that errors surface on construction.
        _ = self.time, self.keys, self.fields, self.label_name, fields_of(self.label, "label")
        for attribute, length in (("inputs", "cadence"), ("label_delay", "delay"), ("baseline", "season")):
            try:
                getattr(self, length)
            except ValueError as error:
                raise UserError(f"problem: {attribute}: {error}") from None
        if not self.prediction_range[0] < self.prediction_range[1]:
            raise UserError("problem: prediction_range: give the lowest prediction, then the highest")

    @cached_property
    def time(self) -> str:
        """The name of the event time field."""
        found = [name for name, each in self.inputs.model_fields.items() if _find(each.metadata, EventTime)]
        if len(found) != 1:
            raise UserError(f"problem: inputs: {len(found)} fields are marked EventTime(); mark exactly one")
        return found[0]

    @cached_property
    def event_time(self) -> EventTime:
        """The event time's annotation. Raises ValueError if its time zone is unknown or does not fit."""
        field = self.inputs.model_fields[self.time]
        found: EventTime = _find(field.metadata, EventTime)
        try:
            _ = found.zone
        except (KeyError, ValueError):
            raise ValueError(
                f"{self.time} has the timezone {found.timezone}; give one like Europe/Berlin"
            ) from None
        if found.timezone and field.annotation is not datetime:
            raise ValueError(f"{self.time} has a timezone; annotate datetime (NaiveDatetime rejects offsets)")
        return found

    @cached_property
    def cadence(self) -> timedelta | None:
        """The interval between the rows of a key, or None for irregular events. Raises ValueError."""
        text, timezone = self.event_time.cadence, self.event_time.timezone
        if text is not None and (HOUR if timezone else DAY) % parse_duration(text):
            whole = "an hour: with a time zone, days have 23 to 25 hours" if timezone else "a day"
            raise ValueError(f"{self.time} has the cadence {text}; give one that divides {whole}")
        return None if text is None else parse_duration(text)

    @cached_property
    def delay(self) -> timedelta:
        """The longest time from the event time until the label is known. Raises ValueError."""
        return parse_duration(self.label_delay)

    @cached_property
    def season(self) -> timedelta | None:
        """The lag of a seasonal naive baseline, or None for a constant baseline. Raises ValueError."""
        return None if self.baseline in ("mean", "majority") else parse_duration(self.baseline)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The names of the key fields. Raises UserError if one is nullable or not an integer or text."""
        found = fields_of(self.inputs)
        keys = [name for name, each in self.inputs.model_fields.items() if _find(each.metadata, Key)]
        for name in keys:
            if found[name].nullable or found[name].kind not in ("integer", "category", "text"):
                raise UserError(f"problem: inputs: {name} is a key; make it an int or a str, not nullable")
            if name in (*RESERVED_FIELDS, "timestamp"):  # the event time, in responses
                raise UserError(
                    f"problem: inputs: {name} is a key with the name of a response field; rename it"
                )
        return tuple(keys)

    @cached_property
    def fields(self) -> tuple[InputField, ...]:
        """The input fields in order, without the event time."""
        return tuple(each for each in fields_of(self.inputs).values() if each.kind != "time")

    @cached_property
    def label_name(self) -> str:
        """The name of the label."""
        required = [name for name, each in self.label.model_fields.items() if each.is_required()]
        if len(required) != 1:
            raise UserError(f"problem: label: {len(required)} required fields; require the label only")
        return required[0]

    @property
    def label_description(self) -> str:
        """The description of the label."""
        return self.label.model_fields[self.label_name].description or self.label_name


def fields_of(model: type[BaseModel], part: str = "inputs") -> dict[str, InputField]:
    """The fields of a row model, in order. Raises UserError that names a field of an unsupported type."""
    return {name: _parse_field(name, info, part) for name, info in model.model_fields.items()}


def _find(annotations: Sequence[Any], kind: type[Any]) -> Any:
    return next((each for each in annotations if isinstance(each, kind) or each is kind), None)


def _parse_field(name: str, info: FieldInfo, part: str) -> InputField:
    """A field annotated as T, T | None or Annotated[T, ...], or with these nested."""
    alternatives = [info.annotation]
    if get_origin(info.annotation) in (Union, types.UnionType):
        alternatives = list(get_args(info.annotation))
    base_type, *others = [each for each in alternatives if each is not type(None)] or alternatives
    annotations = list(info.metadata)
    if get_origin(base_type) is Annotated:
        base_type, *inner = get_args(base_type)
        for each in inner:
            annotations += each.metadata if isinstance(each, FieldInfo) else [each]
    categories: tuple[str, ...] = _find(annotations, Categories) or ()
    low = next((each.ge for each in annotations if hasattr(each, "ge")), -np.inf)
    high = next((each.le for each in annotations if hasattr(each, "le")), np.inf)
    kinds: dict[Any, Kind] = {float: "number", int: "integer", bool: "boolean", str: "text"}
    if _find(annotations, EventTime):
        kinds = {base_type: "time"}
    if others or base_type not in kinds:
        raise UserError(f"problem: {part}: {name} is {info.annotation}; use float, int, bool or str")
    if base_type is bool:
        low, high = 0, 1
    unit = _find(annotations, Unit)
    return InputField(
        name=name,
        kind="category" if categories else kinds[base_type],
        description=info.description or name,
        unit=unit.name if unit else "",
        valid=(low, high),
        expected=_find(annotations, Expected),
        nullable=type(None) in alternatives,
        categories=categories,
        convert=(unit.convert or CONVERSIONS.get(unit.name)) if unit else None,
    )
