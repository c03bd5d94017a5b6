"""The words of this problem's domain, which stand nowhere outside it."""

import re

WORDS = re.compile(
    r"\b(subscribers?|subscriptions?|fibre|payments?|billed|bills?|monthly fee|support calls|usage gb"
    r"|telephone)\b",
    re.IGNORECASE,
)
