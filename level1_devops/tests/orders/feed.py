"""Makes a feed of orders: at any second of the day, by customers, each with its label 30 days later."""

import math
import random
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

COLUMNS = ("ordered_at", "customer", "channel", "town", "price", "is_gift", "returned")
DELAY = timedelta(days=30)
ORDERS_PER_DAY = 40
TOWNS = ("ulm", "bonn", "köln")
RATES = {1: 0.1, 2: 0.3, 3: 0.2}  # of returns, by channel


def orders(first: date, end: date, rates: Mapping[int, float] = RATES) -> Iterator[dict[str, Any]]:
    """The orders from a day to before another, ascending, with what becomes known of each."""
    day = first
    while day < end:
        rng = random.Random(day.isoformat())
        for second in sorted(rng.sample(range(86_400), ORDERS_PER_DAY)):
            channel = rng.choices((1, 2, 3), (5, 4, 1))[0]
            price = math.exp(rng.gauss(3.5, 1))
            share = min(rates[channel] * (0.6 + price / 100), 0.95)
            yield {
                "ordered_at": datetime.combine(day, time()) + timedelta(seconds=second),
                "customer": rng.randint(1, 300),
                "channel": channel,
                "town": TOWNS[second % 3],
                "price": round(price, 2),
                "is_gift": rng.random() < 0.2,
                "returned": rng.random() < share,
            }
        day += timedelta(days=1)


def publish(folder: Path, rows: list[dict[str, Any]], now: datetime) -> None:
    """Publish what is known at `now`: a file a month, without the labels that are not due."""
    folder.mkdir(exist_ok=True)
    for month in sorted({f"{row['ordered_at']:%Y-%m}" for row in rows if row["ordered_at"] < now}):
        lines = [",".join(COLUMNS)]
        for row in rows:
            if f"{row['ordered_at']:%Y-%m}" == month and row["ordered_at"] < now:
                is_known = row["ordered_at"] + DELAY <= now
                shown = row | {"ordered_at": row["ordered_at"].isoformat()}
                values = [str(shown[name]).lower() for name in COLUMNS[1:-1]]
                known = str(row["returned"]).lower() if is_known else ""
                lines.append(",".join([shown["ordered_at"], *values, known]))
        (folder / f"{month}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
