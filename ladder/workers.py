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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data import UserError
from ladder.levels import ROOT

# A terminal sends Ctrl-C to a whole group: notebooks, tests and applications that a worker starts would break
# off first, each with a complaint of its own. So a worker has a group to itself.
_OWN_GROUP: dict[str, Any] = (
    {"creationflags": 0x200}  # subprocess.CREATE_NEW_PROCESS_GROUP, which exists there only
    if sys.platform == "win32"
    else {"start_new_session": True}
)


@dataclass(frozen=True)
class Work:
    """A piece of work on so many days. `do` gets a function to call after each day; it can be pickled."""

    title: str
    days: int
    do: Callable[[Callable[[date], None]], Any]


@dataclass(frozen=True)
class _Message:
    """What a worker tells: one more day done, or its result, or why it could not go on."""

    name: str
    day: date | None = None
    result: Any = None
    error: str | None = None


def side_by_side(work: Mapping[str, Work], console: Console) -> dict[str, Any]:
    """Do all of it, as many at once as there are cores, with a bar for each. Returns the results by name.

    Raises UserError with the first failure; whatever happens, no process is left.
    """
    outbox: queue.Queue[_Message] = queue.Queue()
    waiting, results = list(work), dict[str, Any]()
    running: dict[str, subprocess.Popen[bytes]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"))
    with _no_process_left(running), Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        tasks = {name: bars.add_task(each.title, total=each.days) for name, each in work.items()}
        while len(results) < len(work):
            while waiting and len(running) < max(2, os.cpu_count() or 2):
                name = waiting.pop(0)
                running[name] = _start(name, work[name], outbox)
            try:
                message = outbox.get(timeout=1)  # with a time limit, so that Windows notices Ctrl-C
            except queue.Empty:
                continue
            if message.error is not None:
                raise UserError(f"{work[message.name].title}: {message.error}")
            if message.day is not None:
                bars.advance(tasks[message.name])
            else:
                results[message.name] = message.result
                running.pop(message.name).wait()
    return results


def _start(name: str, work: Work, outbox: "queue.Queue[_Message]") -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", "ladder.workers"],
        cwd=ROOT,
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
        tell(_Message(name, result=work.do(lambda day: tell(_Message(name, day=day)))))
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
