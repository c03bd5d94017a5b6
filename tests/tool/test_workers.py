"""Tasks side by side: each in a process of its own, of which none is left, whatever happens."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import psutil
import pytest

from ladder import ROOT, UserError
from ladder.workers import Progress, Report, Task, run_in_parallel

DAY = date(2012, 1, 1)
SECONDS = 60


class Watching:
    """Notes what it is notified of."""

    def __init__(self) -> None:
        self.days: dict[str, int] = {}
        self.ended: list[str] = []

    def progressed(self, name: str, progress: Progress) -> None:
        self.days[name] = progress.done

    def finished(self, name: str) -> None:
        self.ended.append(name)


def counts(result: str, folder: Path, report: Report) -> tuple[str, int]:
    os.chdir(folder)
    report(Progress(DAY, 1))
    time.sleep(0.5)
    return result, os.getpid()


def fails(_: Report) -> None:
    raise UserError("no good")


def reports_and_fails(report: Report) -> None:
    report(Progress(DAY, 1))
    raise UserError("no good")


def idles(_much: bytes, _: Report) -> None:
    time.sleep(SECONDS)


def dies(_: Report) -> None:
    os._exit(9)


def fails_in_a_package(folder: Path, _: Report) -> None:
    """Fails as a level does: with an error of a package that only the task's own process can import."""
    (folder / "lost.py").write_text("class Lost(Exception):\n    def __init__(self, what, why): ...\n")
    sys.path.insert(0, str(folder))
    raise importlib.import_module("lost").Lost("the champion", "deleted")


def waits(pids: Path, _: Report) -> None:
    """Starts a process, and stops it when it is ended itself."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (pids / f"{os.getpid()}-{child.pid}").touch()
        child.wait()
    finally:
        child.terminate()


def task(run: Callable[[Report], object], weight: int = 0) -> Task:
    return Task("A task", 1, run, weight)


def none_is_left(pids: Path) -> bool:
    found = [int(pid) for each in pids.iterdir() for pid in each.name.split("-")]
    until = time.monotonic() + SECONDS
    while any(map(psutil.pid_exists, found)) and time.monotonic() < until:
        time.sleep(0.1)
    return bool(found) and not any(map(psutil.pid_exists, found))


def test_each_task_runs_in_a_process_of_its_own_and_reports_its_days(tmp_path: Path) -> None:
    before, watching = Path.cwd(), Watching()
    tasks = {name: task(partial(counts, name, tmp_path)) for name in ("a", "b")}
    results = run_in_parallel(tasks, [watching])
    assert {name: result for name, (result, _) in results.items()} == {"a": "a", "b": "b"}
    assert len({os.getpid(), *(pid for _, pid in results.values())}) == 3
    assert watching.days == {"a": 1, "b": 1}
    assert sorted(watching.ended) == ["a", "b"]
    assert Path.cwd() == before


@pytest.mark.parametrize(("bad", "named"), [(fails, "no good"), (dies, "process died")])
def test_one_that_fails_ends_the_others_with_what_they_started(
    tmp_path: Path, bad: Callable[[Report], object], named: str
) -> None:
    tasks = {"waits": task(partial(waits, tmp_path), 1), "bad": task(bad)}
    with pytest.raises(UserError, match=named) as raised:
        run_in_parallel(tasks, [])
    assert "A task" in str(raised.value)
    assert not list(tmp_path.iterdir()) or none_is_left(tmp_path)


def test_an_error_of_a_package_that_the_parent_does_not_have_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"A task: lost\.Lost: .*the champion.*deleted"):
        run_in_parallel({"bad": task(partial(fails_in_a_package, tmp_path))}, [])


def test_one_that_fails_while_another_with_much_to_read_starts_ends_it() -> None:
    class Slow(Watching):
        def progressed(self, name: str, progress: Progress) -> None:
            super().progressed(name, progress)
            time.sleep(0.02)  # so that the next one has just been started when the failure is seen

    heavy = {name: task(partial(idles, b"x" * 2_000_000)) for name in "abcdef"}
    with pytest.raises(UserError, match="no good"):
        run_in_parallel({"bad": task(reports_and_fails, 1), **heavy}, [Slow()])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_workers_end_when_their_parent_is_interrupted_or_killed(tmp_path: Path, number: int) -> None:
    script = (
        "import sys, pathlib, functools\n"
        "from ladder.workers import run_in_parallel\n"
        "from tests.tool.test_workers import task, waits\n"
        "if __name__ == '__main__':\n"
        "    run = functools.partial(waits, pathlib.Path(sys.argv[1]))\n"
        "    run_in_parallel({name: task(run) for name in 'abcdef'}, [])\n"
    )
    (tmp_path / "pids").mkdir()
    (tmp_path / "main.py").write_text(script, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py"), str(tmp_path / "pids")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=(tmp_path / "errors").open("w"),
    )
    until = time.monotonic() + SECONDS
    while len(list((tmp_path / "pids").iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    parent.send_signal(number)
    parent.wait(timeout=SECONDS)
    assert none_is_left(tmp_path / "pids")
    errors = (tmp_path / "errors").read_text(encoding="utf-8")
    if number == signal.SIGINT:
        assert errors.splitlines()[-1] == "KeyboardInterrupt"
        assert errors.count("Traceback") == 1
