"""Where and when trainings run: prefect.yaml, and whether a Prefect server is used."""

from pathlib import Path

import pytest
import yaml

from bike_demand.schedule import content, main
from bike_demand.settings import Flow, load_settings
from tests.conftest import ROOT

SETTINGS = load_settings(ROOT / "params.yaml").flow


def deployment(settings: Flow) -> dict[str, object]:
    (only,) = yaml.safe_load(content(settings))["deployments"]
    return dict(only)


def test_prefect_yaml_is_up_to_date() -> None:
    assert (ROOT / "prefect.yaml").read_text(encoding="utf-8") == content(SETTINGS), (
        "run `python -m bike_demand.schedule`"
    )


def test_the_schedule_and_the_work_pool_are_those_of_the_settings(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8").replace('"0 5 1 * *"', '"30 2 * * 1"')
    params.write_text(text.replace("work_pool: training", "work_pool: nights"), encoding="utf-8")
    assert main() == 0
    assert capsys.readouterr().err == ""
    written = yaml.safe_load((project / "prefect.yaml").read_text(encoding="utf-8"))
    (made,) = written["deployments"]
    assert made["schedules"] == [{"cron": "30 2 * * 1", "timezone": "UTC"}]
    assert made["work_pool"] == {"name": "nights"}


def test_a_container_has_an_image_and_a_folder_to_work_in() -> None:
    made = deployment(SETTINGS.model_copy(update={"work_pool_type": "kubernetes"}))
    assert made["work_pool"] == {
        "name": "training",
        "job_variables": {"image": "bike-demand-training"},
    }
    assert made["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]


def test_the_entry_point_of_the_schedule_is_the_flow() -> None:
    path, _, name = str(deployment(SETTINGS)["entrypoint"]).partition(":")
    assert f'@flow(name="train")\ndef {name}(' in (ROOT / path).read_text(encoding="utf-8")


def test_outside_a_project_it_is_said_where_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main() == 1
    assert "run this in the project's folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
