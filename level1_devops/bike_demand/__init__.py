"""The data, the model and the application that serves it, for the problem in `problem`."""

import os

# No tool sends telemetry. ONNX Runtime reads this on import; without it, it stores a machine id in the home
# folder to report its usage under.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# An internet proxy cannot reach services on this machine. Only set if there is a proxy: NO_PROXY alone would
# disable the proxy settings of macOS and Windows.
if {"http_proxy", "https_proxy", "all_proxy"} & {name.lower() for name in os.environ}:
    _given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    _direct = dict.fromkeys(filter(None, map(str.strip, f"{_given},127.0.0.1,localhost,::1".split(","))))
    if "*" not in _direct:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(_direct)
