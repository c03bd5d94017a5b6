"""Gate: it is not wrong in the way of a model that was taken back once. Each such case is kept for good."""

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from bike_demand.data.schema import Conditions
from bike_demand.data.target import Floats, distortion
from bike_demand.prediction_log.database import open_database
from bike_demand.prediction_log.journal import MODEL, Lesson, lessons
from bike_demand.release.gates.case import Case, Finding
from bike_demand.release.rescored import conditions
from bike_demand.serving.onnx_model import OnnxModel, load_model

ALIKE = 0.5


def repeats_no_case(case: Case) -> Finding:
    """Compares how the candidate's answers differ from the champion's now with how the bad model's differed
    from those of the good one then, on the rows of that time.

    What counts is the distortion (`data.target`), row by row: demand may have changed since, this is the
    same. A candidate is refused where it is less than half as far from the bad one's distortion as from none,
    by the mean of the absolute differences: all that grows or shrinks has something in common. Where nothing
    is live, the good model of that time takes the champion's place. Raises UserError where a model cannot be
    loaded.
    """
    kept = _kept(case.settings.environments.production.database)
    if not kept:
        return Finding(True, "no case is kept yet")
    candidate = load_model(case.handoff(case.version.run_id))
    champion = None if case.champion is None else load_model(case.handoff(case.champion.run_id))
    found: list[dict[str, Any]] = []
    for lesson in kept:
        bad, own = _distortions(lesson, candidate, champion)
        found.append(
            {
                "incident": lesson.incident,
                "version": lesson.content["version"],
                "rows": len(bad),
                "from_the_bad_one": float(np.abs(own - bad).mean()),
                "from_the_champion": float(np.abs(own).mean()),
            }
        )
    repeated = [each for each in found if each["from_the_bad_one"] < ALIKE * each["from_the_champion"]]
    evidence = {"cases": found, "alike": ALIKE, "distance": "mean absolute difference of distortions"}
    if repeated:
        first = repeated[0]
        said = (
            f"it is wrong like version {first['version']}, which was taken back (incident"
            f" {first['incident']}): its answers differ from the champion's by"
            f" {first['from_the_champion']:.2f}, beside that distortion by {first['from_the_bad_one']:.2f}"
        )
        return Finding(False, said, evidence)
    many = "one case" if len(kept) == 1 else f"{len(kept)} cases"
    return Finding(True, f"unlike the models of {many} that were taken back", evidence)


def _kept(database: str) -> list[Lesson]:
    """The cases that are kept. A local database that was not made yet has none, and is not made for it."""
    if database.startswith("sqlite:") and not Path(database.partition(":///")[2]).exists():
        return []
    with closing(open_database(database)) as opened:
        return lessons(opened, MODEL)


def _distortions(lesson: Lesson, candidate: OnnxModel, champion: OnnxModel | None) -> tuple[Floats, Floats]:
    """Of the bad model then and of the candidate now: distortions, shape [rows]."""
    rows = [_row(each) for each in lesson.content["rows"]]
    good = lesson.content["good"]
    now = good if champion is None else champion.predict(rows)
    return _distorted(lesson.content["bad"], good), _distorted(candidate.predict(rows), now)


def _row(kept: dict[str, Any]) -> Conditions:
    return conditions(
        datetime.fromisoformat(kept["timestamp"]),
        {name: value for name, value in kept.items() if name != "timestamp"},
    )


def _distorted(answers: Sequence[float], others: Sequence[float]) -> Floats:
    return np.array([distortion(a, b) for a, b in zip(answers, others, strict=True)])
