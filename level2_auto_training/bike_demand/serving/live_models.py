"""Which model is live: the one the registry's alias names, loaded in the background, swapped in one step."""

import json
import logging
import shutil
import tempfile
import threading
import time
from pathlib import Path

from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import SERVING
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking, Version

NO_MODEL = (
    "no model yet: nothing was released; train one with `python -m bike_demand train`, then put it live with"
    " `python -m bike_demand release VERSION`"
)
LAST_FILE = "last.json"  # which version was the last to go live here
RETRY_SECONDS = 30.0  # until a version that could not be loaded is fetched again
FIRST_POLL_SECONDS = 30.0  # how long a start waits for the registry; the poller goes on trying after that

log = logging.getLogger(__name__)


class ModelHolder:
    """The live model of a process. A request reads it once, so a swap does not affect it."""

    def __init__(self, model: OnnxModel | None = None) -> None:
        self.model = model
        self.problem: str | None = None  # why the alias cannot be followed at the moment

    def reason(self) -> str:
        """Why there is no model."""
        return self.problem or NO_MODEL


class RegistryModels:
    """Loads the version that has the alias champion."""

    def __init__(self, tracking: Tracking, folder: Path = SERVING) -> None:
        self._tracking = tracking
        self._cache = ModelCache(tracking, folder)
        self._seen: object = None  # the store's state when the live model was what it says

    def load(self, known: OnnxModel | None = None) -> OnnxModel | None:
        """The live model: `known` where that is still the one, None where nothing is live.

        Raises UserError or OSError where the registry does not respond or its model does not load.
        """
        version = self._tracking.champion()
        if version is None:
            return None
        if known is not None and (known.version, known.digest) == (str(version.number), version.digest):
            return known
        model = self._cache.load(version)
        self._cache.remember(model)
        return model

    def current(self, known: OnnxModel | None = None) -> tuple[OnnxModel | None, str | None]:
        """The model to predict with, and why it is not what the registry says, if it is not.

        In that case `known` or, without it, the last model that went live here. None: nothing was released.
        """
        state = self._tracking.state()
        if known is not None and state is not None and state == self._seen:
            return known, None
        self._seen = None
        try:
            model = self.load(known)
        except (UserError, OSError) as error:
            last = None if known else self._cache.last()
            return known or (last[0] if last else None), str(error)
        if model is None and known is not None:
            return known, "no version is live in the registry any more; release one"
        self._seen = state
        return model, None


class RegistryPoller:
    """A thread that polls the registry and puts the model it names into the holder.

    A version that does not load never goes live: the one before stays, and the reason is logged once.
    """

    def __init__(self, holder: ModelHolder, models: RegistryModels, poll_seconds: float) -> None:
        self._holder, self._models, self._poll_seconds = holder, models, poll_seconds
        self._polled, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry-poller", daemon=True)

    def start(self, patience: float = FIRST_POLL_SECONDS) -> None:
        """Start polling; returns after the first poll, or when it takes longer than `patience` seconds."""
        self._thread.start()
        self._polled.wait(patience)

    def stop(self) -> None:
        """Stop soon, without waiting for a registry that does not respond."""
        self._stopping.set()
        self._thread.join(self._poll_seconds)

    def poll(self) -> None:
        """Poll once."""
        before = self._holder.model
        try:
            model, problem = self._models.current(before)
        except Exception as error:  # the thread must go on, and the error is logged below
            model, problem = before, f"{type(error).__name__}: {error}"
        self._holder.model = model
        version = model.version if model else None
        if problem is not None and problem != self._holder.problem:
            log.error("registry_problem", extra={"detail": problem, "serving": version})
        self._holder.problem = problem
        if model is not None and model is not before:
            log.info("live", extra={"version": version})

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.poll()
            self._polled.set()
            self._stopping.wait(self._poll_seconds)


class ModelCache:
    """Registered models, fetched once, verified, and kept for when the registry is away.

    They lie in `folder` by their digest, so processes that share it fetch each of them once."""

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
