"""Gate: the model's inputs and output are, field by field, those of the service."""

from bike_demand.data.features import describe
from bike_demand.data.target import LOWEST, MEANING
from bike_demand.handoff import OUTPUT_NAME, Input, Output, read_handoff
from bike_demand.release.gates.case import Case, Finding

# What the documentation of the service promises.
OUTPUT = Output(name=OUTPUT_NAME, type="float32", unit=MEANING, min=LOWEST)


def takes_what_the_service_gives(case: Case) -> Finding:
    """Compares names, order, types, units, ranges and what may be missing.

    A model with other units would load and answer, and be wrong. Raises UserError for other names.
    """
    card = read_handoff(case.handoff(case.version.run_id)).card
    ours = tuple(Input.model_validate(each) for each in describe())
    pairs: list[tuple[Input | Output, Input | Output]] = [
        *zip(ours, card.inputs, strict=True),
        (OUTPUT, card.output),
    ]
    differences = [
        f"{mine.name}: {field} is {getattr(theirs, field)!r} for the model, but"
        f" {getattr(mine, field)!r} for the service"
        for mine, theirs in pairs
        for field in type(mine).model_fields
        if getattr(mine, field) != getattr(theirs, field)
    ]
    evidence = {"inputs": [each.name for each in ours], "output": OUTPUT.name, "differences": differences}
    if differences:
        return Finding(False, differences[0], evidence)
    return Finding(True, f"{len(ours)} inputs and the output agree", evidence)
