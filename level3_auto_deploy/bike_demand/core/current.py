"""The problem that this project solves, and what follows from it for rows.

It is the module that BIKE_PROBLEM names, else `problem` in params.yaml, else the package's own.
"""

import importlib
import os
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import ConfigDict, create_model

from bike_demand.core.configuration import PREFIX
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Floats, Problem

if TYPE_CHECKING:  # the service has no pandas
    import pandas as pd

VARIABLE = f"{PREFIX}PROBLEM"
DEFAULT = "bike_demand.problem"


def _load() -> Problem:
    name = os.environ.get(VARIABLE) or _setting() or DEFAULT
    try:
        found = importlib.import_module(name).PROBLEM
    except (ModuleNotFoundError, AttributeError) as error:
        raise UserError(f"problem {name}: {error}; name a package that defines PROBLEM") from None
    if not isinstance(found, Problem):
        raise UserError(f"problem {name}: PROBLEM is no Problem but {type(found).__name__}")
    return found


def _setting() -> str | None:
    """From params.yaml, before settings are read: their defaults depend on the problem."""
    try:
        given = yaml.load(Path("params.yaml").read_bytes(), Loader=yaml.CSafeLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None  # whoever reads the settings is told
    name = given.get("problem") if isinstance(given, dict) else None
    return name if isinstance(name, str) else None


try:
    PROBLEM = _load()
except UserError as error:  # on import, so before any command could report it
    raise SystemExit(f"error: {error}") from None

# strict: "1" is not 1 and true is not a number, so a client's mistake shows at once.
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Inputs(PROBLEM.inputs):  # type: ignore[name-defined,misc]
    """One row of a request."""

    model_config = _STRICT | ConfigDict(json_schema_extra={"example": dict(PROBLEM.example)})


class Row(PROBLEM.label, Inputs):  # type: ignore[name-defined,misc]
    """One row of the feed: inputs and label."""

    model_config = _STRICT


TIME, LABEL = PROBLEM.time, PROBLEM.label_name
# What a client reports when a label becomes known.
_time, _label = PROBLEM.inputs.model_fields[TIME], PROBLEM.label.model_fields[LABEL]
_fields: dict[str, Any] = {TIME: (_time.annotation, _time), LABEL: (_label.annotation, _label)}
Outcome: Any = create_model(
    "Outcome",
    __config__=_STRICT
    | ConfigDict(json_schema_extra={"example": {TIME: PROBLEM.example[TIME], **PROBLEM.example_label}}),
    **_fields,
)

INPUT_COLUMNS = tuple(PROBLEM.inputs.model_fields)
LABEL_COLUMNS = tuple(PROBLEM.label.model_fields)
CADENCE = PROBLEM.cadence
ROWS_A_DAY = timedelta(days=1) // CADENCE  # without gaps
FIELDS = {each.name: each for each in PROBLEM.fields}
NUMERIC = tuple(name for name, each in FIELDS.items() if each.kind != "text")  # null is NaN
LOWEST, HIGHEST = PROBLEM.prediction_range

time_of: Any = attrgetter(TIME)
label_of: Any = attrgetter(LABEL)


def target_of(label: float) -> float:
    """What is to be predicted where this is the label."""
    return float(PROBLEM.target(label))


def targets(rows: "pd.DataFrame") -> Floats:
    """What is to be predicted for these rows, shape [rows]."""
    return np.asarray(PROBLEM.target(rows[LABEL].to_numpy(np.float64)), dtype=np.float64)


def rounded(error: float) -> str:
    """An error as people are shown it, without its unit."""
    return f"{error:.{PROBLEM.loss.decimals}f}"


def shown(error: float) -> str:
    """An error as people are shown it."""
    return f"{rounded(error)} {PROBLEM.loss.unit}"
