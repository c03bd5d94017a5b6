"""The problem that this project solves, and the row models and helpers derived from it.

Loaded on import: the module that BIKE_PROBLEM names, else `problem` in ./params.yaml, else the
package's own. An invalid problem ends the process with a message.
"""

import importlib
import os
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from bike_demand.core.configuration import PREFIX
from bike_demand.core.errors import UserError, first_violation
from bike_demand.core.problem import Floats, Problem

if TYPE_CHECKING:  # the service has no pandas
    import pandas as pd

PROBLEM_VARIABLE = f"{PREFIX}PROBLEM"
DEFAULT_PROBLEM = "bike_demand.problem"
BACKUPS = Path("state", "before-draft")  # a folder for each draft, with everything that it replaced


def _load_problem() -> Problem:
    name = os.environ.get(PROBLEM_VARIABLE) or _problem_from_params() or DEFAULT_PROBLEM
    try:
        found = importlib.import_module(name).PROBLEM
    except UserError:
        raise
    except ValidationError as error:
        raise UserError(f"problem: {first_violation(error)}") from None
    except Exception as error:  # the problem's own code may raise anything
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        missing = getattr(error, "name", None)  # of a module or an attribute
        if missing == "PROBLEM" or f"{name}.".startswith(f"{missing}."):
            message += "; name a package that defines PROBLEM"
        elif backups := sorted(map(Path.as_posix, BACKUPS.glob("*"))):
            message += f"; correct it, or restore what the newest draft replaced, in {backups[-1]}"
        raise UserError(f"problem {name}: {message}") from error
    if not isinstance(found, Problem):
        raise UserError(f"problem {name}: PROBLEM is a {type(found).__name__}, not a Problem")
    return found


def _problem_from_params() -> str | None:
    """Read `problem` from params.yaml ahead of the other settings, whose defaults depend on the problem."""
    try:
        given = yaml.load(Path("params.yaml").read_bytes(), Loader=yaml.CSafeLoader)
    except (OSError, yaml.YAMLError, ValueError):
        return None  # reported when the settings are read
    name = given.get("problem") if isinstance(given, dict) else None
    return name if isinstance(name, str) else None


try:
    PROBLEM = _load_problem()
except UserError as error:  # raised on import, before a command could catch it
    raise SystemExit(f"error: {error}") from None

# Strict: wrong types are rejected, not coerced.
# A field may be given by its name or by its alias (the name that the user's own files have for it).
_STRICT = ConfigDict(
    strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_by_name=True, loc_by_alias=False
)


class Inputs(PROBLEM.inputs):  # type: ignore[name-defined,misc]
    """One row of a request."""

    model_config = _STRICT | ConfigDict(json_schema_extra={"example": dict(PROBLEM.example)})


TIME, KEYS, LABEL = PROBLEM.time, PROBLEM.keys, PROBLEM.label_name
ID_COLUMNS = (TIME, *KEYS)  # the fields that identify a row


def _fields(model: type[BaseModel], *names: str) -> dict[str, Any]:
    return {name: (model.model_fields[name].annotation, model.model_fields[name]) for name in names}


def _without_alias(info: FieldInfo) -> Any:
    return Annotated[info.annotation, Field(description=info.description), *info.metadata]


class _InputsAndLabel(PROBLEM.label, Inputs):  # type: ignore[name-defined,misc]
    model_config = _STRICT


_label: Any = PROBLEM.label.model_fields[LABEL]
_nullable_label: dict[str, Any] = {LABEL: (_without_alias(_label) | None, Field(None, alias=_label.alias))}
# One row of the feed: the inputs, and the label, which is null until it is known.
Row: Any = create_model("Row", __base__=_InputsAndLabel, **_nullable_label)

# The fields that identify a row, in responses. `timestamp` is the event time, whatever its field is called.
_identity: dict[str, Any] = {name: (_without_alias(PROBLEM.inputs.model_fields[name]), ...) for name in KEYS}
IdentityFields: Any = create_model("IdentityFields", timestamp=(str, Field(alias=TIME)), **_identity)

