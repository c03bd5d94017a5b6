"""Predicts rows: each with the model assigned to it and, in the background, with the other one too.

The randomization unit is the event time (a switchback design) or the key (`ab.randomize_by`). The assignment
is a salted hash, so that it is the same in every process, after every restart, and in any later analysis.
"""

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby, islice, repeat
from typing import Literal, NamedTuple

from uuid_utils import uuid7

from bike_demand.core.current import TIME, Inputs, key_of, time_of
from bike_demand.data.month import iso
from bike_demand.serving.fallback import Replaced
from bike_demand.serving.live_models import LiveModels
from bike_demand.serving.onnx_model import OnnxModel
from bike_demand.store.writer import Row

Variant = Literal["champion", "challenger"]
_TIME = {TIME}  # has a column of its own in the log
PredictedRow = tuple[float, Variant]
OnFailure = Callable[[str, int], None]  # called with the version and the number of rows it failed for
log = logging.getLogger(__name__)


class PredictedBatch(NamedTuple):
    """The predictions for one request. `at`: seconds since the epoch; the lists are parallel to `rows`."""

    at: float
    client: str
    live: LiveModels
    rows: Sequence[Inputs]
    ids: Sequence[str]
    predictions: Sequence[float]
    variants: Sequence[Variant]
    # If fields were replaced: the rows as sent, and the replacements in each.
    sent: Sequence[Inputs] | None = None
    replaced: Sequence[Replaced | None] | None = None


class InvalidPredictionError(Exception):
    """The live model returned something that is not a number."""


@lru_cache(maxsize=8192)
def assign_variant(unit: str | datetime, share: float, salt: str) -> Variant:
    """Assign a randomization unit: the challenger gets `share` (0 to 1) of all units."""
    unit = iso(unit) if isinstance(unit, datetime) else unit
    digest = hashlib.sha256(f"{salt}\n{unit}".encode()).digest()
    return "challenger" if int.from_bytes(digest[:8]) < share * 2**64 else "champion"


def predict_rows(live: LiveModels, rows: Sequence[Inputs], failed: OnFailure) -> list[PredictedRow]:
    """Predict each row with the model assigned to its event time or key.

    If the challenger fails, the live model predicts and is logged as the one that did. Raises
    InvalidPredictionError if the live model does not return a number.
    """
    other = live.other
    variants: list[Variant] = ["champion"] * len(rows)
    if other is not None and other.share:
        unit_of = key_of if other.randomize_by == "key" else time_of
        variants = [assign_variant(unit_of(row), other.share, other.salt) for row in rows]
        if "challenger" in variants:
            try:
                theirs = iter(_predict(other.model, _rows_of(rows, variants, "challenger")))
            except Exception:  # whatever the challenger's error, users get a prediction
                failed(other.model.version, variants.count("challenger"))
                variants = ["champion"] * len(rows)
    mine = iter(_predict(live.model, _rows_of(rows, variants, "champion")))
    return [(next(mine) if who == "champion" else next(theirs), who) for who in variants]


