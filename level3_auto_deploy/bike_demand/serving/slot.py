"""The place of what is live in a process, and the thread that follows the registry's aliases."""

import sys
import threading
from collections.abc import Callable

from bike_demand.serving.champion import Champion
from bike_demand.serving.lines import Say, say
from bike_demand.serving.live import Live
from bike_demand.serving.model import Model

NOTHING_YET = (
    "no model yet: nothing was released; train one with `python -m bike_demand train`, then put it live with"
    " `python -m bike_demand deploy latest`"
)
FIRST_LOOK_SECONDS = 30.0  # how long a start waits for the registry; after that it goes on looking


class Slot:
    """What answers now. A request takes `live` once, so a change in between does not touch it."""

    def __init__(self, model: Model | None = None) -> None:
        self.live: Live | None = None if model is None else Live(model)
        self.problem: str | None = None  # why the aliases are not followed at the moment

    @property
    def model(self) -> Model | None:
        """The live model."""
        live = self.live
        return live.model if live else None

    def reason(self) -> str:
        """Why there is no model."""
        return self.problem or NOTHING_YET


class Follower:
    """Looks every so often what is live, and puts it into the slot.

    A version is loaded and tried beside the live one; the change itself is one assignment. One that is no
    good never goes live: the one before stays, and standard error says why, once for each reason. `each_look`
    is called after each look.
    """

    def __init__(
        self,
        slot: Slot,
        champion: Champion,
        poll_seconds: float,
        say: Say = say,
        each_look: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._slot, self._champion, self._poll_seconds = slot, champion, poll_seconds
        self._say, self._each_look = say, each_look
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
        before = self._slot.live
        try:
            live, problem = self._champion.current(before)
        except Exception as error:  # whatever it is, the thread has to go on, and it is said below
            live, problem = before, f"{type(error).__name__}: {error}"
        self._slot.live = live
        if problem is not None and problem != self._slot.problem:
            then = f"version {live.model.version} goes on answering" if live else "no answers until then"
            print(f"error: {problem} ({then})", file=sys.stderr, flush=True)
        self._slot.problem = problem
        if live is not None and live is not before:
            other = live.other
            beside = {other.role: other.model.version, "share": other.share} if other else {}
            self._say("live", version=live.model.version, deployment=live.deployment, **beside)
        self._each_look(live is not before)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._looked.set()
            self._stopping.wait(self._poll_seconds)