# What a client reports when a label becomes known.
_outcome_fields = _fields(PROBLEM.inputs, *ID_COLUMNS) | _fields(PROBLEM.label, LABEL)
OUTCOME_EXAMPLE = {name: PROBLEM.example[name] for name in ID_COLUMNS} | dict(PROBLEM.example_label)
_config = _STRICT | ConfigDict(json_schema_extra={"example": OUTCOME_EXAMPLE})
Outcome: Any = create_model("Outcome", __config__=_config, **_outcome_fields)

OutcomeOfPrediction: Any = create_model(
    "OutcomeOfPrediction",
    __config__=_STRICT | ConfigDict(title="Outcome, by the id of the prediction"),
    id=(str, Field(pattern="^[0-9A-Za-z-]{1,36}$", description="id of the prediction")),
    **_fields(PROBLEM.label, LABEL),
)

INPUT_COLUMNS = tuple(PROBLEM.inputs.model_fields)
LABEL_COLUMNS = tuple(PROBLEM.label.model_fields)
_all_fields = {**PROBLEM.inputs.model_fields, **PROBLEM.label.model_fields}
ALIASES = {info.alias: name for name, info in _all_fields.items() if info.alias}
CADENCE, DELAY = PROBLEM.cadence, PROBLEM.delay
EVENT_TIME, ZONE = PROBLEM.event_time, PROBLEM.event_time.zone
LABEL_LAG = max(
    timedelta(0), DELAY - (CADENCE or timedelta(0))
)  # how long after the end of a period its label may arrive
FIELDS = {each.name: each for each in PROBLEM.fields}
NUMERIC_FIELDS = tuple(name for name, each in FIELDS.items() if each.kind != "text")  # null becomes NaN
MIN_PREDICTION, MAX_PREDICTION = PROBLEM.prediction_range

RowId = tuple[datetime, str]  # event time and key of a row

time_of: Any = attrgetter(TIME)
label_of: Any = attrgetter(LABEL)
_keys_of = [(name, attrgetter(name)) for name in KEYS]


def identity_fields(row: Any) -> dict[str, Any]:
    """The fields that identify a row, as in JSON."""
    return {TIME: EVENT_TIME.format(time_of(row)), **{name: of(row) for name, of in _keys_of}}


def key_of(row: Any) -> str:
    """The key of a row: its key fields joined by "/"; empty if the problem has none."""
    return "/".join(str(getattr(row, name)) for name in KEYS)


def row_id(row: Any) -> RowId:
    """Event time and key of a row."""
    return time_of(row), key_of(row)


def clock_time() -> datetime:
    """The current time on this machine's clock, in UTC if the problem has a time zone."""
    return datetime.now(UTC if ZONE else None).replace(tzinfo=None)


def target_of(label: float) -> float:
    """The target for one label."""
    return float(PROBLEM.target(label))


def targets(rows: "pd.DataFrame") -> Floats:
    """The targets of rows, shape [rows]."""
    return np.asarray(PROBLEM.target(rows[LABEL].to_numpy(np.float64)), dtype=np.float64)


def further_metrics(predicted: Floats, truth: Floats) -> dict[str, float]:
    """The problem's further metrics by name, without those that cannot be computed on these targets."""
    found = {name: float(of(predicted, truth)) for name, of in PROBLEM.metrics.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def constant_baseline(known: Floats) -> float:
    """The baseline's constant prediction from earlier targets: their mean, or the most frequent one."""
    if PROBLEM.baseline != "majority":
        return float(known.mean())
    values, counts = np.unique(known, return_counts=True)
    return float(values[counts.argmax()])


def format_loss(error: float) -> str:
    """An error formatted for display, without its unit."""
    return f"{error:.{PROBLEM.loss.decimals}f}"


def loss_with_unit(error: float) -> str:
    """An error formatted for display, with its unit."""
    return f"{format_loss(error)} {PROBLEM.loss.unit}"
