"""What any good model gets right, the slices on which it is judged, and requests to show."""

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
    "A brand that no model knows, and no meter": EXAMPLE | {"device": "Zinnia", "usage_gb": None},
    "Bound for two years": EXAMPLE | {"contract": "two years", "months": 31, "support_calls": 0},
}
CONTRACTS = ("month to month", "one year", "two years")
LINES = ("cable", "dsl", "fibre", "none")


def _any_customer() -> list[Request]:
    return [
        EXAMPLE | {name: value, "contract": contract, "months": months}
        for name in TEXTS[1:]
        for value in (EXAMPLE[name], "never seen before")
        for contract in (*CONTRACTS, "never seen before")
        for months in (0, 12, 120)
    ]


def _pairs() -> list[Request]:
    free = [EXAMPLE | {"internet": line} for line in LINES]
    return free + [each | {"contract": "two years", "months": 30} for each in free]


def _free_from_bound(predictions: Sequence[float]) -> str | None:
    half = len(predictions) // 2
    free, bound = sum(predictions[:half]) / half, sum(predictions[half:]) / half
    return None if free > bound else f"{free:.3f} of the free and {bound:.3f} of the bound ones leave"


BEHAVIOR_TESTS = (
    BehaviorTest("It predicts probabilities, whatever the texts are.", _any_customer),
    BehaviorTest(
        "Who may go at any month leaves more often than who is bound for two years.", _pairs, _free_from_bound
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
