"""The loop as one process: turns for ever, until SIGTERM or Ctrl-C."""

import signal
import sys
import threading
import time
import traceback
from datetime import datetime
from types import FrameType

from bike_demand.errors import UserError
from bike_demand.loop.context import Tell
from bike_demand.loop.turn import turn
from bike_demand.settings import load_settings

SLICE_SECONDS = 0.5


def once(as_of: datetime | None, tell: Tell) -> None:
    """One turn. Raises UserError where it fails."""
    turn(load_settings(), as_of, tell)


def forever(tell: Tell, every: float | None = None) -> None:
    """A turn `every` so many seconds, else each `loop.seconds`. One that fails is said, and tried again.

    A signal to end takes effect at once: a turn may be cut off anywhere.
    """
    ending = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()
        raise KeyboardInterrupt

    before = {each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not ending.is_set():
            began = time.monotonic()
            seconds = _turn(tell)
            while not ending.is_set() and time.monotonic() < began + (every or seconds):
                # In slices: not everywhere does a signal interrupt a wait.
                ending.wait(min(SLICE_SECONDS, max(0.0, began + (every or seconds) - time.monotonic())))
    except KeyboardInterrupt:
        if not ending.is_set():
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    tell("The loop has ended.")


def _turn(tell: Tell) -> float:
    """Take a turn by the settings of now; how many seconds there are from its begin to the next."""
    seconds = 60.0
    try:
        settings = load_settings()
        seconds = settings.loop.seconds
        turn(settings, None, tell)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
    except Exception:  # a mistake in this code must not end the loop, and must be seen
        traceback.print_exc()
    return seconds
