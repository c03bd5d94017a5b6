"""The gates of a deployment, in order. A version goes live only if it passes all of them."""

from bike_demand.release.gates.comparison import compare_errors, compare_slices
from bike_demand.release.gates.integrity import (
    Gate,
    GateContext,
    GateResult,
    check_files,
    check_golden,
    check_history,
    check_schema,
)
from bike_demand.release.gates.processes import compare_cost, run_integration_test

GATES = (
    Gate("blocked", "It was not rolled back, and no identical model was rejected", check_history),
    Gate("artifact", "Its file is the one that was registered", check_files),
    Gate("schema", "Its inputs and output are those of the service", check_schema),
    Gate("golden", "It loads, and predicts its golden rows as it did in training", check_golden),
    Gate("test-environment", "It works in a service of the test environment", run_integration_test),
    Gate("cost", "Its latency and memory are within the limits", compare_cost, compares=True),
    Gate("error", "Its error on fresh rows is close to the champion's", compare_errors, compares=True),
    Gate("slices", "Its error is not significantly higher on any slice", compare_slices, compares=True),
)

__all__ = ["GATES", "Gate", "GateContext", "GateResult"]
