"""Golden requests: rows and a model's answers, kept with it to see anywhere that it still gives them."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.data.features import to_matrix
from bike_demand.data.schema import EXAMPLE, Conditions, Hour
from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.handoff import INPUT_NAME, OUTPUT_NAME, read_handoff
from bike_demand.runtime import open_session

GOLDEN_FILE = "golden.json"


class Golden(BaseModel):
    """Requests and, for each, the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    requests: list[Conditions]
    answers: list[float]


def write_golden(target: Path, handoff: Path, rows: Sequence[Hour]) -> None:
    """Ask the model of the hand-off, and write what it answers to some of its own rows, and to the example
    of the documentation with its humidity known and unknown.
    """
    some = [row.model_dump(mode="json", include=set(Conditions.model_fields)) for row in _chosen(rows)]
    requests = [
        Conditions.model_validate_json(json.dumps(request))
        for request in (*some, EXAMPLE, EXAMPLE | {"humidity": None})
    ]
    session = open_session(read_handoff(handoff).model)
    (answers,) = session.run([OUTPUT_NAME], {INPUT_NAME: to_matrix(requests)})
    golden = Golden(requests=requests, answers=answers[:, 0].tolist())
    write_atomically(target, golden.model_dump_json(indent=1).encode())


def _chosen(rows: Sequence[Hour]) -> list[Hour]:
    """Two rows of each hour of the day: the newest, and one that for each hour is further back."""
    found = []
    for hour in range(24):
        same = [row for row in rows if row.timestamp.hour == hour]
        found += [same[-1], same[len(same) * hour // 24]] if same else []
    return found


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
