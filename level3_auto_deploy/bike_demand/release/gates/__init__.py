"""The gates of a deployment, in order. A version goes live only if it passes all of them."""

from bike_demand.release.gates.comparison import is_no_worse, is_no_worse_in_any_slice
from bike_demand.release.gates.integrity import (
    Gate,
    GateContext,
    GateResult,
    is_the_registered_file,
    matches_the_service_schema,
    reproduces_golden_rows,
    was_not_rolled_back,
)
from bike_demand.release.gates.processes import costs_no_more, works_in_the_test_environment

GATES = (
    Gate("blocked", "It was not rolled back or rejected before", was_not_rolled_back),
    Gate("artefact", "Its file is the one that was registered", is_the_registered_file),
    Gate("schema", "Its inputs and output are those of the service", matches_the_service_schema),
    Gate(
        "golden",
        "It loads, and predicts its golden rows as it did when it was trained",
        reproduces_golden_rows,
    ),
    Gate("test-environment", "It works in a service of the test environment", works_in_the_test_environment),
    Gate("cost", "It needs hardly more time and memory than the champion", costs_no_more, compares=True),
    Gate("error", "Its error on fresh rows is close to the champion's", is_no_worse, compares=True),
    Gate(
        "slices",
        "It is not significantly worse on any slice of them",
        is_no_worse_in_any_slice,
        compares=True,
    ),
)

__all__ = ["GATES", "Gate", "GateContext", "GateResult"]
