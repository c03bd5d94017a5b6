"""A second test problem: irregular events with a key and a text, and a binary label known after 30 days."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime

from bike_demand.core.problem import (
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


class Inputs(BaseModel):
    """One order."""

    ordered_at: Annotated[NaiveDatetime, EventTime(cadence=None), Field(description="when it was placed")]
    customer: Annotated[int, Key(), Field(ge=1, le=1_000_000, description="who placed it")]
    channel: Annotated[int, Field(ge=1, le=3, description="where"), Categories("shop", "web", "phone")]
    town: Annotated[str, Field(max_length=40, description="where it goes, any name")]
    price: Annotated[float, Field(ge=0, le=1e5), Unit("EUR"), Expected(0, 2000)]
    is_gift: Annotated[bool, Field(description="whether it is for somebody else")]


class Label(BaseModel):
    """What is known after 30 days."""

    returned: Annotated[bool, Field(description="whether it was sent back")]


class Params(BaseModel):
    """Of the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    C: Annotated[float, Field(gt=0)] = 1.0


def build_model(params: Params) -> "Pipeline":
    """Logistic regression, with a column for each channel and each town that was seen in training."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [
            ("channel", OneHotEncoder(handle_unknown="ignore"), ["channel"]),
            ("town", OneHotEncoder(handle_unknown="ignore"), ["town"]),
            ("numbers", StandardScaler(), ["price", "is_gift"]),
        ]
    )
    return Pipeline([("columns", columns), ("model", LogisticRegression(C=params.C, max_iter=1000))])


def features(columns: Columns) -> Columns:
    """All inputs but customer and time."""
    return {name: columns[name] for name in ("channel", "town", "price", "is_gift")}


EXAMPLE: dict[str, Any] = {
    "ordered_at": "2012-03-01T09:30:17",
    "customer": 17,
    "channel": 2,
    "town": "ulm",
    "price": 49.9,
    "is_gift": False,
}


def _expensive_above_cheap(predictions: Sequence[float]) -> str | None:
    return (
        None if predictions[0] < predictions[1] else f"{predictions[0]} for 5 EUR, {predictions[1]} for 500"
    )


PROBLEM = Problem(
    name="orders",
    title="Orders that come back",
    description="How likely an order is returned.",
    inputs=Inputs,
    label=Label,
    label_delay="30D",
    features=features,
    params=Params,
    build_model=build_model,
    target=lambda returned: returned * 1.0,
    loss=Loss(lambda prediction, target: (prediction - target) ** 2, "Brier score", "of 0 to 1", decimals=4),
    metrics={"bias_of_shares": lambda predicted, right: float((predicted - right).mean())},
    unit="(probability of a return)",
    prediction_range=(0, 1),
    decimals=4,
    baseline="mean",
    average_by="channel",
    example=EXAMPLE,
    example_label={"returned": True},
    slices={"gifts": lambda columns: columns["is_gift"] == 1},
    behavior_tests=(
        BehaviorTest(
            "Expensive orders are returned more often.",
            lambda: [EXAMPLE | {"price": 5.0}, EXAMPLE | {"price": 500.0}],
            _expensive_above_cheap,
        ),
    ),
)
