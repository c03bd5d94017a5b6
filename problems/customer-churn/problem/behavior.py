"""Behavioral tests, the slices on which a model is evaluated, and example requests."""

from collections.abc import Callable, Sequence
from typing import Any

from bike_demand.core.problem import Array, BehaviorTest, Columns
from bike_demand.problem.features import TEXTS

Request = dict[str, Any]

EXAMPLE: Request = {
    "billed_at": "2023-06-14T10:12:40",
    "customer": 70301,
    "contract": "month to month",
    "internet": "fibre",
    "payment": "card",
    "region": "coast",
    "device": "Cedar",
    "months": 7,
    "monthly_fee": 59.9,
    "support_calls": 2,
    "late_payments": 1,
    "has_tv": False,
    "is_family": False,
    "usage_gb": 212.5,
}
MORE_EXAMPLES: dict[str, Request] = {
    "Unknown brand, unmetered usage": EXAMPLE | {"device": "Zinnia", "usage_gb": None},
    "Two-year contract": EXAMPLE | {"contract": "two years", "months": 31, "support_calls": 0},
}
CONTRACTS = ("month to month", "one year", "two years")
LINES = ("cable", "dsl", "fibre", "none")


def _varied_customers() -> list[Request]:
    return [
        EXAMPLE | {name: value, "contract": contract, "months": months}
        for name in TEXTS[1:]
        for value in (EXAMPLE[name], "never seen before")
        for contract in (*CONTRACTS, "never seen before")
        for months in (0, 12, 120)
    ]


def _monthly_and_two_year() -> list[Request]:
    monthly = [EXAMPLE | {"internet": line} for line in LINES]
    return monthly + [each | {"contract": "two years", "months": 30} for each in monthly]


def _monthly_leave_more_often(predictions: Sequence[float]) -> str | None:
    half = len(predictions) // 2
    monthly, two_year = sum(predictions[:half]) / half, sum(predictions[half:]) / half
    return (
        None
        if monthly > two_year
        else f"{monthly:.3f} of the monthly and {two_year:.3f} of the two-year contracts leave"
    )


BEHAVIOR_TESTS = (
    BehaviorTest("Predictions are probabilities for any texts.", _varied_customers),
    BehaviorTest(
        "Customers on a monthly contract leave more often than those on a two-year contract.",
        _monthly_and_two_year,
        _monthly_leave_more_often,
    ),
)


def _equals(name: str, value: str | float) -> Callable[[Columns], Array]:
    return lambda columns: columns[name] == value


SLICES: dict[str, Callable[[Columns], Array]] = {
    **{f"contract {value}": _equals("contract", value) for value in CONTRACTS},
    **{f"internet {value}": _equals("internet", value) for value in LINES},
    "first year": lambda columns: columns["months"] < 12,
    "families": _equals("is_family", 1),
}
