"""Simulates a level's users: they get predictions from a script with a CSV file, or from the application."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from ladder import UserError


def predict_from_file(rows: pd.DataFrame, folder: Path, score: Callable[[], object]) -> list[float | None]:
    """Predictions for one day: its rows saved as `day.csv`, `score` called, `predictions.csv` read.

    `rows` has the input columns of the feed. None for each hour when `score` raises UserError.
    """
    scored = folder / "predictions.csv"
    scored.unlink(missing_ok=True)
    rows.to_csv(folder / "day.csv", index=False, date_format="%Y-%m-%dT%H:%M:%S", lineterminator="\n")
    try:
        score()
    except UserError:
        return [None] * len(rows)  # counted as failed requests
    return [float(value) for value in pd.read_csv(scored)["prediction"]]


def predict_over_http(rows: pd.DataFrame, client: httpx.Client) -> list[float | None]:
    """Predictions by one request per hour; None if there was none (no connection, 5xx, 422).

    Raises httpx.HTTPStatusError for any other rejection: the story sends nothing that may be rejected.
    """
    return [None if each is None else float(each["prediction"]) for each in responses(rows, client)]


def responses(rows: pd.DataFrame, client: httpx.Client) -> list[dict[str, Any] | None]:
    """The complete responses, which also carry values such as the model's version."""
    return [_one(body, client) for body in as_bodies(rows)]


def post_outcomes(rows: pd.DataFrame, client: httpx.Client, path: str) -> None:
    """Post the labels of these hours to the application; `rows` has timestamp and count.

    Raises httpx.HTTPStatusError if it does not accept them.
    """
    known = as_bodies(rows[["timestamp", "count"]])
    client.post(path, json=known).raise_for_status()


def as_bodies(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON request bodies: times in ISO 8601, missing values as null."""
    frame = rows.assign(timestamp=rows["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    return [
        {str(name): None if value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _one(body: dict[str, Any], client: httpx.Client) -> dict[str, Any] | None:
    try:
        response = client.post("/predict", json=body)
    except httpx.TransportError:
        return None
    if response.status_code >= 500 or response.status_code == 422:
        return None
    content: dict[str, Any] = response.raise_for_status().json()
    return content
