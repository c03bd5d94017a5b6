"""Proxies in front of a service, as small as they can be: one strips a prefix, one balances load."""

import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def stripping_proxy(upstream: int, prefix: str) -> Iterator[str]:
    """The address of a proxy that passes requests below `prefix` on, without it, to a port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            path = self.path.removeprefix(prefix) or "/"
            if path == self.path:
                self.send_error(502, "outside of the prefix")
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=30)
            connection.request(self.command, path, body, headers | {"Host": "internal.example:8000"})
            response = connection.getresponse()
            content = response.read()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = _pass_on  # noqa: N815 -- the base class calls these

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{prefix}"
        finally:
            server.shutdown()
            thread.join()


class Balancer:
    """Sends requests to the instances that were ready when it polled them last, over kept connections."""

    def __init__(self, ports: Sequence[int], poll_seconds: float) -> None:
        self._ports, self._poll_seconds = ports, poll_seconds
        self.ready: list[int] = []
        self.requests = 0
        self.failures: list[str] = []
        self._stopping = threading.Event()

    def poll(self) -> None:
        """Look which instances are ready."""
        self.ready = [port for port in self._ports if _status(port, "GET", "/ready") == 200]

    @contextmanager
    def under_load(self, path: str, body: bytes, users: int = 4, pause: float = 0.002) -> Iterator[None]:
        """Meanwhile, users send the request again and again, and the instances are polled."""
        threads = [threading.Thread(target=self._poll_for_ever)]
        threads += [threading.Thread(target=self._use, args=(path, body, pause)) for _ in range(users)]
        self.poll()
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _poll_for_ever(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self.poll()

    def _use(self, path: str, body: bytes, pause: float) -> None:
        kept: dict[int, http.client.HTTPConnection] = {}
        turn = 0
        while not self._stopping.is_set():
            turn += 1
            ready = self.ready
            if not ready:
                self.failures.append("no instance is ready")
                time.sleep(0.1)
                continue
            port = ready[turn % len(ready)]
            connection = kept.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=30))
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
                self.requests += 1
                if response.status != 200:
                    self.failures.append(f"status {response.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                kept.pop(port).close()
            time.sleep(pause)


def _status(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
