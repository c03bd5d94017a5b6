"""Polls the registry in the background, and swaps in the models that its aliases name."""

import json
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import SERVING
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.store.tracking import CHAMPION, HANDOFF_ARTIFACT, Tracking, Version
from bike_demand.store.traffic_split import DEPLOYMENT_TAG, traffic_split

NO_MODEL = (
    "no model yet: nothing was released; train one with `python -m bike_demand train`, then make it live with"
    " `python -m bike_demand deploy latest`"
)
LAST_FILE = "last.json"  # the version that last went live here
RETRY_SECONDS = 30.0  # before a version that failed to load is fetched again
FIRST_POLL_SECONDS = 30.0  # how long startup waits for the registry; polling continues after that

Role = Literal["challenger", "shadow", "previous"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SecondModel:
    """The model that predicts next to the live one, and the share (0 to 1) of units shown its predictions."""

    model: OnnxModel
    deployment: str
    role: Role
    share: float = 0.0
    salt: str = ""
    randomize_by: Literal["time", "key"] = "time"


@dataclass(frozen=True)
class LiveModels:
    """Immutable and replaced as a whole, so that a request that read it sees one consistent state.

    `deployment` is the id of the deployment that promoted the model; empty for an out-of-band promotion.
    """

    model: OnnxModel
    deployment: str = ""
    other: SecondModel | None = None


class ModelHolder:
    """The live models of a process. Each request reads `live` once, so that a swap does not affect it."""

    def __init__(self, model: OnnxModel | None = None) -> None:
        self.live: LiveModels | None = None if model is None else LiveModels(model)
        self.error: str | None = None  # why the aliases cannot be followed at the moment

    def reason(self) -> str:
        """Why there is no model."""
        return self.error or NO_MODEL


class RegistryModels:
    """Loads the models that the registry's aliases name."""

    def __init__(
        self, tracking: Tracking, alias: str = CHAMPION, folder: Path = SERVING / "production"
    ) -> None:
        self._tracking, self._alias = tracking, alias
        self._cache = ModelCache(tracking, folder)
        self._confirmed_token: object = None  # the store's state in which the live models were last confirmed

    def load(self, known: LiveModels | None = None) -> tuple[LiveModels | None, str | None]:
        """The live models (`known` if nothing changed, None if nothing is live), and a reason if the second
        one is missing or a restart would not find the live one: the live model does not depend on them.

        Raises UserError or OSError if the registry does not respond or the live version does not load.
        """
        split = traffic_split(self._tracking, self._alias)
        if split is None:
            return None, None
        model = self._model(split.shown, known)
        other, reason = None, None
        if split.other is not None and split.role is not None:
            try:
                second = self._model(split.other, known)
                deployment = split.other.tags.get(DEPLOYMENT_TAG, "")
                other = SecondModel(
                    second, deployment, split.role, split.share, split.salt, split.randomize_by
                )
            except (UserError, OSError) as error:
                reason = f"the {split.role} version cannot be loaded: {error}"
        live = LiveModels(model, split.shown.tags.get(DEPLOYMENT_TAG, ""), other)
        reason = self._cache.save_last_live(live.model, live.deployment) or reason
        return known if live == known else live, reason

    def current(self, known: LiveModels | None = None) -> tuple[LiveModels | None, str | None]:
        """The models to predict with, and a reason if they differ from the registry's.

        In that case they are `known` or else the last model that went live here. None: nothing was released.
        """
        state = self._tracking.change_token()
        if known is not None and state is not None and state == self._confirmed_token:
            return known, None
        self._confirmed_token = None
        try:
            live, reason = self.load(known)
        except (UserError, OSError) as error:
            last = None if known else self._cache.load_last_live()
            return known or (LiveModels(*last) if last else None), str(error)
        if live is None and known is not None:
            return known, "no version is live in the registry any more; deploy one"
        self._confirmed_token = None if reason else state
        return live, reason

    def _model(self, version: Version, known: LiveModels | None) -> OnnxModel:
        """The version's model, reused if already loaded, like a challenger that becomes champion."""
        if known is not None:
            for model in (known.model, known.other.model if known.other else known.model):
                if (model.version, model.digest) == (str(version.number), version.digest):
                    return model
        return self._cache.load(version)


class RegistryPoller:
    """A thread that polls the registry and puts the live models into the holder.

    A version that does not load never goes live: the previous one stays, and the reason is logged once.
    `after_poll` is called after each poll, with whether the models changed.
    """

    def __init__(
        self,
        holder: ModelHolder,
        models: RegistryModels,
        poll_seconds: float,
        after_poll: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._holder, self._models, self._poll_seconds = holder, models, poll_seconds
        self._after_poll = after_poll
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
        before = self._holder.live
        try:
            live, reason = self._models.current(before)
        except Exception as error:  # the thread must survive; the error is logged below
            live, reason = before, f"{type(error).__name__}: {error}"
        self._holder.live = live
        version = live.model.version if live else None
        if reason is not None and reason != self._holder.error:
            log.error("registry_error", extra={"detail": reason, "serving": version})
        self._holder.error = reason
        if live is not None and live is not before:
            other = live.other
            second = {other.role: other.model.version, "share": other.share} if other else {}
            log.info("live", extra={"version": version, "deployment": live.deployment, **second})
        try:
            self._after_poll(live is not before)
        except Exception:  # likewise
            log.exception("after_poll_error")

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

    def save_last_live(self, model: OnnxModel, deployment: str = "") -> str | None:
        """Record that this model went live here with that deployment; the reason if that is impossible."""
        last = {"version": model.version, "digest": model.digest, "deployment": deployment}
        if last != self._saved:
            try:
                write_atomically(self._folder / LAST_FILE, json.dumps(last).encode())
                self._saved = last
            except OSError as error:  # like a full disk, which must not keep the model from going live
                return f"{self._folder / LAST_FILE}: {error.strerror}; a restart may serve another version"
        return None

    def load_last_live(self) -> tuple[OnnxModel, str] | None:
        """The last model that went live here, and its deployment; None if it is not in the cache."""
        try:
            last = json.loads((self._folder / LAST_FILE).read_bytes())
            return load_model(self._folder / last["digest"], last["version"]), last["deployment"]
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
                    f" {model.digest}; deploy another version"
                )
            try:
                fetched.rename(place)
            except OSError:
                if not place.exists():  # otherwise another process was faster
                    raise
            return model
