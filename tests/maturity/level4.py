"""Tools for the proofs of level 4: who is alerted, users who send requests all the time, the page's text."""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import onnx
import pandas as pd
from onnx import helper, numpy_helper

from tests.maturity.level3 import Registry, rows

# ---- who is alerted


@dataclass
class Pager:
    """Somebody who gets the alerts by a webhook."""

    url: str
    got: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def pager() -> Iterator[Pager]:
    """A receiver of alerts at an address of its own."""

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
    made = Pager(f"json://127.0.0.1:{server.server_address[1]}/alerts")
    listening = threading.Thread(target=server.serve_forever)
    listening.start()
    try:
        yield made
    finally:
        server.shutdown()
        listening.join()
        server.server_close()


# ---- users


@dataclass(frozen=True)
class Reply:
    """What a user got: status (None: no answer at all) and the version that answered."""

    status: int | None
    version: str | None


class Crowd:
    """Requests the same hour again and again until it is stopped."""

    def __init__(self, url: str, body: Mapping[str, Any], pause: float) -> None:
        self.replies: list[Reply] = []
        self._url, self._body, self._pause = url, dict(body), pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._over.is_set():
                try:
                    answer = client.post("/predict", json=self._body)
                    version = answer.json().get("model_version") if answer.is_success else None
                    self.replies.append(Reply(answer.status_code, version))
                except httpx.TransportError:
                    self.replies.append(Reply(None, None))
                time.sleep(self._pause)

    def __enter__(self) -> "Crowd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


# ---- what is logged


class EventLog:
    """What the loop saw, did and reported, read by SQL from its database."""

    def __init__(self, folder: Path) -> None:
        self._database = folder / "state" / "production.db"

    def table(self, name: str) -> pd.DataFrame:
        """All rows of a table, oldest first; JSON as it is there, in text."""
        return rows(self._database, f'SELECT * FROM "{name}"')

    def records(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table, oldest first, with JSON read."""
        return [
            {str(key): _read(value) for key, value in row.items()}
            for row in self.table(name).astype(object).to_dict("records")
        ]

    def trainings(self) -> list[dict[str, Any]]:
        return self.records("trainings")

    def incident(self, kind: str, subject: str) -> dict[str, Any]:
        """The one incident of that kind about that subject."""
        (found,) = (
            each for each in self.records("incidents") if (each["kind"], each["subject"]) == (kind, subject)
        )
        return found


def _read(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return None if value is None or value != value else value


class Somebody(Registry):
    """Somebody with MLflow's client, who puts a version live past everything."""

    def put_live(self, number: str) -> None:
        self._client.set_registered_model_alias(self._model, "champion", number)


def samples(metrics: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The values of a metric in Prometheus's format, by its labels."""
    found = re.findall(rf"(?m)^{name}(?:{{(.*)}})? (\S+)$", metrics)
    return {tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels))): float(value) for labels, value in found}


def fourfold(model: onnx.ModelProto, factor: float = 4.0) -> None:
    """Let the model answer about four times as much, as if it had learned that from a feed gone wrong."""
    (last,) = (at for at, node in enumerate(model.graph.node) if node.op_type == "Exp")
    answer = model.graph.node[last].output[0]
    model.graph.node[last].output[0] = "usual"
    factors = pd.array([factor]).to_numpy("float32")
    model.graph.initializer.append(numpy_helper.from_array(factors, "factor"))
    model.graph.node.insert(last + 1, helper.make_node("Mul", ["usual", "factor"], [answer]))
