"""The forking server: runs each request on its socket in a copy of a process with the libraries imported."""

import atexit
import contextlib
import gc
import importlib
import multiprocessing.connection
import os
import runpy
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path

from ladder.warm import handover

_PEER = struct.Struct("iII")  # process, user, group: unix(7), SO_PEERCRED


def serve(listener: socket.socket) -> None:
    """Fork for each request until stdin ends; then end the remaining processes."""
    running: dict[ForkProcess, socket.socket] = {}  # with who waits for each
    try:
        while True:
            sentinels = [process.sentinel for process in running]
            ready = multiprocessing.connection.wait([0, listener, *sentinels, *running.values()])
            if 0 in ready:
                return
            for process, client in list(running.items()):
                if process.sentinel in ready:
                    del running[process]
                    process.join()
                    with contextlib.suppress(OSError), client:
                        client.sendall(handover.number(process.exitcode or 0))
                elif client in ready:  # who waited is gone
                    process.kill()
            if listener in ready:
                client, _ = listener.accept()
                if forked := _fork(client, [listener, client, *running.values()]):
                    running[forked] = client
                else:
                    client.close()
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _fork(client: socket.socket, ours: Sequence[socket.socket]) -> ForkProcess | None:
    """Fork a process for the request, without our sockets; None if the client left, or forking is unsafe."""
    if not _is_ours(client):
        return None
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return None  # the fork would lack the threads, but keep their locks
    try:
        request, files = handover.receive(client)
    except (EOFError, OSError):
        return None
    process = ForkProcess(target=_run, args=(request, files, ours))
    process.start()
    for number in files:
        os.close(number)
    with contextlib.suppress(OSError):
        client.sendall(handover.number(process.pid or 0))
    return process


def _is_ours(client: socket.socket) -> bool:
    """Whether it is a process of the same user: the address can be seen, and reached, by everybody here."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    user: int = _PEER.unpack(credentials)[1]
    return user == os.getuid()


def _run(request: handover.Request, files: Sequence[int], not_its: Sequence[socket.socket]) -> None:
    """What a new interpreter does with `python -m MODULE ...`."""
    for each in not_its:
        each.close()
    for number, given in enumerate(files):
        os.dup2(given, number)
        os.close(given)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing has replaced it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    more = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:1] = [request["folder"], *more]
    _, module, *arguments = request["arguments"]
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves past them


def main(descriptor: int, libraries: Sequence[str]) -> None:
    """Import the libraries, then serve at an inherited socket that listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in libraries:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that the collector in a fork does not make it copy these pages
    with socket.socket(fileno=descriptor) as listener:
        serve(listener)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
