"""The DVC stages: `python -m bike_demand.stages STAGE`, each a thin wrapper around functions."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bike_demand.core import settings
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.data.month import iso

if TYPE_CHECKING:
    import pandas as pd

VALIDATION = settings.RUN / "validation.json"
REPORT = settings.RUN / "report.json"
METRICS = settings.RUN / "metrics.json"
PLOTS = settings.RUN / "plots"
HOLDOUT = settings.RUN / "holdout"
REFIT = settings.RUN / "refit"


def validate() -> None:
    """Write the validated period. Raises UserError if the data are not fit for training."""
    from bike_demand.data.ingested import read_rows
    from bike_demand.data.quarantine import read_quarantine, require_trainable_rows
    from bike_demand.training.inputs import read_request

    rows = require_trainable_rows(
        read_rows(settings.DATA), read_quarantine(), settings.load_settings(), read_request()
    )
    _write(VALIDATION, _period(rows))


def train() -> None:
    """Fit the holdout model, without the last days, and the refit, on all rows. Done in one stage because
    starting a process takes longer than a fit. `training.record` decides whether the refit is registered.
    """
    from bike_demand.data.frames import features_of
    from bike_demand.data.ingested import read_labeled_rows
    from bike_demand.data.quarantine import holdout_days, read_quarantine, without_quarantined
    from bike_demand.handoff import write_handoff
    from bike_demand.training import train as training
    from bike_demand.training.export import check_parity, golden_rows, to_onnx
    from bike_demand.training.level_shift import rescale_labels

    ingested, quarantine = read_labeled_rows(settings.DATA), read_quarantine()
    rows = without_quarantined(ingested, quarantine)
    loaded = settings.load_settings()
    # The gates need `deploy.min_rows` fresh rows.
    days = holdout_days(rows, quarantine, loaded.training.holdout_days, loaded.deploy.min_rows)
    config = loaded.training.model_copy(update={"holdout_days": days})
    rows, shifts = rescale_labels(rows, quarantine.level_shifts, config)
    trained = training.train(rows, config)
    past = rows[: len(rows) - trained.n_holdout_rows]
    report: dict[str, Any] = {
        "held_out": _period(rows[len(past) :]),
        "excluded": quarantine.describe_excluded(len(ingested) - len(rows)),
        "level_shifts": shifts,
    }
    parts = (HOLDOUT, trained.holdout_model, past), (REFIT, trained.pipeline, rows)
    for folder, pipeline, learned in parts:
        model = to_onnx(pipeline)
        difference = check_parity(model, pipeline, features_of(rows))
        version = write_handoff(folder, model, golden_rows(model, learned))
        report[folder.name] = _period(learned) | {"digest": version, "onnx_difference": difference}
    _write(REPORT, report)


def evaluate() -> None:
    """Evaluate the holdout model on the held-out days: metrics and plots."""
    from bike_demand.data.quarantine import multiply_labels, training_rows
    from bike_demand.training.evaluate import draw, predict, save_plots
    from bike_demand.training.evaluate import evaluate as measure

    report = json.loads(REPORT.read_text(encoding="utf-8"))
    # As the model was trained on them: the baseline must know the new level, as it will in production.
    rows, seen = multiply_labels(training_rows(), report["level_shifts"]), report["holdout"]["rows"]
    predicted = predict(HOLDOUT, rows)
    save_plots(PLOTS, draw(rows[:seen], rows[seen:], predicted))
    _write(METRICS, measure(rows[:seen], rows[seen:], predicted[seen:]))


def _period(rows: "pd.DataFrame") -> dict[str, Any]:
    from bike_demand.data.frames import time_range

    first, last = map(iso, time_range(rows))
    return {"rows": len(rows), "first": first, "last": last}


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


STAGES: dict[str, Callable[[], None]] = {each.__name__: each for each in (validate, train, evaluate)}


def main(argv: Sequence[str]) -> int:
    """Run a stage. Returns 0, 1 after an error, 2 for an unknown stage, 130 after Ctrl-C."""
    if len(argv) != 1 or argv[0] not in STAGES:
        print(f"error: give one of {', '.join(STAGES)}", file=sys.stderr)
        return 2
    try:
        STAGES[argv[0]]()
    except KeyboardInterrupt:
        return 130
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
