"""Gate: the model loads here, and answers as it did where it was trained."""

import math

from bike_demand.data.table import iso
from bike_demand.data.target import DECIMALS, UNIT
from bike_demand.release.gates.case import Case, Finding
from bike_demand.serving.onnx_model import load_model
from bike_demand.training.golden import GOLDEN_FILE, read_golden


def answers_as_when_registered(case: Case) -> Finding:
    """Asks the golden requests that are kept with the version.

    Raises UserError where there are none, or the model cannot be loaded.
    """
    golden = read_golden(case.fetch(case.version.run_id, GOLDEN_FILE))
    model = load_model(case.handoff(case.version.run_id))
    tolerance = case.settings.deploy.golden_tolerance
    asked = list(zip(golden.requests, model.predict(golden.requests), golden.answers, strict=True))
    # The service rounds an answer, so it may differ by that besides.
    wrong = [each for each in asked if not math.isclose(*each[1:], rel_tol=tolerance, abs_tol=10**-DECIMALS)]
    largest = max(abs(now - then) for _, now, then in asked)
    evidence = {
        "requests": len(asked),
        "different": len(wrong),
        "largest_difference": largest,
        "tolerance": tolerance,
    }
    if wrong:
        row, now, then = wrong[0]
        return Finding(
            False,
            f"{len(wrong)} of {len(asked)} golden requests are answered differently: {iso(row.timestamp)}"
            f" with {now:.{DECIMALS}f} {UNIT} instead of {then:.{DECIMALS}f}",
            evidence,
        )
    said = f"{len(asked)} requests, largest difference {largest:.{DECIMALS + 1}f} {UNIT}"
    return Finding(True, said, evidence)
