"""Errors of pairs of models on the operator's feed, for the simulation of the A/B rule.

`python -m tests.real_pairs FEED` trains them and writes real_pairs.csv: for each pair and each of 28 days,
how many rows it had, and the sums of both errors, their squares and their product.
"""

import csv
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from bike_demand.release.ab.statistics import Days

FILE = Path(__file__).with_name("real_pairs.csv")
DAYS = 28
HEADER = ("pair", "day", "rows", "one", "other", "one_squared", "other_squared", "product")


def load(kind: str) -> list[Days]:
    """The pairs of that kind: `retrained`, `stale` or `month`, each of shape [28 days]."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["pair"].startswith(f"{kind} ")]
    names = sorted({row["pair"] for row in rows})
    return [
        Days(*np.array([[float(row[key]) for key in HEADER[2:]] for row in rows if row["pair"] == name]).T)
        for name in names
    ]


def pairs() -> Iterator[tuple[str, datetime, datetime]]:
    """Name, until when the fresh model learned, until when the other one."""
    for number in range(7, 24, 2):
        month = datetime(2011 + number // 12, number % 12 + 1, 1)
        yield f"retrained {month:%Y-%m}", month, month - timedelta(days=1)
        yield f"month {month:%Y-%m}", month, (month - timedelta(days=1)).replace(day=1)
    # Targets rose by the week then: a champion four weeks old has 1.19 times the error of a fresh model.
    yield "stale 2012-03", datetime(2012, 3, 16), datetime(2012, 2, 17)


def make(feed: Path) -> None:
    """Train all pairs and write the file."""
    from bike_demand.core.current import PROBLEM, TIME, targets
    from bike_demand.core.settings import load_settings
    from bike_demand.data.frames import features_of
    from bike_demand.data.ingested import read_rows
    from bike_demand.release.ab.statistics import by_day
    from bike_demand.training.train import fit, predict

    rows, settings = read_rows(feed), load_settings().training
    with FILE.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(HEADER)
        for name, fresh, older in pairs():
            tried = rows[(rows[TIME] >= fresh) & (rows[TIME] < fresh + timedelta(days=DAYS))]
            errors = []
            for until in (fresh, older):
                model = fit(rows[rows[TIME] < until], settings.params, settings.half_life_days)
                errors.append(PROBLEM.loss.per_row(predict(model, features_of(tried)), targets(tried)))
            day = tried[TIME].to_numpy("datetime64[D]").astype(int)
            sums = by_day(day, *errors)
            values = (
                sums.challenger,
                sums.champion,
                sums.challenger_squared,
                sums.champion_squared,
                sums.product,
            )
            for number, count in enumerate(sums.rows):
                out.writerow([name, number, int(count), *(f"{each[number]:.1f}" for each in values)])


if __name__ == "__main__":
    make(Path(sys.argv[1]))
