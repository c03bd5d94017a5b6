"""prefect.yaml: what it deploys are flows of this project, started by the events that these emit."""

import re
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))[
    "deployments"
]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: str(each["name"]))
def test_each_deployment_runs_a_flow_of_the_project_and_only_once_at_a_time(
    deployment: dict[str, Any],
) -> None:
    path, _, function = deployment["entrypoint"].partition(":")
    flows = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf'^@flow\(name="[^"]+"[^)]*\)\ndef {function}\(', flows, re.MULTILINE)
    assert deployment["concurrency_limit"] == 1
    for trigger in deployment.get("triggers", []):
        for event in trigger["expect"]:
            assert f'= "{event.removesuffix(".*")}"' in flows
    assert deployment.get("triggers") or deployment.get("schedules")
