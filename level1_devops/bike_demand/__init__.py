"""The data, the model and the application that serves it, for the problem in `problem`."""

import os

# No tool phones home. ONNX Runtime reads this when it is imported; without it, it leaves an identity of the
# machine in the home folder, to report its use under.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A proxy for the internet cannot reach services of this machine. Only where one is set: to set NO_PROXY alone
# would switch off the proxy settings of macOS and Windows.
if {"http_proxy", "https_proxy", "all_proxy"} & {name.lower() for name in os.environ}:
    _given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    _direct = dict.fromkeys(filter(None, map(str.strip, f"{_given},127.0.0.1,localhost,::1".split(","))))
    if "*" not in _direct:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(_direct)
