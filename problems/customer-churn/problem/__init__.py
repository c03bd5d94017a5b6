"""The problem: which customers of a telephone company leave. Nothing outside this folder knows about it."""

from bike_demand.core.problem import Loss, Problem
from bike_demand.problem.behavior import BEHAVIOR_TESTS, EXAMPLE, MORE_EXAMPLES, SLICES
from bike_demand.problem.features import features
from bike_demand.problem.model import Params, build_model
from bike_demand.problem.schema import Inputs, Label
from bike_demand.problem.target import calibration_error, roc_auc, squared_error, target

PROBLEM = Problem(
    name="customer-churn",
    title="Customers who leave",
    description="How likely a customer is to leave within 30 days, from contract, usage and the last month.",
    inputs=Inputs,
    label=Label,
    label_delay="30D",
    features=features,
    params=Params,
    build_model=build_model,
    target=target,
    loss=Loss(squared_error, name="Brier score", unit="(0 to 1)", decimals=4),
    metrics={"roc_auc": roc_auc, "calibration_error": calibration_error},
    unit="(probability of leaving)",
    prediction_range=(0, 1),
    decimals=4,
    baseline="mean",
    example=EXAMPLE,
    example_label={"left": True},
    more_examples=MORE_EXAMPLES,
    slices=SLICES,
    behavior_tests=BEHAVIOR_TESTS,
)
