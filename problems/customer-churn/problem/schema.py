"""What a row is: a customer at one of their monthly bills, and whether they left afterwards.

Texts may have values that nobody has seen before: new ones come, and models take them as none of those that
they know.
"""

from typing import Annotated

from pydantic import BaseModel, Field, NaiveDatetime

from bike_demand.core.problem import EventTime, Expected, Key, Unit

Text = Annotated[str, Field(min_length=1, max_length=60)]


class Inputs(BaseModel):
    """A customer at a bill, for whom the probability of leaving is predicted."""

    billed_at: Annotated[
        NaiveDatetime, EventTime(cadence=None), Field(description="when the bill was made, local time")
    ]
    customer: Annotated[int, Key(), Field(ge=1, le=10_000_000, description="customer number")]
    contract: Annotated[Text, Field(description="contract term")]
    internet: Annotated[Text, Field(description="kind of internet line, or none")]
    payment: Annotated[Text, Field(description="payment method")]
    region: Annotated[Text, Field(description="home region")]
    device: Annotated[Text, Field(description="brand of the phone")]
    months: Annotated[
        int, Field(ge=0, le=1200, description="months as a customer"), Unit("months"), Expected(0, 240)
    ]
    monthly_fee: Annotated[
        float,
        Field(ge=0, le=10_000, description="monthly fee"),
        Unit("EUR"),
        Expected(5, 150, change=60),
    ]
    support_calls: Annotated[
        int, Field(ge=0, le=1000, description="calls to support in the last month"), Expected(0, 15)
    ]
    late_payments: Annotated[
        int, Field(ge=0, le=120, description="late payments in the last year"), Expected(0, 12)
    ]
    has_tv: Annotated[bool, Field(description="whether the plan includes television")]
    is_family: Annotated[bool, Field(description="whether others share the plan")]
    usage_gb: Annotated[
        float | None,
        Field(ge=0, le=1e6, description="data used in the last month; null if not metered"),
        Unit("GB"),
        Expected(0, 3000),
    ] = None


class Label(BaseModel):
    """What is known 30 days after the bill."""

    left: Annotated[bool, Field(description="whether the customer left within 30 days")]
