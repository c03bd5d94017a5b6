"""Makes prefect.yaml, what runs when and where, from params.yaml.

Run it after a change of `flow` there: python -m bike_demand.schedule
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.settings import Flow, load_settings

TARGET = Path("prefect.yaml")
# The event of a new version, and the deployment of the flow that it starts.
REGISTERED = "bike-demand.version.registered"
RESOURCE = "bike-demand.version"
AUTOMATIC = "automatic"
# The event of a signal, by its kind, and the deployments of the flow that looks and of the one that acts.
SIGNAL = "bike-demand.signal"
LOOP, ACTING = "loop", "signals"
HEADER = """\
# Made from params.yaml by `python -m bike_demand.schedule`: edit that one.
# Put it to work, with PREFECT_API_URL set:
#   prefect work-pool create --type {type} {pool}
#   prefect deploy --all
#   prefect worker start --pool {pool}
"""


def content(settings: Flow) -> str:
    """The text of prefect.yaml: looks by the schedule, what follows on the signals that they send, and
    deployments of what a person trains.
    """
    deployments: list[dict[str, Any]] = [
        {
            "name": LOOP,
            "entrypoint": "bike_demand/flows.py:look",
            "schedules": [{"cron": settings.cron, "timezone": settings.timezone}],
        },
        {
            "name": ACTING,
            "entrypoint": "bike_demand/flows.py:act",
            "triggers": [
                {
                    "type": "event",
                    "expect": [f"{SIGNAL}.*"],
                    "match": {"prefect.resource.id": f"{SIGNAL}.*"},
                    # A cool-down, for each kind and subject on its own.
                    "for_each": ["prefect.resource.id"],
                    "threshold": 1,
                    "within": settings.signal_seconds,
                    "parameters": {name: f"{{{{ event.payload.{name} }}}}" for name in ("signal", "as_of")},
                }
            ],
        },
        {
            "name": AUTOMATIC,
            "entrypoint": "bike_demand/flows.py:deploy",
            "triggers": [
                {
                    "type": "event",
                    "expect": [REGISTERED],
                    "match": {"prefect.resource.id": RESOURCE},
                    "parameters": {name: f"{{{{ event.payload.{name} }}}}" for name in ("version", "as_of")},
                }
            ],
        },
    ]
    for deployment in deployments:
        deployment["concurrency_limit"] = 1
        deployment["work_pool"] = {"name": settings.work_pool}
        if settings.work_pool_type != "process":
            # A process runs in the folder that was deployed from; a container has the project in its image.
            deployment["work_pool"]["job_variables"] = {"image": settings.image}
            place = {"directory": "/app"}
            deployment["pull"] = [{"prefect.deployments.steps.set_working_directory": place}]
    description = {"name": "bike-demand", "deployments": deployments}
    header = HEADER.format(type=settings.work_pool_type, pool=settings.work_pool)
    return header + yaml.safe_dump(description, sort_keys=False, width=110)


def main() -> int:
    """Write it; 0, or 1 after one line that says what is wrong."""
    try:
        write_atomically(TARGET, content(load_settings().flow).encode())
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