def to_log_rows(batches: Sequence[PredictedBatch], failed: OnFailure) -> list[Row]:
    """The rows of the prediction log, including the predictions that the other model would have made.

    Those are computed here, in the background and in large batches; they are missing if the model fails.
    """
    counterparts = _counterparts(batches, failed)
    made: list[Row] = []
    for batch in batches:
        sides = {who: _version_columns(batch.live, who) for who in set(batch.variants)}
        made_at = datetime.fromtimestamp(batch.at, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        sent = batch.sent or batch.rows
        replaced = batch.replaced or repeat(None, len(sent))
        for row, id_, prediction, who, changes in zip(
            sent, batch.ids, batch.predictions, batch.variants, replaced, strict=True
        ):
            version, deployment, other_version, other_role = sides[who]
            made.append(
                (
                    id_,
                    made_at,
                    batch.client,
                    time_of(row).isoformat(" ", "microseconds"),
                    key_of(row),
                    row.model_dump_json(exclude=_TIME),
                    prediction,
                    who,
                    version,
                    deployment,
                    counterparts.get(id_),
                    other_version,
                    other_role,
                    changes and json.dumps(changes),
                )
            )
    return made


def _rows_of(rows: Sequence[Inputs], variants: Sequence[Variant], wanted: Variant) -> Sequence[Inputs]:
    return [row for row, who in zip(rows, variants, strict=True) if who == wanted]


def _version_columns(live: LiveModels, who: Variant) -> tuple[int, str, int | None, str | None]:
    """Version and deployment that predicted, and version and role of the other model."""
    other = live.other
    mine = int(live.model.version)
    if other is None:
        return mine, live.deployment, None, None
    theirs = int(other.model.version)
    if who == "champion":
        return mine, live.deployment, theirs, other.role
    return theirs, other.deployment, mine, "champion"


def _counterparts(batches: Sequence[PredictedBatch], failed: OnFailure) -> dict[str, float]:
    """The predictions of the model that was not used, by prediction id."""
    wanted: dict[OnnxModel, tuple[list[str], list[Inputs]]] = {}
    for batch in batches:
        other = batch.live.other
        if other is None:
            continue
        for row, id_, who in zip(batch.rows, batch.ids, batch.variants, strict=True):
            ids, rows = wanted.setdefault(other.model if who == "champion" else batch.live.model, ([], []))
            ids.append(id_)
            rows.append(row)
    found: dict[str, float] = {}
    for model, (ids, rows) in wanted.items():
        try:
            found.update(zip(ids, _predict(model, rows), strict=True))
        except Exception:  # whatever the other model's error, the returned predictions must be logged
            failed(model.version, len(rows))
    return found


def _predict(model: OnnxModel, rows: Sequence[Inputs]) -> list[float]:
    if not rows:
        return []
    try:
        numbers = model.predict(rows)
        if not all(map(math.isfinite, numbers)):
            raise InvalidPredictionError(f"version {model.version} returned NaN or infinity; roll it back")
    except Exception as error:
        log_failure(model.version, f"{type(error).__name__}: {error}")
        raise
    return numbers


@lru_cache(maxsize=256)  # once, however many requests it concerns
def log_failure(version: str, detail: str) -> None:
    """Log why a model failed."""
    log.error("prediction_failed", extra={"version": version, "detail": detail})


class _Request(NamedTuple):
    live: LiveModels
    rows: Sequence[Inputs]
    predicted: asyncio.Future[list[PredictedRow]]


class Batcher:
    """Batches the requests of one event loop: those that arrived together are predicted together, without
    waiting for more.

    `failed` is called with the version of a failing second model and the number of rows it failed for.
    """

    def __init__(self, failed: OnFailure) -> None:
        self._failed = failed
        self._requests: list[_Request] = []

    async def predict(self, live: LiveModels, rows: Sequence[Inputs], client: str) -> PredictedBatch:
        """Predict the rows of one request. Raises InvalidPredictionError."""
        at, loop = time.time(), asyncio.get_running_loop()
        if not self._requests:
            loop.call_soon(self._predict_all)  # after the loop has handled everything it received
        request = _Request(live, rows, loop.create_future())
        self._requests.append(request)
        predictions, variants = zip(*await request.predicted, strict=True)
        return PredictedBatch(at, client, live, rows, [str(uuid7()) for _ in rows], predictions, variants)

    def _predict_all(self) -> None:
        requests, self._requests = self._requests, []
        for _, group in groupby(requests, key=lambda each: id(each.live)):
            together = list(group)
            try:
                _predict_requests(together, _fail)
            except Exception:  # then one by one: a request must not fail because of another one's rows
                for each in together:
                    try:
                        _predict_requests([each], self._failed)
                    except Exception as error:
                        if not each.predicted.done():  # see below
                            each.predicted.set_exception(error)


def _predict_requests(requests: Sequence[_Request], failed: OnFailure) -> None:
    rows = [row for each in requests for row in each.rows]
    predicted = iter(predict_rows(requests[0].live, rows, failed))
    for each in requests:
        found = list(islice(predicted, len(each.rows)))
        if not each.predicted.done():  # the request may have been cancelled
            each.predicted.set_result(found)


def _fail(version: str, rows: int) -> None:
    """Raise, so that the batch is retried request by request."""
    raise RuntimeError(f"version {version} failed for one of {rows} rows")
