"""Answers rows: by the model that each hour is assigned to, and beside the requests by the other one too."""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count, repeat
from random import Random
from typing import NamedTuple

from bike_demand.data.schema import Conditions
from bike_demand.prediction_log.writer import Row
from bike_demand.serving.assignment import Variant, variant
from bike_demand.serving.fallback import Replaced
from bike_demand.serving.live import Live
from bike_demand.serving.model import Model

Failed = Callable[[str, int], None]  # told the version and for how many rows it had no answer


class Answers(NamedTuple):
    """The answers to one request. `at` in seconds of the epoch; the lists are as long as `rows`."""

    at: float
    client: str
    live: Live
    rows: Sequence[Conditions]
    ids: Sequence[str]
    predictions: Sequence[float]
    variants: Sequence[Variant]
    # Where fields were replaced: the rows as they were asked, and what was replaced in each.
    asked: Sequence[Conditions] | None = None
    replaced: Sequence[Replaced | None] | None = None


class NoAnswerError(Exception):
    """The live model gave something that is not a number."""


class Ids:
    """Makes the ids of predictions: UUIDs of version 7 (RFC 9562), which sort by the time they were made."""

    def __init__(self) -> None:
        self._random = Random(os.urandom(16))  # of its own, so that no seed set elsewhere repeats ids
        self._count = count()

    def make(self, at: float, number: int) -> list[str]:
        """So many new ids for a moment in seconds of the epoch."""
        stamp = f"{int(at * 1000):012x}"
        head = f"{stamp[:8]}-{stamp[8:]}-7"
        bits = self._random.getrandbits
        return [
            f"{head}{next(self._count) & 0xFFF:03x}-{0x8000 | bits(14):04x}-{bits(48):012x}"
            for _ in range(number)
        ]


_ids = Ids()


def answer(live: Live, rows: Sequence[Conditions], client: str, failed: Failed) -> Answers:
    """Answer each row with the model that is assigned to its hour.

    Where the challenger fails, the live model answers, and is logged as the one that did. Raises
    NoAnswerError where the live one gives no number.
    """
    at = time.time()
    ids = _ids.make(at, len(rows))
    other = live.other
    if other is None or not other.share:
        return Answers(at, client, live, rows, ids, _numbers(live.model, rows), ["champion"] * len(rows))
    variants = [variant(row.timestamp, other.share, other.salt) for row in rows]
    if "challenger" not in variants:
        return Answers(at, client, live, rows, ids, _numbers(live.model, rows), variants)
    try:
        if "champion" not in variants:
            return Answers(at, client, live, rows, ids, _numbers(other.model, rows), variants)
        theirs = _numbers(
            other.model, [row for row, who in zip(rows, variants, strict=True) if who != "champion"]
        )
    except Exception:  # whatever is wrong with it, users get an answer
        failed(other.model.version, variants.count("challenger"))
        return Answers(at, client, live, rows, ids, _numbers(live.model, rows), ["champion"] * len(rows))
    mine = _numbers(live.model, [row for row, who in zip(rows, variants, strict=True) if who == "champion"])
    left, right = iter(mine), iter(theirs)
    return Answers(
        at,
        client,
        live,
        rows,
        ids,
        [next(left if who == "champion" else right) for who in variants],
        variants,
    )


def version_of(answers: Answers) -> str:
    """The version that was shown; of a list that two models answered, for its first row."""
    live = answers.live
    return (
        live.other.model.version if answers.variants[0] != "champion" and live.other else live.model.version
    )


def to_rows(entries: Sequence[Answers], failed: Failed) -> list[Row]:
    """The rows of the prediction log, with the answers that the other model would have given.

    It is asked here, beside the requests and for many rows at once; where it fails its answer is missing.
    """
    unseen = _unseen(entries, failed)
    made: list[Row] = []
    for answers in entries:
        sides = {who: _sides(answers.live, who) for who in set(answers.variants)}
        moment = datetime.fromtimestamp(answers.at, UTC).replace(tzinfo=None)
        asked = answers.asked or answers.rows
        replaced = answers.replaced or repeat(None, len(asked))
        for row, id_, prediction, who, changes in zip(
            asked, answers.ids, answers.predictions, answers.variants, replaced, strict=True
        ):
            version, deployment, other_version, other_role = sides[who]
            made.append(
                (
                    id_,
                    moment,
                    answers.client,
                    row.timestamp,
                    row.holiday,
                    row.workingday,
                    row.weather,
                    row.temp_c,
                    row.feels_like_c,
                    row.humidity,
                    row.windspeed_kmh,
                    prediction,
                    who,
                    version,
                    deployment,
                    unseen.get(id_),
                    other_version,
                    other_role,
                    changes and json.dumps(changes),
                )
            )
    return made


def _sides(live: Live, who: Variant) -> tuple[int, str, int | None, str | None]:
    """Version and deployment that were shown, and version and role that were not."""
    other = live.other
    mine = int(live.model.version)
    if other is None:
        return mine, live.deployment, None, None
    theirs = int(other.model.version)
    if who == "champion":
        return mine, live.deployment, theirs, other.role
    return theirs, other.deployment, mine, "champion"


def _unseen(entries: Sequence[Answers], failed: Failed) -> dict[str, float]:
    """By the id of each answer, that of the model that was not shown."""
    asked: dict[Model, tuple[list[str], list[Conditions]]] = {}
    for entry in entries:
        other = entry.live.other
        if other is None:
            continue
        for row, id_, who in zip(entry.rows, entry.ids, entry.variants, strict=True):
            ids, rows = asked.setdefault(other.model if who == "champion" else entry.live.model, ([], []))
            ids.append(id_)
            rows.append(row)
    found: dict[str, float] = {}
    for model, (ids, rows) in asked.items():
        try:
            found.update(zip(ids, _numbers(model, rows), strict=True))
        except Exception:  # whatever is wrong with it, what was shown has to be logged
            failed(model.version, len(rows))
    return found


def _numbers(model: Model, rows: Sequence[Conditions]) -> list[float]:
    numbers = model.predict(rows)
    if not all(map(math.isfinite, numbers)):
        raise NoAnswerError(f"version {model.version} gave no number; ask whoever is on duty to roll it back")
    return numbers
