"""A new input field and another model class, while a model without them is live: nothing stops."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from ladder import UserError, workcopy
from ladder.levels import level
from ladder.service import Service
from ladder.steps import environment, run_command
from ladder.users import as_bodies, post_outcomes
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import INPUTS, read_feed, write_feed
from tests.maturity.conftest import before, between, git
from tests.maturity.level3 import Registry, hand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BEGAN = pd.Timestamp("2011-06-13")
DAY = pd.Timedelta(days=1)
FIELD = "rain_mm"


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADDER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("BIKE_FEED", raising=False)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def add_the_field(problem: Path) -> None:
    """What a person changes."""
    edit(
        problem / "schema.py",
        "    windspeed_kmh: Annotated[",
        f"""    {FIELD}: Annotated[
        float | None, Field(ge=0, le=300, description="rain in the hour"), Unit("mm"), Expected(0, 60)
    ] = None
    windspeed_kmh: Annotated[""",
    )
    edit(problem / "features.py", '"windspeed_kmh")', f'"windspeed_kmh", "{FIELD}")')


def publish(folder: Path, until: pd.Timestamp, with_field: bool) -> None:
    """Publish the feed up to a time in the place of the earlier one."""
    feed = folder / "feed"
    for path in feed.glob("*.csv"):  # with the field, they are not the tool's, which overwrites no others
        path.unlink()
    write_feed(before(read_feed(COMMITTED_FEED), until), feed)
    if not with_field:
        return
    for path in feed.glob("*.csv"):
        header, *rows = path.read_text(encoding="utf-8").splitlines()
        lines = [f"{header},{FIELD}", *(f"{row},{number % 7}" for number, row in enumerate(rows))]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def send(service: Service, day: pd.Timestamp, **more: Any) -> list[dict[str, Any]]:
    """Requests for each hour of a day, and then its outcomes."""
    rows = between(read_feed(COMMITTED_FEED), f"{day}", f"{day + DAY}")
    with httpx.Client(base_url=service.url, timeout=30) as client:
        given = client.post("/predict", json=[body | more for body in as_bodies(rows[INPUTS])])
        post_outcomes(rows, client, "/outcomes")
    answers: list[dict[str, Any]] = given.raise_for_status().json()
    return answers


def change_the_model(problem: Path) -> None:
    """A forest, behind an imputer."""
    path = problem / "model.py"
    text = path.read_text(encoding="utf-8")
    begin = text.index("    from sklearn.ensemble")
    made = """    from sklearn.ensemble import RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    model = RandomForestRegressor(
        n_estimators=20, min_samples_leaf=params.min_samples_leaf, random_state=params.random_state
    )
    return Pipeline([("impute", SimpleImputer()), ("model", model)])
"""
    path.write_text(text[:begin] + made, encoding="utf-8", newline="\n")


def accept_any_error(params: Path) -> None:
    """The other model need not be a better one."""
    edit(params, "error_worse: 0.25", "error_worse: 0.9")
    edit(params, "  confidence: 0.95", "  confidence: 0.9999")


def make_project(number: int, folder: Path) -> Path:
    workcopy.make(level(number), folder)
    edit(folder / "params.yaml", "api: http://127.0.0.1:4200/api", 'api: ""')
    workcopy.commit(folder, "Without a Prefect server")
    return folder


def test_at_level_3_another_model_with_another_field_is_tested_against_the_champion(tmp_path: Path) -> None:
    project = make_project(3, tmp_path / "project")

    def command(line: str) -> str:
        return run_command(f"python -m bike_demand {line}", project)

    def versions(**more: Any) -> set[str]:
        return {each["model_version"] for each in send(service, BEGAN, **more)}

    def run_code_of(commit: str, *, with_field: bool) -> None:
        git(project, "checkout", "--quiet", commit, "--", "bike_demand/problem")
        publish(project, BEGAN, with_field)
        shutil.rmtree(project / "state" / "data")
        command("ingest")

    edit(project / "params.yaml", "automatic: true", "automatic: false")
    workcopy.commit(project, "Deploy by hand")
    publish(project, BEGAN, with_field=False)
    for line in ("train", "deploy latest"):
        command(line)
    add_the_field(project / "bike_demand" / "problem")
    change_the_model(project / "bike_demand" / "problem")
    accept_any_error(project / "params.yaml")
    workcopy.commit(project, "Look at the rain, by another model")
    publish(project, BEGAN, with_field=True)
    with Service(project, tmp_path / "service.log", env=environment()) as service:
        service.start()
        assert versions() == versions(**{FIELD: 3.0}) == {"1"}
        command("train")

        # An application without the field refuses the model that takes it.
        run_code_of("HEAD~1", with_field=False)
        with pytest.raises(UserError, match=r"refused by gate schema: .*release the application first"):
            command("deploy 2")
        run_code_of("HEAD", with_field=True)
        assert Registry(project).aliases()["champion"] == "1"

        command("deploy 2")
        assert Registry(project).aliases()["challenger"] == "2"
        wait_until(lambda: versions() == versions(**{FIELD: 3.0}) == {"1", "2"})
        command('release 2 --reason "to see it work"')
        wait_until(lambda: versions(**{FIELD: 3.0}) == {"2"})
        command("rollback")
        wait_until(lambda: versions() == {"1"})


def test_at_level_4_a_field_is_added_without_a_pause(tmp_path: Path) -> None:
    project = make_project(4, tmp_path / "project")
    with hand(project) as typing:
        publish(project, BEGAN, with_field=False)
        typing.run_command("python -m bike_demand agent --once", project)
        with Service(project, tmp_path / "before.log", env=environment()) as service:
            service.start()
            assert {each["model_version"] for each in send(service, BEGAN)} == {"1"}

    add_the_field(project / "bike_demand" / "problem")
    assert git(project, "diff", "--name-only").split() == [
        "bike_demand/problem/features.py",
        "bike_demand/problem/schema.py",
    ]
    change_the_model(project / "bike_demand" / "problem")
    accept_any_error(project / "params.yaml")
    workcopy.commit(project, "Look at the rain, by another model")
    publish(project, BEGAN + DAY, with_field=True)

    # The new application goes on with the champion, for clients that know of the field and for others.
    with hand(project) as typing, Service(project, tmp_path / "after.log", env=environment()) as service:
        service.start()
        assert {each["model_version"] for each in send(service, BEGAN + DAY)} == {"1"}
        assert {each["model_version"] for each in send(service, BEGAN + DAY, **{FIELD: 3.0})} == {"1"}

        # Its successor takes the field, passes the gates, and is tested against it.
        typing.run_command('python -m bike_demand retrain --force --reason "look at the rain"', project)
        publish(project, BEGAN + 2 * DAY, with_field=True)
        output = typing.run_command("python -m bike_demand agent --once", project)
        assert Registry(project).aliases()["challenger"] == "2", output
        shown = {each["model_version"] for each in send(service, BEGAN + 2 * DAY, **{FIELD: 3.0})}
        assert shown == {"1", "2"}
        with httpx.Client(base_url=service.url, timeout=30) as client:
            assert FIELD not in [each["name"] for each in client.get("/model").json()["inputs"]]

        # What was sent is logged, is monitored, and a value that is not valid is refused by name.
        publish(project, BEGAN + 3 * DAY, with_field=True)
        status = json.loads(typing.run_command("python -m bike_demand monitor --json", project))
        assert status["days"]
        with httpx.Client(base_url=service.url, timeout=30) as client:
            bodies = as_bodies(before(read_feed(COMMITTED_FEED), BEGAN)[INPUTS].tail(1))
            refused = client.post("/predict", json=bodies[0] | {FIELD: -1.0})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", FIELD]


def test_at_level_2_another_model_with_another_field_is_released_and_taken_back(tmp_path: Path) -> None:
    project = make_project(2, tmp_path / "project")

    def versions(service: Service, **more: Any) -> set[str]:
        rows = between(read_feed(COMMITTED_FEED), f"{BEGAN}", f"{BEGAN + DAY}")
        with httpx.Client(base_url=service.url, timeout=30) as client:
            given = client.post("/predict", json=[body | more for body in as_bodies(rows[INPUTS])])
        return {each["model_version"] for each in given.raise_for_status().json()}

    publish(project, BEGAN, with_field=False)
    for command in ("train", "release 1 --yes"):
        run_command(f"python -m bike_demand {command}", project)
    add_the_field(project / "bike_demand" / "problem")
    change_the_model(project / "bike_demand" / "problem")
    workcopy.commit(project, "Look at the rain, by another model")
    publish(project, BEGAN, with_field=True)
    with Service(project, tmp_path / "service.log", env=environment()) as service:
        service.start()
        assert versions(service) == versions(service, **{FIELD: 3.0}) == {"1"}
        for command in ("train", 'release 2 --yes --override "to see it work"'):
            run_command(f"python -m bike_demand {command}", project)
        wait_until(lambda: versions(service, **{FIELD: 3.0}) == {"2"})
        assert versions(service) == {"2"}
        run_command("python -m bike_demand release --back --yes", project)
        wait_until(lambda: versions(service) == {"1"})


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError("it did not happen within 20 seconds")
