"""The place of the live model in a process, and the thread that follows the registry's alias."""

import sys
import threading

from bike_demand.serving.champion import Champion
from bike_demand.serving.model import Model

NOTHING_YET = (
    "no model yet: nothing was released; train one with `python -m bike_demand train`, then put it live with"
    " `python -m bike_demand release VERSION`"
)
FIRST_LOOK_SECONDS = 30.0  # how long a start waits for the registry; after that it goes on looking


class Slot:
    """The model that answers now. A request takes it once, so a change in between does not touch it."""

    def __init__(self, model: Model | None = None) -> None:
        self.model = model
        self.problem: str | None = None  # why the alias is not followed at the moment

    def reason(self) -> str:
        """Why there is no model."""
        return self.problem or NOTHING_YET


class Follower:
    """Looks every so often which version is champion, and puts it into the slot.

    A version is loaded and tried beside the live one; the change itself is one assignment. One that is no
    good never goes live: the one before stays, and standard error says why, once for each reason.
    """

    def __init__(self, slot: Slot, champion: Champion, poll_seconds: float) -> None:
        self._slot, self._champion, self._poll_seconds = slot, champion, poll_seconds
        self._looked, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-champion", daemon=True)

    def start(self, patience: float = FIRST_LOOK_SECONDS) -> None:
        """Begin to follow; returns after the first look, or when it takes longer than `patience` seconds."""
        self._thread.start()
        self._looked.wait(patience)

    def stop(self) -> None:
        """End soon, without waiting for a registry that does not answer."""
        self._stopping.set()
        self._thread.join(self._poll_seconds)

    def look(self) -> None:
        """Look once."""
        before = self._slot.model
        try:
            model, problem = self._champion.current(before)
        except Exception as error:  # whatever it is, the thread has to go on, and it is said below
            model, problem = before, f"{type(error).__name__}: {error}"
        self._slot.model = model
        if problem is not None and problem != self._slot.problem:
            then = f"version {model.version} goes on answering" if model else "no answers until then"
            print(f"error: {problem} ({then})", file=sys.stderr, flush=True)
        self._slot.problem = problem
        if model is not None and model is not before:
            print(f"model {model.version} is live", flush=True)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._looked.set()
            self._stopping.wait(self._poll_seconds)
