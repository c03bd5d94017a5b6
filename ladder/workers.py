"""Work side by side, each piece in a process of its own; Ctrl-C reaches the parent, which ends them all."""

import _thread
import asyncio
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import psutil

from data import UserError
from ladder.levels import ROOT

# A terminal sends Ctrl-C to a whole group: notebooks, tests and applications that a worker starts would break
# off first, each with a complaint of its own. So a worker has a group to itself.
_OWN_GROUP: dict[str, Any] = (
    {"creationflags": 0x200}  # subprocess.CREATE_NEW_PROCESS_GROUP, which exists there only
    if sys.platform == "win32"
    else {"start_new_session": True}
)

MARK = "LADDER_REPLAY"
MORE = 1  # pieces of work than cores


@dataclass(frozen=True)
class Progress:
    """What is told at the end of a day: how far the work is, and what has come of it until then."""

    day: date
    done: int  # days, of those that the work has
    error: float | None = None  # of the last 7 days, bikes an hour
    releases: int = 0
    human_steps: int = 0
    last: str = ""  # what happened last
    seconds: float = 0.0  # of CPU, until then


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Work:
    """A piece of work on so many days. `do` gets a function to call after each day; it can be pickled."""

    title: str
    days: int
    do: Callable[[Tell], Any]
    short: str  # the title in a table
    group: str = ""  # the heading of this one and those that follow with the same
    weight: int = 0  # the higher, the longer it takes


class Watch(Protocol):
    """Who looks on while work is done, by the names of its pieces."""

    def told(self, name: str, progress: Progress) -> None: ...
    def ended(self, name: str) -> None: ...


@dataclass(frozen=True)
class _Message:
    """What a worker tells: one more day done, or its result, or why it could not go on."""

    name: str
    progress: Progress | None = None
    result: Any = None
    error: str | None = None


def side_by_side(work: Mapping[str, Work], watches: Sequence[Watch], mark: str = "") -> dict[str, Any]:
    """Do all of it in that order, one piece more at once than there are cores. Returns the results by name.

    While one waits for a process or a disk another goes on; the heaviest, for which all wait in the end, goes
    before the others.

    `mark` is found in the environment of every process that is started for it (`left_behind`). Raises
    UserError with the first failure; whatever happens, no process is left.
    """
    outbox: queue.Queue[_Message] = queue.Queue()
    waiting, results = list(work), dict[str, Any]()
    running: dict[str, subprocess.Popen[bytes]] = {}
    heaviest = max((each.weight for each in work.values()), default=0)
    with _no_process_left(running):
        while len(results) < len(work):
            while waiting and len(running) < cores() + MORE:
                name = waiting.pop(0)
                running[name] = _start(name, work[name], outbox, mark)
                if work[name].weight < heaviest:
                    _give_way(running[name].pid)
            try:
                message = outbox.get(timeout=1)  # with a time limit, so that Windows notices Ctrl-C
            except queue.Empty:
                continue
            if message.error is not None:
                raise UserError(f"{work[message.name].title}: {message.error}")
            if message.progress is not None:
                for watch in watches:
                    watch.told(message.name, message.progress)
            else:
                results[message.name] = message.result
                running.pop(message.name).wait()
                for watch in watches:
                    watch.ended(message.name)
    return results


def _give_way(pid: int) -> None:
    """Let others go first where not all can go at once; what the process starts is as polite."""
    polite = 5
    if sys.platform == "win32":
        polite = psutil.BELOW_NORMAL_PRIORITY_CLASS
    with suppress(psutil.Error):
        psutil.Process(pid).nice(polite)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def left_behind(mark: str) -> list[psutil.Process]:
    """The processes that an earlier `side_by_side` with that mark started, and that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):  # it is gone, or another person's
            continue
    return found


def end_left_behind(mark: str) -> None:
    """End them: a replay of which nobody waits for the result must not write into its working copy."""
    left = left_behind(mark)
    _, left = psutil.wait_procs(left, timeout=5)  # a worker whose parent is gone leaves by itself
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=15)


def _start(name: str, work: Work, outbox: "queue.Queue[_Message]", mark: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", "ladder.workers"],
        cwd=ROOT,
        env={**os.environ, MARK: mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **_OWN_GROUP,
    )
    threading.Thread(target=_converse, args=(name, work, process, outbox), daemon=True).start()
    return process


def _converse(
    name: str, work: Work, process: "subprocess.Popen[bytes]", outbox: "queue.Queue[_Message]"
) -> None:
    """Hand the work over, then pass on what the worker tells until it ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump((name, work), process.stdin)
        process.stdin.flush()  # and left open: its end tells the worker that the parent is gone
        while True:
            outbox.put(pickle.load(process.stdout))
    except (EOFError, OSError, pickle.UnpicklingError):
        if process.wait():
            error = f"it broke off with status {process.returncode}; the lines above say where"
            outbox.put(_Message(name, error=error))


@contextmanager
def _no_process_left(running: Mapping[str, "subprocess.Popen[bytes]"]) -> Iterator[None]:
    try:
        yield
    finally:
        families = []
        for process in running.values():
            try:
                root = psutil.Process(process.pid)
                families += [root, *root.children(recursive=True)]
                root.terminate()  # it stops its application itself, if it is given the time
            except psutil.NoSuchProcess:
                continue
        _, left = psutil.wait_procs(families, timeout=15)
        for survivor in left:
            survivor.kill()
        for process in running.values():
            process.wait()


def work_for_parent() -> None:
    """The body of a worker: reads its work, does it, tells each day, and at last the result or the error.

    On SIGTERM, and when the parent is gone, it leaves by way of the exits of what it is in, so that an
    application it started is stopped.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed from here on must not get between the messages
    name, work = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_leave_with_parent, daemon=True).start()

    def tell(message: _Message) -> None:
        pickle.dump(message, channel)
        channel.flush()

    try:
        tell(_Message(name, result=work.do(lambda progress: tell(_Message(name, progress)))))
    except UserError as error:
        tell(_Message(name, error=str(error)))
    except asyncio.CancelledError:  # in a notebook SIGTERM is not ours: nbclient cancels what it does
        sys.exit(1)


def _leave_with_parent() -> None:
    os.read(0, 1)  # returns when the other end is closed; past sys.stdin, whose lock an exit would wait for
    _thread.interrupt_main(signal.SIGTERM)


if __name__ == "__main__":
    from ladder import workers  # by its name, so that what is pickled here is known there

    workers.work_for_parent()
