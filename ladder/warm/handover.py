"""Hands a command line to the server of `ladder.warm`, with everything that a process inherits.

Runs often, as a script without site-packages, so it imports only a few modules of the standard library.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys
from typing import TypedDict

ADDRESS = "LADDER_WARM"  # the environment variable with the address of the server
STANDARD = (0, 1, 2)  # stdin, stdout, stderr
_NUMBER = struct.Struct("!i")


class Request(TypedDict):
    """What a new process inherits, except open files."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def receive(client: socket.socket) -> tuple[Request, list[int]]:
    """A client's request and its standard files. Raises EOFError if it is incomplete."""
    head, files, _, _ = socket.recv_fds(client, _NUMBER.size, len(STANDARD))
    if len(head) < _NUMBER.size:
        raise EOFError
    body = _exactly(client, _NUMBER.unpack(head)[0])
    request: Request = json.loads(body)
    return request, files


def number(value: int) -> bytes:
    """A process id or exit status in wire format."""
    return _NUMBER.pack(value)


def _pass_on(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def _exactly(client: socket.socket, size: int) -> bytes:
    body = b""
    while len(body) < size:
        part = client.recv(size - len(body))
        if not part:
            raise EOFError
        body += part
    return body


def main(cold: str, arguments: list[str]) -> int:
    """Hand over and wait. Returns the exit status. Without a server, become the Python `cold`."""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect("\0" + os.environ[ADDRESS])
            folder = os.getcwd()  # noqa: PTH109 - to import pathlib would take longer than all of this
            request = Request(arguments=arguments, folder=folder, environment=dict(os.environ))
            body = json.dumps(request).encode()
            socket.send_fds(server, [_NUMBER.pack(len(body))], STANDARD)
            server.sendall(body)
            pid = _NUMBER.unpack(_exactly(server, _NUMBER.size))[0]
        except (KeyError, OSError, EOFError):
            os.execv(cold, [cold, *arguments])
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, lambda signum, _: _pass_on(pid, signum))
        try:
            status: int = _NUMBER.unpack(_exactly(server, _NUMBER.size))[0]
        except (OSError, EOFError):
            return 1  # the server ended, and with it the forked process
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
