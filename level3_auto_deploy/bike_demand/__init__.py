"""The data, the model and the application that serves it, for the problem in `problem`.

Importing it sets process-wide defaults: no telemetry, variables of git and proxies, garbage collection.
"""

import gc
import getpass
import os

# Disables telemetry. ONNX Runtime reads this on import; otherwise it writes a machine id to the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("DO_NOT_TRACK", "true")

# Git sets these in hooks; every call of git, here and in DVC, would then use that repository.
for _name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"):
    os.environ.pop(_name, None)

# A container may run as a user without a passwd entry, so without name and home; DVC and MLflow need both.
if os.name == "posix":
    if not os.access(os.path.expanduser("~"), os.R_OK | os.X_OK):  # noqa: PTH111 (Path raises without one)
        os.environ["HOME"] = os.path.abspath("state")  # noqa: PTH100
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())

# Importing the tools creates hundreds of thousands of permanent objects. With Python's default threshold of
# 700, the garbage collector scans them so often that it takes a tenth of a training's time.
gc.set_threshold(50_000)

# Bypass the proxy for loopback. Only if a proxy variable is set: NO_PROXY alone would override the proxy
# settings of macOS and Windows.
if {"http_proxy", "https_proxy", "all_proxy"} & {name.lower() for name in os.environ}:
    _given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    _direct = dict.fromkeys(filter(None, map(str.strip, f"{_given},127.0.0.1,localhost,::1".split(","))))
    if "*" not in _direct:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(_direct)
