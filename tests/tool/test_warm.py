import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ladder import ROOT
from ladder.warm.handover import ADDRESS, STANDARD, Request, number
from ladder.warm.python import WarmPython

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks safely")

SECONDS = 60
STAGES = """
import json, os, sys, time
from pathlib import Path
libraries = "sklearn" in sys.modules
do, *rest = sys.argv[1:]
if do == "show":
    shown = {"folder": os.getcwd(), "mine": os.environ.get("MINE"), "here": sys.path[0], "name": __name__,
            "arguments": rest, "read": sys.stdin.read(), "libraries": libraries, "variables": len(os.environ)}
    print(json.dumps(shown))
    print("warning", file=sys.stderr)
elif do == "work":
    while time.process_time() < 0.2:  # the kernel counts in ticks of 10 ms
        pass
    print("{}")
    print("warning", file=sys.stderr)
elif do == "exit":
    sys.exit(int(rest[0]))
elif do == "fail":
    raise ValueError("no good")
elif do == "wait":
    Path("pid").write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "project" / "bike_demand"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("stages.py", "measure.py"):
        (package / name).write_text(STAGES)
    return package.parent


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    with WarmPython(tmp_path_factory.mktemp("warm"), ["sklearn"]) as opened:
        yield opened


def stage(*arguments: str, python: str | None = None, module: str = "stages") -> list[str]:
    return [python or sys.executable, "-m", f"bike_demand.{module}", *arguments]


def shown(command: list[str], project: Path) -> dict[str, object]:
    environment = os.environ | {"MINE": "ü", "PWD": str(project)}  # a shell sets PWD where there is none
    done = subprocess.run(
        command, cwd=project, env=environment, input="in", capture_output=True, text=True, timeout=SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "warning\n")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def waits(project: Path) -> tuple["subprocess.Popen[bytes]", psutil.Process]:
    """A stage that waits: who waits for it, and the process that does it."""
    client = subprocess.Popen(stage("wait"), cwd=project)
    until = time.monotonic() + SECONDS
    while not (project / "pid").is_file() or not (project / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    return client, psutil.Process(int((project / "pid").read_text()))


def test_what_is_forked_has_all_that_a_new_process_has_and_the_libraries(
    warm: WarmPython, project: Path
) -> None:
    forked = shown(stage("show", "a b", ""), project)
    cold = shown(stage("show", "a b", "", python=warm.cold), project)
    assert forked.pop("libraries") is True
    assert cold.pop("libraries") is False
    assert forked == cold
    assert forked["arguments"] == ["a b", ""]


@pytest.mark.usefixtures("warm")
def test_what_measures_itself_is_not_forked(project: Path) -> None:
    assert shown(stage("show", module="measure"), project)["libraries"] is False


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(("arguments", "status"), [(("exit", "3"), 3), (("exit", "0"), 0), (("fail",), 1)])
def test_its_status_is_passed_on(project: Path, arguments: tuple[str, ...], status: int) -> None:
    done = subprocess.run(stage(*arguments), cwd=project, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    assert done.returncode == status
    assert ("ValueError: no good" in done.stderr) == (arguments == ("fail",))


def test_what_it_used_is_counted(warm: WarmPython, project: Path) -> None:
    before = warm.cpu_seconds()
    shown(stage("work"), project)
    assert warm.cpu_seconds() > before


@pytest.mark.usefixtures("warm")
def test_a_signal_is_passed_on(project: Path) -> None:
    client, process = waits(project)
    client.terminate()
    assert client.wait(SECONDS) == 128 + signal.SIGTERM
    process.wait(SECONDS)


@pytest.mark.usefixtures("warm")
def test_it_ends_with_who_waits_for_it(project: Path) -> None:
    client, process = waits(project)
    client.kill()
    client.wait(SECONDS)
    process.wait(SECONDS)


@pytest.mark.usefixtures("warm")
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can be somebody else")
def test_somebody_elses_processes_are_not_served() -> None:
    def connected(user: int) -> bytes:
        """The first that a process of that user receives; nothing where it is sent away."""
        mine, its = socket.socketpair()
        if os.fork() == 0:
            try:
                os.setuid(user)
                with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(ConnectionError):
                    client.connect("\0" + os.environ[ADDRESS])
                    request = Request(arguments=stage("exit", "0")[1:], folder="/", environment={})
                    body = json.dumps(request).encode()
                    socket.send_fds(client, [number(len(body))], STANDARD)
                    client.sendall(body)
                    its.sendall(client.recv(4))
            finally:
                os._exit(0)
        its.close()
        with mine:
            shown = mine.recv(4)
        os.wait()
        return shown

    assert len(connected(os.getuid())) == 4
    assert connected(65534) == b""


def test_closing_ends_what_runs_and_without_a_server_it_is_the_cold_one(
    tmp_path: Path, project: Path
) -> None:
    before = sys.executable
    with WarmPython(tmp_path / "own", ["json"]) as own:
        python = sys.executable
        client, process = waits(project)
        environment = dict(os.environ)
    assert client.wait(SECONDS)
    process.wait(SECONDS)
    assert (sys.executable, own.cpu_seconds()) == (before, 0.0)
    done = subprocess.run(
        stage("exit", "5", python=python), cwd=project, env=environment, timeout=SECONDS, check=False
    )
    assert done.returncode == 5


def test_nothing_is_left_where_its_owner_is_killed(tmp_path: Path, project: Path) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; from pathlib import Path; from ladder.warm.python import WarmPython\n"
            f"with WarmPython(Path({str(tmp_path / 'own')!r}), ['json']):\n"
            f"    subprocess.run([sys.executable, '-m', 'bike_demand.stages', 'wait'], cwd={str(project)!r})",
        ],
        cwd=ROOT,
    )
    until = time.monotonic() + SECONDS
    while not (project / "pid").is_file():
        assert time.monotonic() < until
        time.sleep(0.05)
    family = psutil.Process(owner.pid).children(recursive=True)
    assert len(family) == 3  # the server, what it forked, who waits for that
    owner.kill()
    owner.wait(SECONDS)
    _, left = psutil.wait_procs(family, timeout=SECONDS)
    assert not left
