"""A tiny neutral problem, used in place of `problem/` by the tests."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, model_validator

from bike_demand.core.problem import (
    Array,
    BehaviorTest,
    Categories,
    Columns,
    EventTime,
    Expected,
    Key,
    Loss,
    Problem,
    Unit,
)

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MACHINES = tuple(f"m{number:02}" for number in range(24))  # each has a row a day
MAX_AMOUNT = 20_000
Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]


class Inputs(BaseModel):
    """One day of a machine."""

    begins: Annotated[NaiveDatetime, EventTime(cadence="1D"), Field(description="start of the day")]
    machine: Annotated[
        str, Key(), Field(alias="Machine No.", min_length=1, max_length=10, description="its name, like m07")
    ]
    special: Annotated[bool, Field(description="whether the order is a special one")]
    attended: Annotated[int, Field(ge=0, le=1, description="1 if staff is there"), Categories("no", "yes")]
    grade: Annotated[int, Field(ge=1, le=4, description="of the material"), Categories("A", "B", "C", "D")]
    heat: Annotated[
        float,
        Field(ge=-90, le=150, description="in the room"),
        Unit("degrees C"),
        Expected(-35, 48, change=12),
    ]
    core_heat: Annotated[
        float,
        Field(ge=-90, le=150, description="in the machine"),
        Unit("degrees C"),
        Expected(-45, 60, change=14),
    ]
    moisture: Annotated[
        float | None, Field(ge=0, le=1, description="null if not measured"), Expected(0.02, 1, change=0.5)
    ] = None
    speed: Annotated[float, Field(ge=0, le=400), Unit("m/s"), Expected(0, 130, change=60)]
    material: Annotated[str, Field(min_length=1, max_length=40, description="what the pieces are made of")]


class Label(BaseModel):
    """What the day yielded; the two parts add up to the amount."""

    part_a: Amount | None = None
    part_b: Amount | None = None
    amount: Annotated[Amount, Field(alias="Pieces Made", description="pieces made in the day")]

    @model_validator(mode="after")
    def _parts_add_up(self) -> "Label":
        if (self.part_a is None) != (self.part_b is None):
            raise ValueError("part_a and part_b should both be given or both be empty")
        if self.part_a is not None and self.part_b is not None and self.part_a + self.part_b != self.amount:
            total = self.part_a + self.part_b
            raise ValueError(f"amount is {self.amount}, but part_a and part_b add up to {total}")
        return self


class Params(BaseModel):
    """Of the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    max_iter: Annotated[int, Field(ge=1)] = 100
    max_leaf_nodes: Annotated[int, Field(ge=2)] = 31
    min_samples_leaf: Annotated[int, Field(ge=1)] = 20
    random_state: Annotated[int, Field(ge=0)] = 0


def build_model(params: Params) -> "Pipeline":
    """Gradient boosting of counts, with a column for each material that was seen in training."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("material", encoder, ["material"])], remainder="passthrough")
    model = HistGradientBoostingRegressor(loss="poisson", early_stopping=False, **params.model_dump())
    return Pipeline([("columns", columns), ("model", model)])


def features(columns: Columns) -> Columns:
    """Position of the machine, day of the week, and all other inputs as they are."""
    rest = ("attended", "special", "grade", "heat", "core_heat", "moisture", "speed", "material")
    days = columns["begins"].astype("datetime64[D]").astype(np.int64)
    return {"position": _position(columns), "day": (days + 3) % 7} | {name: columns[name] for name in rest}


def _position(columns: Columns) -> Array:
    """0 to 23; a machine that is not known has that of the next one."""
    return np.searchsorted(MACHINES, columns["machine"].astype(str))


EXAMPLE: dict[str, Any] = {
    "begins": "2012-06-13T00:00:00",
    "machine": "m17",
    "special": False,
    "attended": 1,
    "grade": 1,
    "heat": 24.6,
    "core_heat": 26.1,
    "moisture": 0.55,
    "speed": 13.0,
    "material": "steel",
}


def identity(number: int, first: date = date(2012, 1, 1)) -> dict[str, str]:
    """Day and machine of the row of this number, 24 a day, from the first day on."""
    days, position = divmod(number, len(MACHINES))
    return {"begins": f"{first + timedelta(days=days)}T00:00:00", "machine": MACHINES[position]}


def rows_of_day(day: str, **changes: Any) -> list[dict[str, Any]]:
    """A row of each machine, like the example but for the changes."""
    row = EXAMPLE | {"begins": f"{day}T00:00:00", "attended": int(day == "2012-06-13")} | changes
    return [row | {"machine": machine} for machine in MACHINES]


def _small_from_large(predictions: Sequence[float]) -> str | None:
    small, middle, large = (predictions[position] for position in (3, 13, 17))
    if small < min(middle, large) / 2:
        return None
    return f"{small} pieces by m03, {middle} by m13 and {large} by m17"


def _busy_machine(predictions: Sequence[float]) -> str | None:
    return None if predictions[17] > 30 else f"{predictions[17]} pieces by m17"


PROBLEM = Problem(
    name="toy",
    title="Pieces made in a day",
    description="How many pieces a machine will make in a day.",
    inputs=Inputs,
    label=Label,
    label_delay="1D",
    features=features,
    params=Params,
    build_model=build_model,
    target=lambda amount: amount * 1.0,
    loss=Loss(
        lambda prediction, target: abs(prediction - target),
        "mean absolute error",
        "pieces a day",
        decimals=1,
    ),
    unit="pieces",
    prediction_range=(0, 5000),
    decimals=2,
    example=EXAMPLE,
    example_label={"amount": 587},
    more_examples={
        "Moisture is not measured": EXAMPLE | {"moisture": None},
        "By a small machine": EXAMPLE | {"machine": "m03", "heat": 19.2},
        "Of a material that no model has seen": EXAMPLE | {"material": "cork"},
    },
    slices={
        "small machines": lambda columns: _position(columns) < 6,
        "large machines": lambda columns: _position(columns) >= 6,
        "attended": lambda columns: columns["attended"] == 1,
        "not attended": lambda columns: columns["attended"] == 0,
        "grade A": lambda columns: columns["grade"] == 1,
        "other grades": lambda columns: columns["grade"] > 1,
    },
    behavior_tests=(
        BehaviorTest("Small machines make few pieces.", lambda: rows_of_day("2012-06-13"), _small_from_large),
        BehaviorTest("Large ones make many.", lambda: rows_of_day("2012-06-13"), _busy_machine),
        BehaviorTest(
            "It predicts possible numbers for any material.",
            lambda: [
                row for grade in (1, 2, 3, 4) for row in rows_of_day("2012-06-16", grade=grade, moisture=None)
            ],
        ),
    ),
)
