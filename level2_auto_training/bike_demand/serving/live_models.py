"""Polls the registry in the background, and swaps in the version with the champion alias."""

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
    "no model yet: nothing was released; train one with `python -m bike_demand train`, then make it live with"
    " `python -m bike_demand release VERSION`"
)
LAST_FILE = "last.json"  # the version that last went live here
RETRY_SECONDS = 30.0  # before a version that failed to load is fetched again
FIRST_POLL_SECONDS = 30.0  # how long startup waits for the registry; polling continues after that

log = logging.getLogger(__name__)


class ModelHolder:
    """The live model of a process. Each request reads it once, so that a swap does not affect it."""

    def __init__(self, model: OnnxModel | None = None) -> None:
        self.model = model
        self.error: str | None = None  # why the alias cannot be followed at the moment

    def reason(self) -> str:
        """Why there is no model."""
        return self.error or NO_MODEL


class RegistryModels:
    """Loads the version with the champion alias."""

    def __init__(self, tracking: Tracking, folder: Path = SERVING) -> None:
        self._tracking = tracking
        self._cache = ModelCache(tracking, folder)
        self._confirmed_token: object = None  # the store's state in which the live model was last confirmed

    def load(self, known: OnnxModel | None = None) -> OnnxModel | None:
        """The live model: `known` if it is still live, None if nothing is live.

        Raises UserError or OSError if the registry does not respond or its model does not load.
        """
        version = self._tracking.champion()
        if version is None:
            return None
        if known is not None and (known.version, known.digest) == (str(version.number), version.digest):
            return known
        return self._cache.load(version)

    def current(self, known: OnnxModel | None = None) -> tuple[OnnxModel | None, str | None]:
        """The model to predict with, and a reason if it differs from the registry's.

        In that case it is `known` or else the last model that went live here. None: no version was released.
        """
        state = self._tracking.change_token()
        if known is not None and state is not None and state == self._confirmed_token:
            return known, None
        self._confirmed_token = None
        try:
            model = self.load(known)
        except (UserError, OSError) as error:
            return known or self._cache.load_last_live(), str(error)
        if model is None and known is not None:
            return known, "no version is live in the registry any more; release one"
        reason = self._cache.save_last_live(model) if model else None
        self._confirmed_token = None if reason else state
        return model, reason


class RegistryPoller:
    """A thread that polls the registry and puts the live model into the holder.

    A version that does not load never goes live: the previous one stays, and the reason is logged once.
    """

    def __init__(self, holder: ModelHolder, models: RegistryModels, poll_seconds: float) -> None:
        self._holder, self._models, self._poll_seconds = holder, models, poll_seconds
        self._polled, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry-poller", daemon=True)

    def start(self, timeout: float = FIRST_POLL_SECONDS) -> None:
        """Start polling. Returns after the first poll, or after `timeout` seconds."""
        self._thread.start()
        self._polled.wait(timeout)

    def stop(self) -> None:
        """Stop soon, without waiting for a registry that does not respond."""
        self._stopping.set()
        self._thread.join(1.0)

    def poll(self) -> None:
        """Poll once."""
        before = self._holder.model
        try:
            model, reason = self._models.current(before)
        except Exception as error:  # the thread must survive; the error is logged below
            model, reason = before, f"{type(error).__name__}: {error}"
        self._holder.model = model
        version = model.version if model else None
        if reason is not None and reason != self._holder.error:
            log.error("registry_error", extra={"detail": reason, "serving": version})
        self._holder.error = reason
        if model is not None and model is not before:
            log.info("live", extra={"version": version})

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.poll()
            self._polled.set()
            self._stopping.wait(self._poll_seconds)


class ModelCache:
    """Registered models, fetched once, verified, and kept in case the registry is unavailable.

    Stored in `folder` by digest, so that processes that share it fetch each model once.
    """

    def __init__(self, tracking: Tracking, folder: Path) -> None:
        self._tracking = tracking
        self._folder = folder
        self._failed_loads: dict[tuple[int, str], tuple[str, float]] = {}  # reason, and time of the next try
        self._saved: dict[str, str] | None = None  # what was last written to LAST_FILE

    def load(self, version: Version) -> OnnxModel:
        """Load a version and verify it. Raises UserError or OSError.

        After a UserError it is not tried again for RETRY_SECONDS.
        """
        key = (version.number, version.digest)
        why, until = self._failed_loads.get(key, ("", 0.0))
        if time.monotonic() < until:
            raise UserError(why)
        try:
            return self._load(version)
        except UserError as error:
            self._failed_loads[key] = (str(error), time.monotonic() + RETRY_SECONDS)
            raise

    def save_last_live(self, model: OnnxModel) -> str | None:
        """Record that this model went live here; the reason if that is impossible."""
        last = {"version": model.version, "digest": model.digest}
        if last != self._saved:
            try:
                write_atomically(self._folder / LAST_FILE, json.dumps(last).encode())
                self._saved = last
            except OSError as error:  # like a full disk, which must not keep the model from going live
                return f"{self._folder / LAST_FILE}: {error.strerror}; a restart may serve another version"
        return None

    def load_last_live(self) -> OnnxModel | None:
        """The last model that went live here; None if it is not in the cache."""
        try:
            last = json.loads((self._folder / LAST_FILE).read_bytes())
            return load_model(self._folder / last["digest"], last["version"])
        except (FileNotFoundError, UserError):
            return None

    def _load(self, version: Version) -> OnnxModel:
        if not version.digest.isalnum():  # it names a folder, which may be deleted below
            raise UserError(f"version {version.number}: not registered by `train`; move its alias to another")
        place = self._folder / version.digest
        if place.exists():
            try:
                return load_model(place, str(version.number))
            except UserError:  # damaged in the cache: fetch it again
                shutil.rmtree(place)
        return self._fetch(version, place)

    def _fetch(self, version: Version, place: Path) -> OnnxModel:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".fetch.") as scratch:
            fetched = self._tracking.fetch(version.run_id, HANDOFF_ARTIFACT, Path(scratch))
            model = load_model(fetched, str(version.number))
            if model.digest != version.digest:
                raise UserError(
                    f"version {version.number}: registered as {version.digest}, but its run keeps"
                    f" {model.digest}; release another version"
                )
            try:
                fetched.rename(place)
            except OSError:
                if not place.exists():  # otherwise another process was faster
                    raise
            return model
