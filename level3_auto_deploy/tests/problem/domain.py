"""Domain terms that may appear only in `problem/`."""

import re

WORDS = re.compile(
    r"\b(bikes?|bicycl\w*|cycl(ist|ing)\w*|riders?|rent(s|ed|al|als|ing)?|stations?|demand|casual|commut\w*"
    r"|weather|temp c|feels like|celsius|humid\w*|wind ?speed|wind|rain\w*|snow\w*|mist"
    r"|holidays?|working ?days?|days? off)\b",
    re.IGNORECASE,
)
