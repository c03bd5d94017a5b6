"""Prints an MLflow registry's content as JSON: `python -m ladder.lab.registry sqlite:///state/mlflow.db`."""

import json
import sys
from collections.abc import Mapping
from typing import Any


def content(uri: str) -> dict[str, Any]:
    """The only registered model's versions, their runs, and aliases; read by the public client."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    found: dict[str, Any] = {"aliases": {}, "versions": {}}
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{model.name}'")
        for each in sorted(versions, key=lambda version: int(version.version)):
            run = client.get_run(str(each.run_id))
            found["versions"][str(each.version)] = {
                "run_id": each.run_id,
                "tags": _flat(each.tags),
                "metrics": dict(run.data.metrics),
                "params": dict(run.data.params),
                "run_tags": _flat(run.data.tags),
            }
            for alias in client.get_model_version(model.name, each.version).aliases:
                found["aliases"][alias] = str(each.version)
    return found


def _flat(tags: Mapping[str, str]) -> dict[str, str]:
    """Dots lead into a value, so a tag like `release.error` becomes `release_error`."""
    return {name.replace(".", "_"): value for name, value in tags.items()}


if __name__ == "__main__":
    print(json.dumps(content(sys.argv[1])))
