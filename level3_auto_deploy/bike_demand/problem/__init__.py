"""The problem: hourly demand of a bike-share service. Nothing outside this folder knows about it."""

from bike_demand.core.problem import Loss, Problem
from bike_demand.problem.behavior import BEHAVIOR_TESTS, EXAMPLE, MORE_EXAMPLES, SLICES
from bike_demand.problem.features import features
from bike_demand.problem.model import Params, build_model
from bike_demand.problem.schema import Inputs, Label
from bike_demand.problem.target import absolute_error, target

PROBLEM = Problem(
    name="bike-demand",
    title="Hourly bike-share demand",
    description="How many bikes will be rented in an hour, from the calendar and the weather forecast.",
    inputs=Inputs,
    label=Label,
    label_delay="1h",
    features=features,
    params=Params,
    build_model=build_model,
    target=target,
    loss=Loss(absolute_error, name="mean absolute error", unit="bikes an hour", decimals=1),
    unit="bikes",
    prediction_range=(0, 5000),  # the feed's maximum is below 1,000
    decimals=2,
    example=EXAMPLE,
    example_label={"count": 587},
    more_examples=MORE_EXAMPLES,
    slices=SLICES,
    behavior_tests=BEHAVIOR_TESTS,
)
