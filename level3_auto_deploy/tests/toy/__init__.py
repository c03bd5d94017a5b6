"""A tiny neutral problem, on which the tests of the practice run: it is put in the place of `problem/`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, model_validator

from bike_demand.core.problem import (
    Array,
    BehaviorTest,
    Columns,
    EventTime,
    Expected,
    Labels,
    Loss,
    Problem,
    Unit,
)

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MAX_AMOUNT = 20_000
Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]


class Inputs(BaseModel):
    """One hour of a machine."""

    begins: Annotated[NaiveDatetime, EventTime(cadence="1h"), Field(description="start of the hour")]
    special: Annotated[bool, Field(description="whether the order is a special one")]
    attended: Annotated[int, Field(ge=0, le=1, description="1 if staff is there"), Labels("no", "yes")]
    grade: Annotated[int, Field(ge=1, le=4, description="of the material"), Labels("A", "B", "C", "D")]
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
    """What the hour yielded; the two parts add up to the amount."""

    part_a: Amount | None = None
    part_b: Amount | None = None
    amount: Annotated[Amount, Field(description="pieces made in the hour")]

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
    """Position in the day and the week, and all inputs as they are."""
    rest = ("attended", "special", "grade", "heat", "core_heat", "moisture", "speed", "material")
    hours = columns["begins"].astype("datetime64[h]").astype(np.int64)
    return {"shift": hours % 24, "day": (hours // 24 + 3) % 7} | {name: columns[name] for name in rest}


def _at(columns: Columns) -> Array:
    hours: Array = columns["begins"].astype("datetime64[h]").astype(np.int64) % 24
    return hours


EXAMPLE: dict[str, Any] = {
    "begins": "2012-06-13T17:00:00",
    "special": False,
    "attended": 1,
    "grade": 1,
    "heat": 24.6,
    "core_heat": 26.1,
    "moisture": 0.55,
    "speed": 13.0,
    "material": "steel",
}


def hours(day: str, **changes: Any) -> list[dict[str, Any]]:
    """The 24 rows of a day like the example but for the changes."""
    row = EXAMPLE | {"attended": int(day == "2012-06-13")} | changes
    return [row | {"begins": f"{day}T{hour:02}:00:00"} for hour in range(24)]


def _night_from_day(predictions: Sequence[float]) -> str | None:
    night, day, evening = (predictions[hour] for hour in (3, 13, 17))
    if night < min(day, evening) / 2:
        return None
    return f"{night} pieces at 3 h, {day} at 13 h and {evening} at 17 h"


def _busy_hour(predictions: Sequence[float]) -> str | None:
    return None if predictions[17] > 30 else f"{predictions[17]} pieces at 17 h"


PROBLEM = Problem(
    name="toy",
    title="Pieces made in an hour",
    description="How many pieces a machine will make in an hour.",
    inputs=Inputs,
    label=Label,
    label_delay="1h",
    features=features,
    params=Params,
    build_model=build_model,
    target=lambda amount: amount * 1.0,
    loss=Loss(
        lambda prediction, target: abs(prediction - target),
        "mean absolute error",
        "pieces an hour",
        decimals=1,
    ),
    unit="pieces",
    prediction_range=(0, 5000),
    decimals=2,
    example=EXAMPLE,
    example_label={"amount": 587},
    more_examples={
        "Moisture is not measured": EXAMPLE | {"moisture": None},
        "At night": EXAMPLE | {"begins": "2012-06-14T03:00:00", "heat": 19.2},
        "Of a material that no model has seen": EXAMPLE | {"material": "cork"},
    },
    slices={
        "at night": lambda columns: _at(columns) < 6,
        "by day": lambda columns: _at(columns) >= 6,
        "attended": lambda columns: columns["attended"] == 1,
        "not attended": lambda columns: columns["attended"] == 0,
        "grade A": lambda columns: columns["grade"] == 1,
        "other grades": lambda columns: columns["grade"] > 1,
    },
    behavior_tests=(
        BehaviorTest("Few pieces are made at night.", lambda: hours("2012-06-13"), _night_from_day),
        BehaviorTest("Many are made late in the day.", lambda: hours("2012-06-13"), _busy_hour),
        BehaviorTest(
            "It predicts possible numbers for any material.",
            lambda: [
                row for grade in (1, 2, 3, 4) for row in hours("2012-06-16", grade=grade, moisture=None)
            ],
        ),
    ),
)
