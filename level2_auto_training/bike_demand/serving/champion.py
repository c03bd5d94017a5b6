"""The version that is live: fetched from the registry, checked, and kept for when the registry is away."""

import json
import shutil
import tempfile
import time
from pathlib import Path

from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.serving.model import Model, load_model
from bike_demand.settings import SERVING
from bike_demand.tracking import HANDOFF_ARTIFACT, Tracking, Version

LAST_FILE = "last.json"  # which version was the last to go live here
RETRY_SECONDS = 30.0  # until a version that could not be loaded is fetched once more


class Champion:
    """Loads the version that has the alias champion.

    Models lie in `folder` by their digest, so processes that share it fetch each of them once.
    """

    def __init__(self, tracking: Tracking, folder: Path = SERVING) -> None:
        self._tracking = tracking
        self._folder = folder
        self._refused: tuple[Version, str, float] | None = None  # what, why, and until when

    def load(self, known: Model | None = None) -> Model | None:
        """The version that is live, which is `known` where that is still the one; None where none is.

        Raises UserError or OSError where the registry does not answer or its model is no good.
        """
        version = self._tracking.champion()
        if version is None:
            return None
        if known is not None and (known.version, known.digest) == (str(version.number), version.digest):
            return known
        if self._refused is not None:
            what, why, until = self._refused
            if (what.number, what.digest) == (version.number, version.digest) and time.monotonic() < until:
                raise UserError(why)
        try:
            model = self._loaded(version)
        except UserError as error:
            self._refused = (version, str(error), time.monotonic() + RETRY_SECONDS)
            raise
        last = {"version": version.number, "digest": version.digest}
        write_atomically(self._folder / LAST_FILE, json.dumps(last).encode())
        return model

    def current(self, known: Model | None = None) -> tuple[Model | None, str | None]:
        """The model to answer with, and what is wrong where that is not what the registry says.

        Then it is `known` or, without it, the last version that went live here. None: nothing was released.
        """
        try:
            model = self.load(known)
        except (UserError, OSError) as error:
            return known or self._last(), str(error)
        if model is None and known is not None:
            return known, "no version is live in the registry any more; release one"
        return model, None

    def _last(self) -> Model | None:
        """The last version that went live here; None where there was none, or its copy is gone."""
        try:
            last = json.loads((self._folder / LAST_FILE).read_bytes())
            return load_model(self._folder / last["digest"], str(last["version"]))
        except (FileNotFoundError, UserError):
            return None

    def _loaded(self, version: Version) -> Model:
        place = self._folder / version.digest
        if place.exists():
            try:
                return load_model(place, str(version.number))
            except UserError:  # a copy that somebody spoilt: fetch it once more
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
