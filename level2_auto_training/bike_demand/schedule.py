"""Makes prefect.yaml, the schedule and the work pool of trainings, from params.yaml.

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
HEADER = """\
# Made from params.yaml by `python -m bike_demand.schedule`: edit that one.
# Put it to work, with PREFECT_API_URL set:
#   prefect work-pool create --type {type} {pool}
#   prefect deploy --all
#   prefect worker start --pool {pool}
"""


def content(settings: Flow) -> str:
    """The text of prefect.yaml: one deployment of the training flow."""
    pool: dict[str, Any] = {"name": settings.work_pool}
    deployment: dict[str, Any] = {
        "name": "scheduled",
        "entrypoint": "bike_demand/flows.py:train",
        "schedules": [{"cron": settings.cron, "timezone": settings.timezone}],
        "concurrency_limit": 1,
        "work_pool": pool,
    }
    if settings.work_pool_type != "process":
        # A process runs in the folder that was deployed from; a container has the project in its image.
        pool["job_variables"] = {"image": settings.image}
        deployment["pull"] = [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]
    description = {"name": "bike-demand", "deployments": [deployment]}
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
