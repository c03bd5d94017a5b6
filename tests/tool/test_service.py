"""A level's application, or another server: started and waited for."""

import os
import subprocess
import sys
from pathlib import Path

from ladder import ROOT

SCRIPT = """
import sys
from pathlib import Path
from ladder.service import Service
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
with Service(Path(sys.argv[1]), Path(sys.argv[1], "log"), command=command, probe="/") as service:
    service.start()
    print(service.running())
"""


def test_a_proxy_for_the_internet_is_not_asked_for_a_service_of_this_machine(tmp_path: Path) -> None:
    proxied = os.environ | {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        env={name: value for name, value in proxied.items() if name.lower() != "no_proxy"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True\n", done.stderr
