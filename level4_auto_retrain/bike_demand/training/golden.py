"""Golden requests: rows and a model's answers, kept with it to see anywhere that it still gives them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.core.current import PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.data.features import to_columns, to_matrix
from bike_demand.data.frames import concat, to_records
from bike_demand.handoff import INPUT_NAME, OUTPUT_NAME, read_handoff
from bike_demand.runtime import open_session

GOLDEN_FILE = "golden.json"
SOME = 24


class Golden(BaseModel):
    """Requests and, for each, the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    requests: list[Inputs]
    answers: list[float]


def write_golden(target: Path, handoff: Path, rows: pd.DataFrame) -> None:
    """Ask the model of the hand-off, and write what it predicts for some of its own rows, and for the
    examples of the problem.
    """
    requests = [Inputs.model_validate(each) for each in to_records(_chosen(rows))]
    examples = (PROBLEM.example, *PROBLEM.more_examples.values())
    requests += [Inputs.model_validate_json(json.dumps(each)) for each in examples]
    read = read_handoff(handoff)
    session = open_session(read.model)
    (answers,) = session.run([OUTPUT_NAME], {INPUT_NAME: to_matrix(to_columns(requests), read.card.names)})
    golden = Golden(requests=requests, answers=answers[:, 0].tolist())
    write_atomically(target, golden.model_dump_json(indent=1).encode())


def _chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """The newest rows, and as many that are spread over all of them."""
    spread = np.linspace(0, len(rows) - 1, num=min(SOME, len(rows)), dtype=int)
    return concat((rows[-SOME:], rows.iloc[spread]))


def read_golden(path: Path) -> Golden:
    """Raises UserError where the file is no such thing."""
    try:
        golden = Golden.model_validate_json(path.read_bytes())
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        raise UserError(f"{path.name}: holds no golden requests ({said}); train anew") from None
    if not golden.requests or len(golden.requests) != len(golden.answers):
        raise UserError(f"{path.name}: not one answer for each request; train anew")
    return golden
