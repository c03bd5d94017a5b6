"""The gates of a deployment, in their order. A version passes each of them, or does not go live."""

from bike_demand.release.gates.artefact import is_the_registered_file
from bike_demand.release.gates.blocked import was_not_taken_back
from bike_demand.release.gates.case import Case, Finding, Gate
from bike_demand.release.gates.cases import repeats_no_case
from bike_demand.release.gates.cost import costs_no_more
from bike_demand.release.gates.environment import works_in_the_test_environment
from bike_demand.release.gates.error import is_no_worse
from bike_demand.release.gates.golden import answers_as_when_registered
from bike_demand.release.gates.likeness import answers_like_its_twin
from bike_demand.release.gates.schema import takes_what_the_service_gives
from bike_demand.release.gates.slices import is_no_worse_in_any_slice

GATES = (
    Gate("blocked", "It was not taken back or rejected before", was_not_taken_back),
    Gate("artefact", "Its file is the one that was registered", is_the_registered_file),
    Gate(
        "golden",
        "It loads, and answers the golden requests as when it was registered",
        answers_as_when_registered,
    ),
    Gate("schema", "It takes and gives what the service does", takes_what_the_service_gives),
    Gate("test-environment", "It works in a service of the test environment", works_in_the_test_environment),
    Gate("cost", "It needs hardly more time and memory than the champion", costs_no_more, compares=True),
    Gate("likeness", "It answers like its twin, by which it is judged", answers_like_its_twin),
    Gate(
        "error",
        "Its error on fresh rows is not surely worse than the champion's",
        is_no_worse,
        compares=True,
    ),
    Gate("slices", "It is in no slice of them surely worse", is_no_worse_in_any_slice, compares=True),
    Gate("cases", "It is not wrong like a model that was taken back", repeats_no_case, compares=True),
)

__all__ = ["GATES", "Case", "Finding", "Gate"]
