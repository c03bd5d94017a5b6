"""Which model's answer is shown for an hour while two are tested against each other.

The unit is the hour, not the user: a switchback design. The choice is a salted hash, so it is the same in
each process, after each restart, and for whoever wants to check it later.
"""

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Literal

from bike_demand.data.table import iso

Variant = Literal["champion", "challenger"]


@lru_cache(maxsize=8192)
def variant(hour: datetime, share: float, salt: str) -> Variant:
    """Whose answer is shown for that hour (local time): the challenger's for `share` (0 to 1) of them."""
    digest = hashlib.sha256(f"{salt}\n{iso(hour)}".encode()).digest()
    return "challenger" if int.from_bytes(digest[:8]) < share * 2**64 else "champion"
