"""Golden rows on loading: a model has to predict again what it predicted when it was trained."""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from bike_demand.core.current import INPUT_COLUMNS, PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.handoff import GOLDEN_FILE, Golden

TOLERANCE = 0.001  # by this share predictions may differ: another processor adds up in another order


def reproduce(predict: Callable[[Sequence[Inputs]], list[float]], golden: Golden, folder: Path) -> float:
    """Predict the golden rows of the hand-off in that folder again; the largest difference.

    Fields that came later are filled from the problem's example, as the model does not use them. Rows that
    are no valid requests any more are left out. Raises UserError where a prediction differs, as it does when
    a feature of the application means something else than it did, and where no row is left.
    """
    rows: list[Inputs] = []
    expected: list[float] = []
    for each in golden:
        given = {**PROBLEM.example, **each.request}
        known = {name: given[name] for name in INPUT_COLUMNS if name in given}
        with suppress(ValidationError):
            rows.append(Inputs.model_validate_json(json.dumps(known)))
            expected.append(each.prediction)
    if not rows:
        raise UserError(f"{folder / GOLDEN_FILE}: none of its rows is a valid request any more; train anew")
    found = list(zip(predict(rows), expected, strict=True))
    rounding = 10.0**-PROBLEM.decimals  # of predictions of the service
    wrong = [each for each in found if not math.isclose(*each, rel_tol=TOLERANCE, abs_tol=rounding)]
    if wrong:
        now, then = wrong[0]
        raise UserError(
            f"{folder / GOLDEN_FILE}: {len(wrong)} of {len(rows)} golden rows have another prediction, like"
            f" {now:.{PROBLEM.decimals}f} {PROBLEM.unit} instead of {then:.{PROBLEM.decimals}f}; a feature"
            " that changed its meaning needs a new name; ask for a model that fits"
        )
    return max(abs(now - then) for now, then in found)
