"""Structured logs: one JSON object per line on standard output."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic_core import to_json
from pythonjsonlogger.json import JsonFormatter


@contextmanager
def json_logs() -> Iterator[None]:
    """Inside the block, log this package's records from INFO on, and libraries' from WARNING on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "message"],
            rename_fields={"levelname": "level", "message": "event"},
            timestamp="time",
            json_serializer=lambda data, **_: to_json(data, fallback=str, ensure_ascii=True).decode(),
        )
    )
    logging.getLogger("bike_demand").setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
