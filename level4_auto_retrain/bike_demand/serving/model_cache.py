"""The service's cache of registered models: fetched once, verified, kept for when the registry is away."""

import json
import shutil
import tempfile
import time
from pathlib import Path

from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking, Version

LAST_FILE = "last.json"  # which version was the last to go live here
RETRY_SECONDS = 30.0  # until a version that could not be loaded is fetched again


class ModelCache:
    """Models lie in `folder` by their digest, so processes that share it fetch each of them once."""

    def __init__(self, tracking: Tracking, folder: Path) -> None:
        self._tracking = tracking
        self._folder = folder
        self._refused: dict[tuple[int, str], tuple[str, float]] = {}  # why, and until when

    def load(self, version: Version) -> OnnxModel:
        """The version, loaded and tried. Raises UserError or OSError where that does not work.

        A version that failed is not tried again at each call.
        """
        key = (version.number, version.digest)
        if key in self._refused:
            why, until = self._refused[key]
            if time.monotonic() < until:
                raise UserError(why)
        try:
            return self._load(version)
        except UserError as error:
            self._refused[key] = (str(error), time.monotonic() + RETRY_SECONDS)
            raise

    def remember(self, model: OnnxModel, deployment: str = "") -> None:
        """Record that this model went live here, by that deployment."""
        last = {"version": model.version, "digest": model.digest, "deployment": deployment}
        write_atomically(self._folder / LAST_FILE, json.dumps(last).encode())

    def last(self) -> tuple[OnnxModel, str] | None:
        """The last model that went live here, and its deployment; None where it is not in the cache."""
        try:
            last = json.loads((self._folder / LAST_FILE).read_bytes())
            return load_model(self._folder / last["digest"], last["version"]), last["deployment"]
        except (FileNotFoundError, UserError):
            return None

    def _load(self, version: Version) -> OnnxModel:
        place = self._folder / version.digest
        if place.exists():
            try:
                return load_model(place, str(version.number))
            except UserError:  # damaged in the cache: fetch it again
                shutil.rmtree(place)
        self._fetch(version, place)
        return load_model(place, str(version.number))

    def _fetch(self, version: Version, place: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".fetch.") as scratch:
            fetched = self._tracking.fetch(version.run_id, HANDOFF_ARTIFACT, Path(scratch))
            model = load_model(fetched)
            if model.digest != version.digest:
                raise UserError(
                    f"version {version.number}: registered as {version.digest}, but its run keeps"
                    f" {model.digest}; release another version"
                )
            try:
                fetched.rename(place)
            except OSError:
                if not place.exists():  # else another process was faster
                    raise
