"""The hand-off of a model: a folder with the model file, its manifest, golden rows and checksums.

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

from bike_demand.core.current import MAX_PREDICTION, MIN_PREDICTION, PROBLEM
from bike_demand.core.errors import UserError, first_violation
from bike_demand.core.files import replace_folder
from bike_demand.core.problem import Columns, Floats
from bike_demand.data.model_inputs import ALL_FEATURES, FEATURES, feature_specs, to_tensors

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "model.json"
GOLDEN_FILE = "golden.json"
CHECKSUM_FILE = "SHA256SUMS"
CHECKSUMMED_FILES = (MODEL_FILE, MANIFEST_FILE, GOLDEN_FILE)
ALL_FILES = {*CHECKSUMMED_FILES, CHECKSUM_FILE}
SYSTEM_FILES = {".DS_Store", "desktop.ini", "Thumbs.db"}  # macOS also adds names that begin with `._`

OUTPUT_NAME = "prediction"  # of the ONNX output: float32 [rows, 1]
# By how much predictions may differ, relative to the largest one. A sum in float32 is off by about 1e-6 of
# its summands, which may be far above a prediction near 0.
SCALE_TOLERANCE = 1e-5


class FeatureSpec(BaseModel):
    """One input column of the model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    type: str
    unit: str
    min: float | None
    max: float | None
    nullable: bool


class OutputSpec(BaseModel):
    """The output of the model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    type: str
    unit: str
    min: float
    max: float


OUTPUT = OutputSpec(
    name=OUTPUT_NAME, type="float32", unit=PROBLEM.unit, min=MIN_PREDICTION, max=MAX_PREDICTION
)


class Manifest(BaseModel):
    """model.json: name, inputs and output of the model. `version` identifies the model file: `version_of`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    inputs: tuple[FeatureSpec, ...]
    output: OutputSpec

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
_golden_adapter: TypeAdapter[Golden] = TypeAdapter(Annotated[Golden, Field(min_length=1)])


@dataclass(frozen=True)
class Handoff:
    """A hand-off that was read and verified."""

    model: bytes
    manifest: Manifest
    golden: Golden

    def predict(self, columns: Columns) -> Floats:
        """Predict rows given as input columns. Returns shape [rows]."""
        (found,) = open_session(self.model).run([OUTPUT_NAME], to_tensors(columns, self.manifest.names))
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
    names = {path.name for path in folder.glob("*") if not path.name.startswith("._")}
    if unexpected := names - ALL_FILES - SYSTEM_FILES:
        raise UserError(f"{folder}: contains {min(unexpected)}, which would be deleted; choose another --out")
    manifest: dict[str, Any] = {
        "name": PROBLEM.name,
        "version": version_of(model),
        "inputs": feature_specs(),
        "output": OUTPUT.model_dump(),
    }
    contents = {
        MODEL_FILE: model,
        MANIFEST_FILE: (json.dumps(manifest, indent=2) + "\n").encode(),
        GOLDEN_FILE: _golden_adapter.dump_json(golden, indent=1),
    }
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
    contents[CHECKSUM_FILE] = "".join(sums).encode()
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


def read_handoff(folder: Path) -> Handoff:
    """Read a hand-off; check that it is complete and that this code computes all features of the model.

    Raises UserError that names the file at fault or the missing feature.
    """
    handoff = read_unchecked(folder)
    ours = {each["name"]: each["type"] for each in feature_specs(ALL_FEATURES)}
    if unknown := [each.name for each in handoff.manifest.inputs if ours.get(each.name) != each.type]:
        raise UserError(
            f"{folder / MANIFEST_FILE}: the model uses the feature {unknown[0]}, which this application does"
            f" not compute; release the application first, or use a model of {', '.join(FEATURES)} only"
        )
    return handoff


def read_unchecked(folder: Path) -> Handoff:
    """Read a hand-off, also one with features that this code does not compute.

    Raises UserError that names the file at fault.
    """
    again = "copy the hand-off again"
    contents: dict[str, bytes] = {}
    for name in sorted(ALL_FILES):
        try:
            contents[name] = (folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{folder}: {name} is missing; {again}") from None
    lines = contents[CHECKSUM_FILE].decode("ascii", errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in CHECKSUMMED_FILES:
        if sums.get(name) != hashlib.sha256(contents[name]).hexdigest():
            raise UserError(f"{folder / name}: checksum mismatch (damaged or edited); {again}")
    name = MANIFEST_FILE
    try:
        manifest = Manifest.model_validate_json(contents[name])
        golden = _golden_adapter.validate_json(contents[name := GOLDEN_FILE])
    except ValidationError as error:
        raise UserError(f"{folder / name}: {first_violation(error)}; ask for a new hand-off") from None
    if manifest.version != version_of(contents[MODEL_FILE]):
        raise UserError(f"{folder / MANIFEST_FILE}: version {manifest.version} is another model's; {again}")
    return Handoff(contents[MODEL_FILE], manifest, golden)


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """A single-threaded session for the model. Raises ONNX Runtime's error if it cannot load the model.

    One row takes microseconds: a thread pool would cost more than it saves, and take CPU from other workers.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised as exceptions anyway
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
