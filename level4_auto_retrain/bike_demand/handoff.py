"""The hand-off of a model: a folder with the model file, its card, golden rows and checksums.

Shared by both sides: training writes it, the service reads it.
"""

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bike_demand.core.current import HIGHEST, LOWEST, PROBLEM
from bike_demand.core.errors import UserError
from bike_demand.core.files import replace_folder
from bike_demand.core.problem import Columns, Floats
from bike_demand.data.features import COMPUTED, FEATURES, describe, to_inputs

MODEL_FILE = "model.onnx"
CARD_FILE = "model.json"
GOLDEN_FILE = "golden.json"
SUMS_FILE = "SHA256SUMS"
SUMMED = (MODEL_FILE, CARD_FILE, GOLDEN_FILE)
FILES = {*SUMMED, SUMS_FILE}

OUTPUT_NAME = "prediction"  # inside the model file: float32 [rows, 1]


class Input(BaseModel):
    """One input column of the model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    type: str
    unit: str
    min: float | None
    max: float | None
    nullable: bool


class Output(BaseModel):
    """The output of the model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    type: str
    unit: str
    min: float
    max: float


class Card(BaseModel):
    """model.json: name, inputs and output of the model. `version` is derived from the model file's digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    inputs: tuple[Input, ...]
    output: Output

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the model's features, in order."""
        return tuple(each.name for each in self.inputs)


class GoldenRow(BaseModel):
    """A request and the prediction that the model made for it at training time."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    request: dict[str, Any]
    prediction: float


Golden = tuple[GoldenRow, ...]
_golden: TypeAdapter[Golden] = TypeAdapter(Annotated[Golden, Field(min_length=1)])


@dataclass(frozen=True)
class HandOff:
    """A hand-off that was read and verified."""

    model: bytes
    card: Card
    golden: Golden

    def predict(self, columns: Columns) -> Floats:
        """Predict rows given as input columns. Returns shape [rows]."""
        (found,) = open_session(self.model).run([OUTPUT_NAME], to_inputs(columns, self.card.names))
        return np.asarray(found[:, 0], dtype=np.float64)


def version_of(model: bytes) -> str:
    """The first 12 hex digits of the model file's SHA-256, so that equal files have equal versions."""
    return hashlib.sha256(model).hexdigest()[:12]


def write_handoff(folder: Path, model: bytes, golden: Golden) -> str:
    """Write the hand-off atomically, replacing an older one. Returns the model's version.

    Raises UserError if `folder` holds anything else, which would be lost.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: not a folder; give another --out")
    if folder.is_dir() and (strange := {path.name for path in folder.iterdir()} - FILES):
        raise UserError(f"{folder}: holds {min(strange)}, so it is not a hand-off; give another --out")
    card: dict[str, Any] = {
        "name": PROBLEM.name,
        "version": version_of(model),
        "inputs": describe(),
        "output": {
            "name": OUTPUT_NAME,
            "type": "float32",
            "unit": PROBLEM.unit,
            "min": LOWEST,
            "max": HIGHEST,
        },
    }
    contents = {
        MODEL_FILE: model,
        CARD_FILE: (json.dumps(card, indent=2) + "\n").encode(),
        GOLDEN_FILE: _golden.dump_json(golden, indent=1),
    }
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
    contents[SUMS_FILE] = "".join(sums).encode()
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        new.chmod(0o755)  # mkdtemp creates folders that only their owner can read
        for name, content in contents.items():
            (new / name).write_bytes(content)
        replace_folder(new, folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return version_of(model)


def read_handoff(folder: Path) -> HandOff:
    """Read a hand-off; check that it is complete and that this code computes all features of the model.

    Raises UserError that names the file at fault or the missing feature.
    """
    handoff = read_whole(folder)
    ours = {each["name"]: each["type"] for each in describe(COMPUTED)}
    if unknown := [each.name for each in handoff.card.inputs if ours.get(each.name) != each.type]:
        raise UserError(
            f"{folder / CARD_FILE}: the model needs {unknown[0]}, which this application lacks; release the"
            f" application first, or use a model that needs only {','.join(FEATURES)}"
        )
    return handoff


def read_whole(folder: Path) -> HandOff:
    """Read a hand-off, whatever features its model needs. Raises UserError that names the file at fault."""
    again = "copy the hand-off again"
    contents: dict[str, bytes] = {}
    for name in sorted(FILES):
        try:
            contents[name] = (folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{folder}: {name} is missing; {again}") from None
    lines = contents[SUMS_FILE].decode("ascii", errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in SUMMED:
        if sums.get(name) != hashlib.sha256(contents[name]).hexdigest():
            raise UserError(f"{folder / name}: checksum mismatch: damaged or changed; {again}")
    name = CARD_FILE
    try:
        card = Card.model_validate_json(contents[name])
        golden = _golden.validate_json(contents[name := GOLDEN_FILE])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{folder / name}: {where}: {first['msg']}; ask for a new hand-off") from None
    if card.version != version_of(contents[MODEL_FILE]):
        raise UserError(f"{folder / CARD_FILE}: version {card.version} belongs to another model; {again}")
    return HandOff(contents[MODEL_FILE], card, golden)


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """A single-threaded session for the model. Raises ONNX Runtime's error if it cannot load the model.

    One row takes microseconds: a thread pool would cost more than it saves, and take CPU from other workers.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised as exceptions anyway
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
