"""What the model sees of a row. Training, batch scoring and the service all use this one function."""

from bike_demand.core.problem import Columns

NUMBERS = (
    "months",
    "monthly_fee",
    "support_calls",
    "late_payments",
    "has_tv",
    "is_family",
    "usage_gb",
)
TEXTS = ("contract", "internet", "payment", "region", "device")


def features(columns: Columns) -> Columns:
    """All inputs except the customer and the event time, unchanged."""
    return {name: columns[name] for name in NUMBERS + TEXTS}
