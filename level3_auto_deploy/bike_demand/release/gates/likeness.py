"""Gate: the model that would go live is, on what it learned, as good as its twin, which was evaluated."""

from datetime import timedelta

import numpy as np

from bike_demand.data.table import iso
from bike_demand.data.target import ERROR_UNIT, error, rounded, targets
from bike_demand.release.compare import learned_by, twin_of
from bike_demand.release.gates.case import Case, Finding
from bike_demand.serving.onnx_model import load_model
from bike_demand.training.model import weights

DAYS = 28  # the latest of the rows that the model learned from


def answers_like_its_twin(case: Case) -> Finding:
    """Compares their errors on the model's own rows, which weigh as in training.

    The twin never goes live and the model is never evaluated: what went wrong with the model alone (inputs
    in another order, another file) shows here only. The model is the best fit to just these rows, and the
    twin did not see the last of them, so in order it has the smaller error: 0.4 to 0.8 times the twin's on
    the operator's feed, also in the weeks after demand rose by half. Raises UserError where one of them
    cannot be read.
    """
    learned_until = learned_by(case.tracking, case.version, case.version.run_id).last
    known = [row for row in case.hours if iso(row.timestamp) <= learned_until]
    rows = [row for row in known if row.timestamp > known[-1].timestamp - timedelta(days=DAYS)]
    if len(rows) < case.settings.deploy.min_rows:
        return Finding(
            False,
            f"only {len(rows)} of the hours that it learned from are gathered here, so run ingest",
            {"rows": len(rows)},
        )
    truth = targets(rows)
    weight = weights([row.timestamp for row in rows], case.settings.training.half_life_days)
    errors = {
        name: float(
            np.average(error(np.array(load_model(case.handoff(run_id)).predict(rows)), truth), weights=weight)
        )
        for name, run_id in (("model", case.version.run_id), ("twin", twin_of(case.version)))
    }
    factor = case.settings.deploy.twin_factor
    said = (
        f"off by {rounded(errors['model'])} {ERROR_UNIT} on {len(rows)} hours that it learned from, its twin"
        f" by {rounded(errors['twin'])}"
    )
    evidence = {"rows": len(rows), "factor": factor} | errors
    return Finding(errors["model"] <= factor * errors["twin"], said, evidence)
