"""The words of this problem's domain, which stand nowhere outside it."""

import re

WORDS = re.compile(
    r"\b(energ\w*|electric\w*|megawatts?|mw|kw|solar|roofs?|thermometers?|half[ _-]hour|weather|celsius)\b",
    re.IGNORECASE,
)
