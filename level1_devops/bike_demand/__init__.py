"""The data, the model and the application that serves it, for the problem in `problem`."""

import os

# Disables telemetry. ONNX Runtime reads this on import; otherwise it writes a machine id to the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Bypass the proxy for loopback. Only if a proxy variable is set: NO_PROXY alone would override the proxy
# settings of macOS and Windows.
if {"http_proxy", "https_proxy", "all_proxy"} & {name.lower() for name in os.environ}:
    _given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    _direct = dict.fromkeys(filter(None, map(str.strip, f"{_given},127.0.0.1,localhost,::1".split(","))))
    if "*" not in _direct:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(_direct)
