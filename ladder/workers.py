"""Runs replays in parallel, each in a process that ends with this one."""

import _thread
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import psutil

from ladder import UserError

SPAWN = multiprocessing.get_context("spawn")
EXTRA_WORKERS = 1  # processes than cores: while one waits for a disk, another computes
POLL_SECONDS = 0.2
STOP_SECONDS = 15  # for workers to stop their applications


@dataclass(frozen=True)
class Progress:
    """The state of a task at the end of a day of its story."""

    day: date
    done: int  # days
    error: float | None = None  # of the last 7 days, bikes an hour
    releases: int = 0
    last: str = ""  # the latest event
    seconds: float = 0.0  # of CPU, so far


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Task:
    """Work on a number of days. `run` gets a function to report each day to; both can be pickled."""

    title: str
    days: int
    run: Callable[[Report], Any]
    weight: int = 0  # the higher, the longer it takes


class Watcher(Protocol):
    """Is notified of progress, by the name of the task."""

    def progressed(self, name: str, progress: Progress) -> None: ...
    def finished(self, name: str) -> None: ...


def run_in_parallel(tasks: Mapping[str, Task], watchers: Sequence[Watcher]) -> dict[str, Any]:
    """Run all tasks, the longest first, one more at a time than there are cores. Returns results by name.

    The longest decides when all is done, so the others run at a lower priority. Raises UserError with the
    first failure; no process is ever left behind.
    """
    progress = SPAWN.SimpleQueue()
    longest_first = sorted(tasks, key=lambda name: tasks[name].weight, reverse=True)
    heaviest = max((each.weight for each in tasks.values()), default=0)
    results: dict[str, Any] = {}
    with ThreadPoolExecutor(cores() + EXTRA_WORKERS) as threads:
        names = {
            threads.submit(_in_subprocess, progress, name, tasks[name], tasks[name].weight < heaviest): name
            for name in longest_first
        }
        try:
            pending = set(names)
            while pending:
                done, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
                while not progress.empty():
                    name, reported = progress.get()
                    for watcher in watchers:
                        watcher.progressed(name, reported)
                for future in done:
                    name = names[future]
                    try:
                        results[name] = future.result()
                    except UserError as error:
                        raise UserError(f"{tasks[name].title}: {error}") from None
                    except BrokenProcessPool:
                        raise UserError(
                            f"{tasks[name].title}: its process died; is there enough memory?"
                        ) from None
                    for watcher in watchers:
                        watcher.finished(name)
        except BaseException:  # also Ctrl-C
            threads.shutdown(wait=False, cancel_futures=True)
            _stop(names)
            raise
    return results


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_subprocess(progress: Any, name: str, task: Task, low_priority: bool) -> Any:
    """Run a task in a new process: it changes the current folder and imports a level's package.

    The task is passed in a file: an executor's pipe holds 64 KiB, and if a process is stopped before it has
    read more than that, the executor of Python 3.11.2 hangs (CPython issue 94777).
    """
    with (
        tempfile.TemporaryDirectory(prefix="ladder-task-") as scratch,
        ProcessPoolExecutor(1, SPAWN, initializer=_set_up, initargs=(progress,)) as process,
    ):
        file = Path(scratch, "task")
        file.write_bytes(pickle.dumps(task))
        return process.submit(_run, name, file, low_priority).result()


def _stop(tasks: Collection[Future[Any]]) -> None:
    """Terminate the workers, which stops their applications; kill those left after a while."""
    families: dict[int, list[psutil.Process]] = {}
    until = time.monotonic() + STOP_SECONDS
    while not all(task.done() for task in tasks) and time.monotonic() < until:
        for worker in multiprocessing.active_children():
            if worker.pid is not None and worker.pid not in families:
                with suppress(psutil.NoSuchProcess):
                    root = psutil.Process(worker.pid)
                    families[worker.pid] = [*root.children(recursive=True), root]
                worker.terminate()
        time.sleep(POLL_SECONDS)
    for process in (each for family in families.values() for each in family):
        with suppress(psutil.NoSuchProcess):
            process.kill()


# Per worker: the queue to its parent, and whether its task has ended.
_progress: Any = None
_ended = threading.Event()


def _set_up(progress: Any) -> None:
    """Prepare a worker: on SIGTERM, and when its parent is gone, it leaves its contexts and ends, so that an
    application it started is stopped.
    """
    global _progress
    _progress = progress
    if hasattr(os, "setsid"):
        os.setsid()  # a terminal sends Ctrl-C to a whole group; only the parent is to react to it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.dup2(2, 1)  # standard output is the parent's
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if sys.platform == "win32":
        _thread.interrupt_main(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)  # also interrupts any wait
    _ended.wait(STOP_SECONDS)
    os._exit(1)  # the pool's worker would wait for another task


def _run(name: str, file: Path, low_priority: bool) -> Any:
    task: Task = pickle.loads(file.read_bytes())
    if low_priority:
        with suppress(psutil.Error):  # on Windows a class, elsewhere a number
            psutil.Process().nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 5))
    try:
        return task.run(lambda progress: _progress.put((name, progress)))
    except UserError:
        raise
    except Exception as error:
        # The parent lacks the level's package, could not unpickle such an error, and would report a crash.
        traceback.print_exc()
        raise UserError(" ".join("".join(traceback.format_exception_only(error)).split())) from None
    finally:
        _ended.set()
