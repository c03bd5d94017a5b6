"""The problem: the electricity that regions use. Nothing outside this folder knows about it."""

from bike_demand.core.problem import Loss, Problem
from bike_demand.problem.behavior import BEHAVIOR_TESTS, EXAMPLE, MORE_EXAMPLES, SLICES
from bike_demand.problem.features import features
from bike_demand.problem.model import Params, build_model
from bike_demand.problem.schema import Inputs, Label
from bike_demand.problem.target import absolute_error, target

PROBLEM = Problem(
    name="energy-load",
    title="Half-hourly electricity load",
    description="The load of three regions in MW, from the calendar, the weather and solar output.",
    inputs=Inputs,
    label=Label,
    label_delay="30min",
    features=features,
    params=Params,
    build_model=build_model,
    target=target,
    loss=Loss(absolute_error, name="mean absolute error", unit="MW", decimals=1),
    unit="MW",
    prediction_range=(0, 5000),
    decimals=1,
    example=EXAMPLE,
    example_label={"load_mw": 1012.4},
    more_examples=MORE_EXAMPLES,
    average_by="region",  # else the biggest one would decide everything
    slices=SLICES,
    behavior_tests=BEHAVIOR_TESTS,
)
