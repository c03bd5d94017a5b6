"""The tool around the levels: runs, replays and compares them, and makes projects from them."""

import os
from pathlib import Path

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
PACKAGED_FILES = _HERE / "files"  # in a wheel: the files taken from the checkout
ROOT = PACKAGED_FILES if PACKAGED_FILES.is_dir() else _HERE.parent  # the checkout


class UserError(Exception):
    """A mistake in the user's input: one line with what is wrong, where, and what to do."""


GIVEN_NO_PROXY = "LADDER_GIVEN_NO_PROXY"  # with a proxy: NO_PROXY as it was before the tool changed it

# An internet proxy cannot reach services on this machine. Only set if there is a proxy: NO_PROXY alone would
# switch off the proxy settings of macOS and Windows.
if {"http_proxy", "https_proxy", "all_proxy"} & {name.lower() for name in os.environ}:
    _given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    os.environ.setdefault(GIVEN_NO_PROXY, _given)
    _direct = dict.fromkeys(filter(None, map(str.strip, f"{_given},127.0.0.1,localhost,::1".split(","))))
    if "*" not in _direct:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(_direct)

# A container may run as a user without a passwd entry, so without home; uv, pip and Jupyter need one.
if os.name == "posix" and not os.access(os.path.expanduser("~"), os.R_OK | os.X_OK):  # noqa: PTH111
    os.environ["HOME"] = os.path.abspath(os.environ.get("LADDER_HOME") or ROOT / ".ladder")  # noqa: PTH100
