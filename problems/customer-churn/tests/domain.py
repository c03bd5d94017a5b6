"""The words of this problem's domain, which stand nowhere outside it."""

import re

WORDS = re.compile(
    r"\b(subscri\w*|fibre|payments?|billed|bills?|monthly fee|support calls|usage gb|telephone)\b",
    re.IGNORECASE,
)
