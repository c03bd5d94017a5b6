"""A real web server that publishes a folder, and can be made to behave badly."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class ServerBehavior:
    """Which faults the server has, and what was requested."""

    index: bool = True  # lists its files
    index_status: HTTPStatus = HTTPStatus.NOT_FOUND  # what it says where it does not
    dates: bool = True  # sends Last-Modified
    failures: int = 0  # this many reads of months fail with 503 before one works
    page: bytes | None = None  # what it sends for any address
    cut_at: int | None = None  # months end after this many bytes
    seconds: float = 0  # how long it takes to send a month
    read: Counter[str] = field(default_factory=Counter)  # by path, how often a month was sent


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, behaviour: ServerBehavior, *args: Any, **kwargs: Any) -> None:
        self.behaviour = behaviour
        super().__init__(*args, **kwargs)

    def do_HEAD(self) -> None:
        if self.behaviour.page is None:
            return super().do_HEAD()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(self.behaviour.page)))
        return self.end_headers()

    def do_GET(self) -> None:
        if self.behaviour.page is not None:
            self.do_HEAD()
            self.wfile.write(self.behaviour.page)
            return None
        if not self.path.endswith(".csv"):
            return super().do_GET()
        if self.behaviour.failures:
            self.behaviour.failures -= 1
            return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        self.behaviour.read[self.path] += 1
        time.sleep(self.behaviour.seconds)
        return super().do_GET()

    def list_directory(self, path: Any) -> Any:
        if self.behaviour.index:
            return super().list_directory(path)
        self.send_error(self.behaviour.index_status)
        return None

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified" or self.behaviour.dates:
            super().send_header(keyword, value)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read(self.behaviour.cut_at))

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def published(folder: Path) -> Iterator[tuple[str, ServerBehavior]]:
    """The folder at an http address of this machine, and how the server behaves."""
    behaviour = ServerBehavior()
    handler = partial(_Handler, behaviour, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", behaviour
        finally:
            server.shutdown()
            thread.join()
