"""Each rule on a tiny project: what it has to see, and what it must not take for it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from ladder.assess import python
from ladder.assess.rules import RANK, rules, tools
from ladder.practices import every_row
from tests.assess.projects import TESTS, TRAIN, assessed, practice, workflow

CI = ".github/workflows/ci.yml"
WEEKLY = "on:\n  schedule:\n  - cron: 0 5 * * 1\n"
GATES = "def passes_gate(model):\n    return model.error < 3\n"
MONTHLY = (
    "deployments:\n- name: monthly\n  entrypoint: flows.py:train\n  schedules:\n  - cron: 0 5 1 * *\n"
    "  work_pool: {name: pool}\n"
)
FLOWS = "from prefect import flow\nfrom train import train\n\n\n@flow\ndef run():\n    train(1, 2)\n"
LOOP = (
    "from evidently import Report\nfrom train import train\n\n\ndef look():\n    if Report([]).run(1, 2):\n"
    "        train(1, 2)\n"
)

SEEN: list[tuple[str, str, Mapping[str, str]]] = [
    ("tests", "pytest in GitHub", {"tests/test_a.py": TESTS, CI: workflow("python -m pytest -q")}),
    ("tests", "tox", {CI: workflow("tox -e py311")}),
    ("tests", "GitLab", {".gitlab-ci.yml": "test:\n  script:\n  - pip install .\n  - pytest\n"}),
    ("tests", "GitLab include", {".gitlab-ci.yml": "include: [{local: /ci/*.yml}]\n", "ci/jobs.yml": "test:\n  extends: .base\n", "ci/base.yml": ".base:\n  script: [pytest]\n"}),
    ("training-schedule", "GitLab include", {".gitlab-ci.yml": "include: ci/jobs.yml\n", "ci/jobs.yml": "train:\n  script: [python train.py]\n  rules:\n  - if: $CI_PIPELINE_SOURCE == 'schedule'\n"}),
    ("tests", "Azure template", {"azure-pipelines.yml": "trigger: [main]\njobs:\n- template: ci/jobs.yml\n", "ci/jobs.yml": "jobs:\n- job: a\n  steps:\n  - template: steps.yml\n", "ci/steps.yml": "steps:\n- script: pytest\n"}),
    ("training-schedule", "Azure template", {"azure-pipelines.yml": "trigger: none\nschedules:\n- cron: '0 5 * * 1'\nextends: {template: /ci/jobs.yml}\n", "ci/jobs.yml": "steps:\n- bash: python train.py\n"}),
    ("tests", "Azure DevOps", {"azure-pipelines.yml": "trigger: [main]\nsteps:\n- script: pytest tests\n"}),
    ("tests", "a script", {CI: workflow("bash ci/test.sh"), "ci/test.sh": "#!/bin/bash\nset -e\npytest\n"}),
    ("tests", "make", {CI: workflow("make check"), "Makefile": "check: unit\nunit:\n\tpytest\n"}),
    (
        "tests",
        "an action of the project",
        {
            CI: workflow("uses: ./.github/actions/test"),
            ".github/actions/test/action.yml": "runs:\n  using: composite\n  steps:\n  - run: pytest\n    shell: bash\n",
        },
    ),
    ("build", "Docker", {CI: workflow("docker build -t app .")}),
    ("build", "an action", {CI: workflow("uses: docker/build-push-action@v6")}),
    ("app-release", "a tag", {CI: workflow("docker push app", on="on:\n  push:\n    tags: ['v*']\n")}),
    ("app-release", "GitLab", {".gitlab-ci.yml": "ship:\n  only: [tags]\n  script: [twine upload dist/*]\n"}),
    ("data-pipeline", "a command in CI", {CI: workflow("python -m app ingest", on=WEEKLY)}),
    ("data-pipeline", "object store", {"ingest.py": "import boto3\nboto3.client('s3').download_file('a', 'b', 'c')\n"}),
    ("scoring", "FastAPI", {"app.py": "from fastapi import FastAPI as Api\napp = Api()\n"}),
    ("scoring", "an address of its own", {"app.py": "route('/v2/forecast', handler)\n"}),
    ("scoring", "a route", {"app.py": "@route('/v1/predict')\ndef answer(): ...\n"}),
    (
        "scoring-tests",
        "by import",
        {"app/__init__.py": "", "app/score.py": "def predict(x): ...\n", "tests/test_score.py": "from app.score import predict\ndef test_it():\n    assert predict(1)\n"},
    ),
    ("integration-tests", "a folder", {"tests/integration/test_it.py": TESTS}),
    ("lock", "uv", {"uv.lock": 'name = "numpy"\n'}),
    ("environment", "a Dockerfile", {"docker/serve.Dockerfile": "FROM python:3.12\n"}),
    ("data-versions", "DVC", {"data/raw.csv.dvc": "outs:\n- path: raw.csv\n"}),
    ("tracking", "MLflow's log_model", {"a.py": "import mlflow\nmlflow.sklearn.log_model(m, name='m')\n"}),
    ("registry", "MLflow's log_model", {"a.py": "import mlflow\nmlflow.sklearn.log_model(m, name='m', registered_model_name='demand')\n"}),
    ("tracking", "MLflow", {"train.py": "import mlflow as m\nwith m.start_run():\n    m.log_metric('a', 1)\n"}),
    ("tracking", "in a notebook", {"a.ipynb": '{"cells": [{"cell_type": "code", "source": ["import wandb\\n", "wandb.init()"]}]}'}),
    ("registry", "an alias", {"a.py": "from mlflow import MlflowClient\nc = MlflowClient()\nc.set_registered_model_alias('m', 'a', 1)\n"}),
    ("registry", "a package that a neighbour imports", {"app/a.py": "import mlflow\nmlflow\n", "app/b.py": "def f(client):\n    client.create_model_version('a')\n"}),
    ("training", "a word", {CI: workflow("python src/train.py", on=WEEKLY)}),
    ("training", "by what it runs", {"job.py": TRAIN, CI: workflow("python job.py", on=WEEKLY)}),
    ("training", "Prefect", {"prefect.yaml": MONTHLY, "flows.py": FLOWS, "train.py": TRAIN}),
    ("training", "DVC", {CI: workflow("dvc repro", on=WEEKLY)}),
    ("training-schedule", "Prefect", {"prefect.yaml": MONTHLY}),
    ("training-schedule", "GitLab", {".gitlab-ci.yml": "train:\n  script: [python train.py]\n  rules:\n  - if: $CI_PIPELINE_SOURCE == 'schedule'\n"}),
    ("training-schedule", "Azure", {"azure-pipelines.yml": "trigger: none\nschedules:\n- cron: '0 5 * * 1'\nsteps:\n- bash: python train.py\n"}),
    ("training-schedule", "Airflow", {"dags/weekly.py": "from airflow import DAG\nimport train\nwith DAG('weekly', schedule='@weekly'):\n    train.train(1, 2)\n", "train.py": TRAIN}),
    ("training-schedule", "CronJob", {"k8s/job.yaml": "kind: CronJob\nmetadata: {name: weekly}\nspec:\n  command: [python, train.py]\n"}),
    ("compute", "a pool", {"prefect.yaml": MONTHLY}),
    ("lifecycle-events", "Prefect", {"a.py": "from prefect.events import emit_event\nemit_event('v.registered', resource={})\n"}),
    ("feature-store", "Feast", {"feature_store.yaml": "project: a\n"}),
    ("release-auto", "on a schedule", {CI: workflow('python -m app deploy "$VERSION"', on=WEEKLY)}),
    ("gates", "a function", {"a.py": GATES}),
    ("code-tests", "most modules", {"a.py": "def f():\n    return 1\n" + "# long\n" * 40, "test_a.py": "import a\n" + TESTS, CI: workflow("pytest")}),
    ("environments", "two jobs", {CI: "on: push\njobs:\n  a: {environment: staging, steps: []}\n  b: {environment: production, steps: []}\n"}),
    ("prediction-log", "a class", {"a.py": "class PredictionLog:\n    def predict(self): ...\n"}),
    ("ab", "Flagger", {"k8s/canary.yaml": "kind: Canary\nspec: {analysis: {}}\n"}),
    ("ab", "own code", {"a.py": "class TrafficSplit: ...\ndef ab_test(): ...\n"}),
    ("registry-promotion", "MLflow", {"a.py": "import mlflow\nc = mlflow.MlflowClient()\nc.copy_model_version('a', 'b')\n"}),
    ("registry-promotion", "own code", {"a.py": "SOURCE_REGISTRY, SOURCE_RUN = 'a', 'b'\n"}),
    ("registry-promotion", "a command", {CI: workflow('python -m app promote 7 --to "$PROD_REGISTRY_URI"')}),
    ("registry-promotion", "export and import", {CI: workflow("copy-model-version --src-model m --src-version 7")}),
    ("contract", "a signature", {"a.py": "from mlflow.models import infer_signature\ns = infer_signature(1, 2)\n"}),
    ("monitoring", "Prometheus", {"a.py": "from prometheus_client import Counter\nc = Counter('a', 'b')\n"}),
    ("drift", "SciPy", {"a.py": "from scipy import stats\nstats.ks_2samp(1, 2)\n"}),
    ("triggers", "drift and training", {"prefect.yaml": MONTHLY.replace("flows.py:train", "loop.py:look"), "loop.py": LOOP, "train.py": TRAIN}),
    ("alerts", "Prometheus", {"alerts.yaml": "groups:\n- rules:\n  - alert: Slow\n    expr: a > 1\n"}),
    ("alerts", "a callback of a DAG", {"dags/a.py": "from work import dag\ndag('a', on_failure_callback=page)\n"}),
    ("rollback", "a function", {"a.py": "def roll_back(version): ...\n"}),
    ("no-downtime", "a probe", {"k8s/app.yaml": "kind: Deployment\nspec: {template: {readinessProbe: {httpGet: {path: /}}}}\n"}),
    ("policy", "data", {"promotion.yaml": "promotion_policy: {gates: [a], overrides: [b]}\n"}),
]  # fmt: skip

NOT_SEEN: list[tuple[str, str, Mapping[str, str]]] = [
    ("tests", "not in CI", {"tests/test_a.py": TESTS}),
    ("tests", "installed only", {CI: workflow("pip install pytest")}),
    ("tests", "a word that is printed", {CI: workflow("echo run pytest yourself")}),
    ("tests", "a comment", {CI: "# pytest runs here some day\n" + workflow("echo hello")}),
    ("tests", "|| true", {CI: workflow("pytest || true")}),
    ("tests", "; exit 0", {CI: workflow("pytest; exit 0")}),
    ("tests", "continue-on-error", {CI: workflow("{run: pytest, continue-on-error: true}")}),
    ("tests", "a job that may fail", {CI: workflow("pytest", job="    continue-on-error: true\n")}),
    ("tests", "if: false", {CI: workflow("pytest", job="    if: ${{ false }}\n")}),
    ("tests", "before the job it waits for, which never runs", {CI: "on: push\njobs:\n  b: {needs: a, steps: [{run: pytest}]}\n  a: {if: false, steps: []}\n"}),
    ("tests", "waits for a job that never runs", {CI: "on: push\njobs:\n  a: {if: false, steps: []}\n  b: {needs: a, steps: [{run: pytest}]}\n"}),
    ("tests", "commented out", {CI: workflow("echo hello") + "    # - run: pytest\n"}),
    ("tests", "set +e", {CI: workflow("|\n        set +e\n        pytest\n        echo done")}),
    ("tests", "GitLab allow_failure", {".gitlab-ci.yml": "test:\n  allow_failure: true\n  script: [pytest]\n"}),
    ("tests", "GitLab never", {".gitlab-ci.yml": "test:\n  script: [pytest]\n  rules:\n  - when: never\n"}),
    ("tests", "Azure condition", {"azure-pipelines.yml": "trigger: [main]\nsteps:\n- script: pytest\n  condition: false\n"}),
    ("tests", "ignored in make", {CI: workflow("make test"), "Makefile": "test:\n\t-pytest\n"}),
    ("tests", "ignored in a script", {CI: workflow("./test.sh"), "test.sh": "pytest || true\n"}),
    ("tests", "a template of a workflow", {"{{cookiecutter.name}}/.github/workflows/ci.yml": workflow("pytest")}),
    ("tests", "a nested workflow", {"sub/.github/workflows/ci.yml": workflow("pytest")}),
    ("build", "by hand", {"Makefile": "image:\n\tdocker build .\n"}),
    ("app-release", "by hand only", {CI: workflow("docker push app", on="workflow_dispatch")}),
    ("data-pipeline", "a client that is no pipeline", {"client.py": "import requests\nrequests.get('http://a')\n"}),
    ("data-pipeline", "pasted files", {"a.ipynb": '{"cells": [{"cell_type": "code", "source": "import pandas as pd\\npd.read_csv(1)"}]}'}),
    ("scoring", "a notebook", {"a.ipynb": '{"cells": [{"cell_type": "code", "source": "def predict(x): ..."}]}'}),
    ("lock", "loose requirements", {"requirements.txt": "numpy>=1\n"}),
    ("tests", "GitLab include of nobody", {".gitlab-ci.yml": "include: [{local: ci/jobs.yml}, {template: a.yml}]\n", "jobs.yml": "test: {script: [pytest]}\n"}),
    ("tests", "GitLab include of itself", {".gitlab-ci.yml": "include: ci/jobs.yml\n", "ci/jobs.yml": "include: ci/jobs.yml\n"}),
    ("tests", "Azure template never", {"azure-pipelines.yml": "trigger: [main]\njobs:\n- template: jobs.yml\n  condition: false\n", "jobs.yml": "steps:\n- template: jobs.yml\n- script: pytest\n"}),
    ("tracking", "a package only", {"requirements.txt": "mlflow==3.1.0\n"}),
    ("tracking", "an import only", {"a.py": "import mlflow\n"}),
    ("tracking", "a comment", {"a.py": "import mlflow\n# mlflow.start_run() some day\nX = 'mlflow.start_run()'\n"}),
    ("tracking", "a tutorial", {"examples/train.py": "import mlflow\nmlflow.start_run()\n"}),
    ("tracking", "a virtual environment", {"venv/lib/a.py": "import mlflow\nmlflow.start_run()\n"}),
    ("tracking", "a test", {"tests/test_a.py": "import mlflow\ndef test_a():\n    mlflow.start_run()\n"}),
    ("tracking", "the library itself", {"mlflow/__init__.py": "def start_run(): ...\n", "run.py": "import mlflow\nmlflow.start_run()\n"}),
    ("registry", "a method of something else", {"a.py": "import boto3\nc.create_model_version('a')\n"}),
    ("training", "by hand", {"train.py": TRAIN, "README.md": "python train.py\n"}),
    ("training", "a name in a path", {CI: workflow("docker build -f training.Dockerfile .")}),
    ("training", "its tests", {CI: workflow("pytest tests/test_train.py")}),
    ("training", "a train station", {CI: workflow("python -m trains.timetable")}),
    ("training-schedule", "commented out", {CI: workflow("python train.py", on="on:\n  workflow_dispatch:\n# schedule:\n#   - cron: '0 5 * * 1'\n")}),
    ("training-schedule", "a push", {CI: workflow("python train.py")}),
    ("training-schedule", "not active", {"prefect.yaml": MONTHLY.replace("cron: 0 5 1 * *", "cron: 0 5 1 * *\n    active: false")}),
    ("training-schedule", "suspended", {"k8s/job.yaml": "kind: CronJob\nmetadata: {name: w}\nspec:\n  suspend: true\n  command: [python, train.py]\n"}),
    ("training-schedule", "Airflow without", {"dags/a.py": "from airflow import DAG\nimport train\nDAG('a', schedule=None)\n", "train.py": TRAIN}),
    ("release-auto", "a check only", {CI: workflow("python -m app deploy latest --check", on=WEEKLY)}),
    ("release-auto", "by hand only", {CI: workflow("python -m app deploy 3", on="workflow_dispatch")}),
    ("release-auto", "an option that says no", {CI: workflow("python -m app train --no-deploy", on=WEEKLY)}),
    ("release-auto", "the application's release", {CI: workflow("gh release create v1", on=WEEKLY)}),
    ("gates", "words that contain it", {"a.py": "def aggregate(): ...\ndef navigate_gateway(): ...\nclass Gateway: ...\n"}),
    ("environments", "one job", {CI: "on: push\njobs:\n  a: {environment: production, steps: []}\n"}),
    ("ab", "one name", {"a.py": "def challenger(): ...\n"}),
    ("ab", "all of the traffic", {"k8s/route.yaml": "spec: {http: [{route: [{weight: 100}]}]}\n"}),
    ("drift", "a word in a text", {"a.py": 'def f():\n    """Nothing drifts here."""\n'}),
    ("triggers", "a schedule without a signal", {"prefect.yaml": MONTHLY, "flows.py": FLOWS, "train.py": TRAIN}),
    ("triggers", "drift that nobody acts on", {"prefect.yaml": MONTHLY.replace("flows.py:train", "look.py:look"), "look.py": LOOP.replace("from train import train\n", ""), "train.py": TRAIN}),
    ("registry-promotion", "a move of an alias", {CI: workflow("python promote.py --to production")}),
    ("registry-promotion", "by hand", {"Makefile": "promote:\n\tpython promote.py --to http://mlflow\n"}),
    ("policy", "some other gates", {"garage.yaml": "doors: {gates: [a]}\n"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "files"), [(a, c) for a, _, c in SEEN], ids=[f"{a}: {b}" for a, b, _ in SEEN]
)
def test_what_is_there_is_seen(tmp_path: Path, name: str, files: Mapping[str, str]) -> None:
    found = practice(tmp_path, files, name)
    assert found.seen, found.findings
    best = found.findings[0]
    assert best.fact.file in files or not best.fact.line


@pytest.mark.parametrize(
    ("name", "files"), [(a, c) for a, _, c in NOT_SEEN], ids=[f"{a}: {b}" for a, b, _ in NOT_SEEN]
)
def test_what_is_not_there_is_not_seen(tmp_path: Path, name: str, files: Mapping[str, str]) -> None:
    found = practice(tmp_path, files, name)
    assert not found.seen, found.findings


@pytest.mark.parametrize(
    ("name", "files"),
    [
        (a, c)
        for a, b, c in NOT_SEEN
        if re.search(r"true|exit|error|fail|false|never|ignored|commented|set|active|susp", b)
    ],
)
def test_what_is_switched_off_is_named_with_its_place(
    tmp_path: Path, name: str, files: Mapping[str, str]
) -> None:
    found = practice(tmp_path, files, name)
    assert found.off
    assert all(each.fact.file in files and each.fact.line for each in found.off)


def test_a_package_is_a_hint_a_call_is_evidence_and_a_job_that_runs_it_is_proof(tmp_path: Path) -> None:
    files = {"requirements.txt": "mlflow==3.1.0\n"}
    assert practice(tmp_path, files, "tracking").strength == "hint"
    files["work.py"] = "import mlflow\nmlflow.start_run()\n"
    assert practice(tmp_path, files, "tracking").strength == "evidence"
    files[CI] = workflow("python work.py")
    assert practice(tmp_path, files, "tracking").strength == "proof"


def test_a_finding_has_the_line_of_its_command(tmp_path: Path) -> None:
    steps = workflow("|\n        echo one\n        pytest -q \\\n          -n 2")
    found = practice(tmp_path, {CI: steps}, "tests").findings[0]
    assert steps.split("\n")[found.fact.line - 1].strip() == "pytest -q \\"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_finding_in_a_notebook_has_its_line(tmp_path: Path, ascii_only: bool) -> None:
    cell = {"cell_type": "code", "source": ["import mlflow\n", "mlflow.log_metric('Qualität', 1)"]}
    notebook = json.dumps({"cells": [cell]}, indent=1, ensure_ascii=ascii_only)
    found = practice(tmp_path, {"a.ipynb": notebook}, "tracking").findings[0]
    assert "log_metric" in notebook.split("\n")[found.fact.line - 1]


@pytest.mark.parametrize(
    "code",
    [
        "import requests\nrequests.get(url)\n",
        "import requests as r\nr.get(url)\n",
        "from requests import get\nget(url)\n",
        "from requests import (\n    get as fetch,\n)\nfetch(url)\n",
    ],
)
def test_a_call_is_found_however_its_package_is_imported(code: str) -> None:
    found = python.read({"ingest.py": code}, frozenset())
    assert "requests.get" in {each.name for each in found if each.kind == "call"}


def test_every_finding_in_a_file_has_a_line(tmp_path: Path) -> None:
    found = assessed(tmp_path, {"Dockerfile": "FROM python\n", "requirements.lock": "numpy==2.0\n"})
    places = [each.fact for judged in found.practices.values() for each in judged.findings]
    assert places
    assert all(each.line for each in places)


def test_rules_name_rows_practices_and_tools_that_exist() -> None:
    known = {each.id for each in rules().practices}
    named = {one for row in rules().rows for one in rules().names(row)}
    assert named <= known
    assert tools().keys() <= known | {"model-release"}
    assert {each.id for each in every_row() if each.level and not each.absent} <= rules().rows.keys()
    assert all(RANK.get(signal.strength, 0) for each in rules().practices for signal in each.signals)
    assert all(each.asks for each in rules().practices if each.needs == "answer")
