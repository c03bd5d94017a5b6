"""The settings, and how mistakes in them are reported."""

from pathlib import Path

import pytest

from bike_demand.core.errors import UserError
from bike_demand.core.settings import Settings, load_settings
from tests.conftest import Run


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("min_rows: 500", "min_rows: many", "training.min_rows"),
        ("half_life_days: ", "half_life_days: -", "training.half_life_days"),
        ("half_life_days", "halflife", "training.halflife"),
        ("params: {}", "params: {month: true}", "training.params.month"),
        ('"2011-01"', '"2011-13"', "first_month"),
        ('"2011-01"', "2011-13-01", "month must be in"),
        ("tracking:", "tracking: sqlite:///mlflow.db\nunknown:", "tracking"),
        ("port: 8000", "port: 80000", "serving.port"),
        ("training:", "training: [", "not YAML"),
        ("feed: feed/", "feed:", "feed"),
        ("training:", "training: 7\nunknown:", "training"),
        ("port: 8000", "port: 8000\n  port: 9000", "port is given twice"),
        ("feed: feed/", "feed: feed/\nfeed: elsewhere/", "feed is given twice"),
        ("  port: 8000", "\tport: 8000", "with spaces, not tabs"),
        ("training:", "7: 8\ntraining:", "7"),
        ("share: 0.15", "share: 2", "quality.gaps.share"),
        ("clock: feed", "clock: moon", "clock"),
        ("train: {alias: trained", "train: {alias: champion", "champion: aliases must differ"),
        ("test: {alias: candidate", "test: {alias: challenger", "challenger: aliases must differ"),
        (
            "production: {alias: champion",
            "production: {alias: live",
            "the alias of production must be champion",
        ),
        ("state/test.db", "state/production.db", "test and production have the same database"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    project: Path, run: Run, old: str, new: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old == "tracking:":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///state/mlflow.db")
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert old in text
    params.write_text(text.replace(old, new, 1), encoding="utf-8")
    output = run("ingest").refusal()
    assert "params.yaml" in output
    assert named in output


def test_the_file_is_utf8_and_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    text = "feed: größe/\n"
    file.write_text(text, encoding="utf-8-sig")
    assert load_settings(file).feed == "größe/"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="UTF-8"):
        load_settings(file)


def test_missing_params_yaml_is_reported(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "run this in the project's folder" in run("ingest").refusal()


def test_the_environment_overrides_the_feed_at_each_call(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "feed").rename(project / "elsewhere")
    assert "no such folder" in run("ingest").refusal()
    monkeypatch.setenv("BIKE_FEED", str(project / "elsewhere"))
    assert run("ingest").status == 0


def test_missing_keys_use_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("serving: {port: 9000}\n", encoding="utf-8")
    settings = load_settings(tmp_path / "params.yaml")
    assert settings.serving.port == 9000
    assert settings.training == Settings().training


def test_an_environment_variable_overrides_a_key_of_a_section(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project
    monkeypatch.setenv("BIKE_SERVING__PORT", "8123")
    assert load_settings().serving == Settings().serving.model_copy(update={"port": 8123})
    monkeypatch.setenv("BIKE_SERVING__PORT", "eighty")
    assert "BIKE_SERVING__PORT" in run("ingest").refusal()
    monkeypatch.setenv("BIKE_SERVING", "{")
    assert "serving" in run("ingest").refusal()
