"""Simulates this world, bill by bill, and the faults in its reporting.

Each customer is billed once a month, on a day of their own. A customer who leaves is replaced by a new
one. New brands of phones appear. Event: many more of those with fibre and no fixed term leave. Fault: a
contract is renamed.
"""

import math
import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

START, END = date(2023, 1, 1), date(2023, 7, 1)  # of the sample; the world goes on
TIME, LABEL, DELAY = "billed_at", "left", timedelta(days=30)
SLOTS = 1674  # customers at any time, 54 bills a day
BRANDS = ("Aster", "Birch", "Cedar", "Dahlia", "Elm")
NEW_BRANDS = {"Fir": date(2023, 4, 1), "Ginkgo": date(2023, 7, 1), "Holly": date(2023, 10, 1)}
RISE = 2.6  # of the log odds, once the event has happened
RENAMED = ("month to month", "monthly")

Row = dict[str, Any]


def happened(end: date, event: date | None = None) -> Iterator[Row]:
    """The rows from START to before `end`, ascending; from `event` on more leave in one segment."""
    customers = [_new_customer(slot, 0, START) for slot in range(SLOTS)]
    day = START
    while day < end:
        rows = []
        for slot in billed(day):
            row, log_odds = _bill(customers[slot], slot, day)
            rose = event is not None and event <= day and _is_in_segment(row)
            log_odds += RISE if rose else 0.0
            row[LABEL] = random.Random(f"{slot} {day}").random() < 1 / (1 + math.exp(-log_odds))
            rows.append(row)
            if row[LABEL]:
                customers[slot] = _new_customer(slot, row["customer"] % 100, day)
        yield from sorted(rows, key=lambda row: row[TIME])
        day += timedelta(days=1)


def billed(day: date) -> list[int]:
    """The slots that are billed on a day; the last day of a month includes the days that it lacks."""
    is_last = (day + timedelta(days=1)).day == 1
    last = 31 if is_last else day.day
    return [slot for slot in range(SLOTS) if day.day <= slot % 31 + 1 <= last]


def reported(row: Row) -> Row:
    """The row as it is reported during the fault."""
    old, new = RENAMED
    return row | {"contract": new if row["contract"] == old else row["contract"]}


def _is_in_segment(row: Row) -> bool:
    return bool(row["contract"] == RENAMED[0] and row["internet"] == "fibre")


def _new_customer(slot: int, generation: int, day: date) -> Row:
    """The generation-th customer of a slot: what stays the same, and since when."""
    rng = random.Random(f"{slot} {generation}")
    new = [brand for brand, since in NEW_BRANDS.items() if since <= day]
    device = rng.choice(new) if new and rng.random() < 0.15 else rng.choice(BRANDS)
    tenure_months = rng.randrange(48) if generation == 0 else 0
    internet = rng.choices(("fibre", "cable", "dsl", "none"), (4, 3, 2, 1))[0]
    return {
        "customer": slot * 100 + generation + 1,
        "contract": rng.choices(("month to month", "one year", "two years"), (5, 3, 2))[0],
        "internet": internet,
        "payment": rng.choices(("card", "debit", "invoice", "wallet"), (4, 4, 2, 1))[0],
        "region": rng.choices(("town", "plain", "coast", "hills", "islands"), (4, 3, 2, 2, 1))[0],
        "device": device,
        "since": (day.year * 12 + day.month) - tenure_months,
        "has_tv": rng.random() < 0.4,
        "is_family": rng.random() < 0.3,
        "fee": 15 + 20 * (internet != "none") + 15 * (internet == "fibre") + rng.uniform(-4, 12),
    }


def _bill(who: Row, slot: int, day: date) -> tuple[Row, float]:
    """The row, without its label, and the log odds that they leave."""
    rng = random.Random(f"{slot} {day} bill")
    months = day.year * 12 + day.month - who["since"]
    calls, late = int(rng.expovariate(1.1)), int(rng.expovariate(1.4))
    usage = None if rng.random() < 0.05 else round(math.exp(rng.gauss(4.6, 0.8)), 1)
    log_odds = (
        -3.1
        + {"month to month": 1.5, "one year": 0.4, "two years": -0.6}[who["contract"]]
        + 0.3 * (who["internet"] == "fibre")
        + 0.35 * calls
        + 0.3 * late
        + 0.4 * (who["payment"] == "invoice")
        - 0.5 * who["is_family"]
        - 0.03 * min(months, 40)
    )
    second = 8 * 3600 + slot * 7919 % 36_000
    row = {
        TIME: (datetime.combine(day, time()) + timedelta(seconds=second)).isoformat(),
        **{name: who[name] for name in ("customer", "contract", "internet", "payment", "region", "device")},
        "months": months,
        "monthly_fee": round(who["fee"] + 8 * who["has_tv"], 2),
        "support_calls": calls,
        "late_payments": late,
        "has_tv": who["has_tv"],
        "is_family": who["is_family"],
        "usage_gb": usage,
    }
    return row, log_odds
