"""Level 1, DevOps but no MLOps: what the application has, and what goes wrong with its models."""

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import onnx
import pandas as pd
import pytest
import yaml
from onnx import helper, numpy_helper

from ladder import UserError
from ladder.levels import level
from ladder.runbook import Runbook, load, load_people, plan
from ladder.service import Service
from ladder.steps import environment, run_command, run_step
from ladder.users import as_bodies
from ladder.world.feedfile import INPUTS, write_feed
from tests.maturity.conftest import (
    OLD,
    RELEASED,
    Release,
    Trial,
    before,
    between,
    copied,
    edit,
    error,
    git,
    in_fahrenheit,
    same_rows,
    seal,
    step,
    tree,
)

pytestmark = [pytest.mark.xdist_group("level1"), pytest.mark.slow]

PYTEST = "python -m pytest -q -p no:cacheprovider"
MAE = re.compile(r"Holdout error: ([\d.]+) bikes an hour")
TESTS_FAILED = r"status 1: \d+ failed"


def workflow(folder: Path) -> dict[str, Any]:
    """The one workflow of the project, with its triggers under `on` (YAML reads a bare `on` as true)."""
    (path,) = (folder / ".github" / "workflows").iterdir()
    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in read.items()}


def runs(job: dict[str, Any]) -> list[str]:
    """What the steps of a job type, line by line."""
    return [line.strip() for each in job["steps"] for line in each.get("run", "").splitlines()]


def image(folder: Path, target: Path) -> Path:
    """The files that the Dockerfile puts into the image, in a folder of their own."""
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8")
    last = dockerfile[dockerfile.rindex("\nFROM ") :]
    taken = re.findall(r"(?m)^COPY (?!--)(\S+) \./\S*$", last)
    let_through = (folder / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert let_through[0] == "*"
    for name in taken:
        assert f"!{name}" in let_through
        if (folder / name).is_dir():
            copied(folder / name, target / name)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, target)
    return target


def served_predictions(service: Service, rows: pd.DataFrame) -> pd.Series:
    """What the service answers to these rows, in one request. Fails where it refuses."""
    response = httpx.post(f"{service.url}/predict", json=as_bodies(rows[INPUTS]), timeout=30)
    assert response.status_code == 200, response.text
    return pd.Series([each["prediction"] for each in response.json()], dtype=float)


def predict(folder: Path, rows: pd.DataFrame) -> pd.Series:
    """What the batch command of a project answers to these rows."""
    rows.to_csv(folder / "rows.csv", index=False, date_format="%Y-%m-%dT%H:%M:%S", lineterminator="\n")
    run_command("python -m bike_demand predict rows.csv predictions.csv", folder)
    return pd.read_csv(folder / "predictions.csv")["prediction"].astype(float)


def failing(folder: Path, *tests: str) -> set[str]:
    """The names of those of the level's own tests that fail in a project. Fails where none of them passes."""
    with contextlib.suppress(UserError):  # it fails on purpose; the report says in what
        run_command(" ".join([PYTEST, "--junitxml=report.xml", *tests]), folder)
    cases = list(ElementTree.parse(folder / "report.xml").iter("testcase"))
    failed = {str(case.get("name")) for case in cases if case.find("failure") is not None}
    assert not [case for case in cases if case.find("error") is not None]
    assert len(cases) > len(failed)
    return failed


def words(folder: Path) -> bytes:
    """All bytes of a hand-off."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.mark.maturity("L1-H1")
def test_a_release_takes_fewer_days_and_hands_than_before_but_a_data_scientist_begins_each(
    release: Release, clean: pd.DataFrame, tmp_path: Path
) -> None:
    people = load_people().levels
    before_devops = load(level(0).folder)

    def effort(book: Runbook, number: int) -> tuple[int, int, int]:
        days = sum(each.days for each in people[number].days.values())
        handed = sum(each.gives_to is not None for each in book.release)
        return days, sum(each.by_hand for each in book.release), handed

    for less, more in zip(effort(release.book, 1), effort(before_devops, 0), strict=True):
        assert less < more
    assert not any(each.by_hand for each in (*release.book.daily, *release.book.predict))
    done = list(plan(level(1), people[1], release.book, date(2011, 7, 1), date(2012, 12, 31)))
    trained = [each.who for _, _, each in done if each.id == "train"]
    assert trained == ["data scientist"] * 7  # one for each release in a year and a half
    # Left to the machine, data arrive and no model follows.
    folder = release.copied(tmp_path / "project")
    models = {name: tree(folder / "state" / name) for name in ("handoff", "model")}
    write_feed(before(clean, "2011-12-01"), folder / "feed")
    for each in release.book.daily:
        run_step(each, folder, run_command)
    assert (folder / "state" / "data" / "2011-11.parquet").exists()
    assert {name: tree(folder / "state" / name) for name in models} == models


@pytest.mark.maturity("L1-H2")
def test_a_week_in_fahrenheit_gets_wild_answers_and_production_says_nothing_of_it(
    release: Release, clean: pd.DataFrame
) -> None:
    week = between(clean, "2011-12-05", "2011-12-12")
    earlier = tree(release.folder)
    right, wrong = (
        served_predictions(release.service, week),
        served_predictions(release.service, in_fahrenheit(week)),
    )
    assert error(wrong, week) > 1.2 * error(right, week)
    assert (wrong / right).max() > 2
    assert tree(release.folder) == earlier  # not even a log line
    for path in ("/metrics", "/outcomes"):
        assert httpx.get(release.service.url + path).status_code == 404
    outcome = {"timestamp": "2011-12-05T08:00:00", "count": 300}
    assert httpx.post(f"{release.service.url}/outcomes", json=[outcome]).status_code == 404


@pytest.mark.maturity("L1-H3")
def test_once_the_operator_corrects_a_day_the_model_that_is_live_cannot_be_made_again(
    release: Release, trial: Trial, clean: pd.DataFrame, tmp_path: Path
) -> None:
    folder = copied(trial.folder, tmp_path / "project")
    corrected = before(clean, RELEASED)
    day = corrected["timestamp"].between("2011-02-14", "2011-02-14T23:00:00")
    for column in ("registered", "count"):
        corrected[column] += day.astype(int) * 5
    write_feed(corrected, folder / "feed")
    run_step(step(release.book, "ingest"), folder, run_command)
    run_command(f"{step(release.book, 'train').command} --as-of {OLD}", folder)
    assert tree(folder / "state" / "handoff") != tree(trial.folder / "state" / "handoff")
    kept = [path.parent.name for path in folder.rglob("2011-02.*")]
    assert sorted(kept) == ["data", "feed"]  # the feed and what was ingested of it: the day as it was is gone
    # Nor does anything say what the live model was made of, but for the few rows that it is tried with.
    manifest = httpx.get(f"{release.service.url}/model").json()
    assert manifest.keys() == {"name", "version", "inputs", "output"}
    reported = words(release.folder / "state" / "model")
    for trace in (git(release.folder, "rev-parse", "HEAD").strip(), "learning_rate"):
        assert trace.encode() not in reported
    golden = json.loads((release.folder / "state" / "model" / "golden.json").read_text(encoding="utf-8"))
    assert 20 * len(golden) < len(before(clean, RELEASED))


@pytest.mark.maturity("L1-T1")
def test_every_push_is_linted_tested_and_built_into_an_image_that_starts(
    release: Release, tmp_path: Path
) -> None:
    flow = workflow(release.folder)
    assert set(flow["on"]) == {"pull_request", "push"}
    assert "main" in flow["on"]["push"]["branches"]
    jobs = flow["jobs"]
    for name in ("lint", "test"):
        assert "if" not in jobs[name]
    builds = [job for job in jobs.values() if any(line.startswith("docker build") for line in runs(job))]
    conditions = {job["if"].strip("${} ") for job in builds}
    assert conditions == {"!startsWith(github.ref, 'refs/tags/')", "startsWith(github.ref, 'refs/tags/v')"}
    # What of it runs without Docker: the linter stops bad code, and the image's files make a service.
    folder = release.copied(tmp_path / "project")
    lint = [line for line in runs(jobs["lint"]) if line.startswith("ruff ")]
    assert len(lint) == 2
    for line in lint:
        run_command(line, folder)
    with (folder / "bike_demand" / "handoff.py").open("a", encoding="utf-8") as file:
        file.write("import   os\n")
    for line in lint:
        with pytest.raises(UserError, match="status 1"):
            run_command(line, folder)
    built = image(release.folder, tmp_path / "image")
    with Service(built, tmp_path / "service.log", env=environment()) as service:
        service.start()
        assert httpx.get(f"{service.url}/live").status_code == 200


@pytest.mark.maturity("L1-T2")
def test_the_applications_tests_turn_red_when_its_validation_is_taken_out(
    release: Release, tmp_path: Path
) -> None:
    (line,) = (line for line in runs(workflow(release.folder)["jobs"]["test"]) if "pytest" in line)
    assert line.startswith("python -m pytest")
    folder = release.copied(tmp_path / "project")
    inputs = folder / "bike_demand" / "core" / "current.py"
    edit(inputs, 'strict=True, extra="forbid", ', "")
    red = failing(folder, "tests/test_app.py")
    assert red
    assert all(
        re.match(r"test_a_bad_value_is_rejected|test_error_location_includes_row_index", name) for name in red
    )


@pytest.mark.maturity("L1-T3")
def test_a_fresh_clone_has_all_that_the_application_and_its_pipeline_are_made_of(
    release: Release, tmp_path: Path
) -> None:
    assert git(release.folder, "status", "--porcelain", "--", "bike_demand", "tests", "Dockerfile") == ""
    git(tmp_path, "clone", "--quiet", str(release.folder), "clone")
    clone = tmp_path / "clone"
    kept = set(git(release.folder, "ls-files").split("\n"))
    assert {"Dockerfile", "requirements.lock", ".github/workflows/application.yml"} <= kept
    # What scores is kept next to what trains.
    assert {"bike_demand/serving/app.py", "bike_demand/training/train.py"} <= kept
    assert "ingest" in run_command("python -m bike_demand --help", clone)
    # A model is none of it: that comes as a folder, from somebody.
    assert not [name for name in kept if name.endswith(".onnx")]


@pytest.mark.maturity("L1-P1")
def test_each_file_belongs_to_one_team_and_a_model_passes_from_one_to_the_next_as_a_folder(
    release: Release,
) -> None:
    lines = (release.folder / ".github" / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert all(len(rule) == 2 for rule in rules)  # no path has two teams

    def owner(path: str) -> str:
        fits = [
            team
            for pattern, team in rules
            if pattern == "*"
            or path == pattern.lstrip("/")
            or (pattern.endswith("/") and path.startswith(pattern.lstrip("/")))
        ]
        return fits[-1]  # as GitHub does, the last one that fits

    owners = {path: owner(path) for path in git(release.folder, "ls-files").splitlines()}
    teams = {
        "data/": "@data-engineers",
        "problem/": "@data-scientists",
        "training/": "@data-scientists",
        "serving/": "@software-engineers",
    }
    for part, team in teams.items():
        inside = [of for path, of in owners.items() if path.startswith(f"bike_demand/{part}")]
        assert len(inside) > 2
        assert set(inside) == {team}
    assert set(owners.values()) == set(teams.values())
    # The release: one hand-over, before and after which each side works alone; git knows nothing of it.
    roles = [each.who for each in release.book.release]
    (given,) = (number for number, each in enumerate(release.book.release) if each.gives_to is not None)
    assert set(roles[: given + 1]) == {"data scientist"}
    assert set(roles[given + 1 :]) == {"software engineer"}
    assert git(release.folder, "ls-files", "state") == git(release.folder, "status", "--porcelain") == ""
    assert tree(release.folder / "state" / "model")


@pytest.mark.maturity("L1-C1")
def test_every_morning_the_machine_ingests_the_month_that_grew_and_reads_no_other(
    release: Release, clean: pd.DataFrame, tmp_path: Path
) -> None:
    folder = release.copied(tmp_path / "project")
    ingestion = step(release.book, "ingest")
    assert ingestion.who == "machine"
    assert ingestion in release.book.daily
    feed, data = folder / "feed", folder / "state" / "data"
    run_step(ingestion, folder, run_command)  # the copy's feed is another place
    grown = {"2011-10.parquet", "sources.json"}
    january = (feed / "2011-01.csv").stat()
    # Unreadable, but its size and time are unchanged: reading it again would fail.
    (feed / "2011-01.csv").write_bytes(b"?" * january.st_size)
    os.utime(feed / "2011-01.csv", ns=(january.st_atime_ns, january.st_mtime_ns))
    for day in ("2011-10-11", "2011-10-12"):
        write_feed(between(clean, "2011-10-01", day), tmp_path / "published")
        shutil.copy2(tmp_path / "published" / "2011-10.csv", feed)
        earlier = tree(data)
        run_step(ingestion, folder, run_command)
        later = tree(data)
        assert {name for name in later if later[name] != earlier.get(name)} == grown
        same_rows(pd.read_parquet(data / "2011-10.parquet"), between(clean, "2011-10-01", day))


@pytest.mark.maturity("L1-C2")
def test_the_services_environment_is_managed_and_that_of_the_training_is_whatever_its_author_has(
    release: Release,
) -> None:
    lock = (release.folder / "requirements.lock").read_text(encoding="utf-8")
    entries = re.findall(r"(?m)^(\S+)((?: ;.*)? \\\n(?:    --hash=sha256:[0-9a-f]{64}.*\n?)+)?", lock)
    packages = [(name, hashes) for name, hashes in entries if not name.startswith("#")]
    assert len(packages) > 50
    assert all(re.fullmatch(r"[\w.\[\]-]+==\S+", name) and hashes for name, hashes in packages)
    dockerfile = (release.folder / "Dockerfile").read_text(encoding="utf-8")
    assert "requirements.lock" in dockerfile
    assert re.search(r"(?m)^USER (?!root|0\b)", dockerfile)
    needs = tomllib.loads((release.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    trains = re.compile(r"scikit-learn|skl2onnx")
    assert any(trains.match(each) for each in needs["optional-dependencies"]["training"])
    assert not any(trains.match(each) for each in needs["dependencies"])
    # Nothing but a person starts a training, and the result does not show where that was.
    flow = workflow(release.folder)
    assert not [line for job in flow["jobs"].values() for line in runs(job) if "bike_demand train" in line]
    assert step(release.book, "train").who == "data scientist"
    reported = words(release.folder / "state" / "handoff")
    (locked,) = re.findall(r"(?m)^scikit-learn==(\S+)", lock)
    for trace in (locked, platform.python_version(), str(release.folder)):
        assert trace.encode() not in reported


@pytest.mark.maturity("L1-C3")
def test_a_second_experiment_overwrites_the_first_and_no_file_holds_what_they_came_to(
    release: Release, trial: Trial
) -> None:
    first, second = tree(release.folder), tree(trial.folder)
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} == {
        "params.yaml",
        "state/handoff/SHA256SUMS",
        "state/handoff/golden.json",
        "state/handoff/model.json",
        "state/handoff/model.onnx",
    }
    for folder, output in ((release.folder, release.output["train"]), (trial.folder, trial.output)):
        (mae,) = MAE.findall(output)
        assert mae not in (folder / "state" / "handoff" / "model.json").read_text(encoding="utf-8")
        assert b"max_leaf_nodes" not in words(folder / "state" / "handoff")
    assert git(trial.folder, "rev-list", "--count", "HEAD").strip() == "1"  # the setting was never committed
    assert git(trial.folder, "status", "--porcelain").split() == ["M", "params.yaml"]


@pytest.mark.maturity("L1-C4")
def test_a_trained_model_is_a_file_that_goes_nowhere_until_a_person_hands_it_over(
    release: Release, october: pd.DataFrame, tmp_path: Path
) -> None:
    folder = release.copied(tmp_path / "project")
    papers = {"model.json", "golden.json", "SHA256SUMS"}
    assert set(tree(folder / "state" / "handoff")) == papers | {"model.onnx"}
    shutil.rmtree(folder / "state" / "model")
    with pytest.raises(UserError, match=r"no model yet: copy state/handoff"):
        predict(folder, october)
    given = step(release.book, "hand-over")
    assert given.by_hand
    assert given.command is None
    assert (given.who, given.gives_to) == ("data scientist", "software engineer")
    run_step(given, folder, run_command)
    assert len(predict(folder, october)) == len(october)


@pytest.mark.maturity("L1-R1")
def test_a_new_model_is_not_served_until_a_person_restarts_the_service(
    release: Release, trial: Trial, tmp_path: Path
) -> None:
    folder = copied(trial.folder, tmp_path / "project")
    assert all(each.by_hand for each in release.book.release)
    with Service(folder, folder / "state" / "service.log", env=environment()) as service:
        service.start()

        def version() -> str:
            return str(httpx.get(f"{service.url}/model").json()["version"])

        assert version() == release.version
        run_step(step(release.book, "hand-over"), folder, run_command, service)
        assert tree(folder / "state" / "model") == tree(trial.folder / "state" / "handoff")
        assert version() == release.version  # still the old one, and nothing will change that
        run_step(step(release.book, "restart"), folder, run_command, service)
        assert version() != release.version
        assert version() in trial.output


@pytest.mark.maturity("L1-R2")
def test_the_scoring_script_is_under_version_control_and_answers_like_the_service(
    release: Release, october: pd.DataFrame, tmp_path: Path
) -> None:
    folder = release.copied(tmp_path / "project")
    rows = october.assign(humidity=october["humidity"].mask(october.index % 10 == 0))
    assert predict(folder, rows).equals(served_predictions(release.service, rows))
    script = "bike_demand/batch.py"
    assert git(folder, "log", "--format=%H", "--", script).split()
    assert git(folder, "status", "--porcelain", script) == ""
    edit(folder / script, "input_columns(rows))", "input_columns(rows[::-1]))")
    assert git(folder, "status", "--porcelain", script).split() == ["M", script]  # no change goes unseen


@pytest.mark.maturity("L1-R3")
def test_engineers_get_a_folder_that_is_checked_and_a_damaged_one_does_not_start(
    release: Release, tmp_path: Path
) -> None:
    book = release.book
    names = [each.id for each in book.release]
    given = names.index("hand-over")
    assert book.release[given].gives_to == "software engineer"
    assert {each.who for each in book.release[given + 1 :]} == {"software engineer"}
    assert release.version in release.output["train"]  # what was handed over is what answers
    folder = release.copied(tmp_path / "project")
    model = folder / "state" / "model" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.onnx: .* \(damaged or edited\); copy the hand-off again"):
        run_command("python -m bike_demand serve --port 0", folder)


def with_mixed_up_columns(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["mixed_up" if name == "features" else name for name in node.input]
    model.graph.initializer.append(
        numpy_helper.from_array(pd.array(range(8, -1, -1)).to_numpy("int64"), "order")
    )
    model.graph.node.insert(0, helper.make_node("Gather", ["features", "order"], ["mixed_up"], axis=1))


def without_the_exponential(model: onnx.ModelProto) -> None:
    (last,) = (node for node in model.graph.node if node.op_type == "Exp")
    last.op_type = "Identity"  # what skl2onnx makes of Poisson loss when nobody looks


@pytest.mark.maturity("L1-A1")
@pytest.mark.parametrize("spoil", [with_mixed_up_columns, without_the_exponential])
def test_integration_tests_pass_the_released_model_and_stop_one_that_only_looks_whole(
    release: Release, tmp_path: Path, spoil: Callable[[onnx.ModelProto], None]
) -> None:
    assert " passed" in release.output["integrate"]
    folder = release.copied(tmp_path / "project")
    model = onnx.load(folder / "state" / "model" / "model.onnx")
    spoil(model)
    seal(folder / "state" / "model", model.SerializeToString())
    with pytest.raises(UserError, match=TESTS_FAILED):
        run_step(step(release.book, "integrate"), folder, run_command)


@pytest.mark.maturity("L1-A2")
def test_a_model_of_stale_data_passes_all_that_engineers_can_check(
    release: Release, trial: Trial, october: pd.DataFrame, tmp_path: Path
) -> None:
    folder = copied(trial.folder, tmp_path / "project")
    run_step(step(release.book, "hand-over"), folder, run_command)
    assert " passed" in run_step(step(release.book, "integrate"), folder, run_command)
    assert error(predict(folder, october), october) > 2 * error(
        served_predictions(release.service, october), october
    )
    # On the data scientist's screen it even looks better: of its few days in winter it is right.
    (stale,), (fresh,) = MAE.findall(trial.output), MAE.findall(release.output["train"])
    assert float(stale) < float(fresh)
    assert step(release.book, "judge").who == "data scientist"
    assert step(release.book, "judge").command is None


@pytest.mark.maturity("L1-A3")
def test_a_tag_releases_the_application_without_a_person_and_without_a_model(
    release: Release, tmp_path: Path
) -> None:
    flow = workflow(release.folder)
    assert flow["on"]["push"]["tags"] == ["v*"]
    pushes = {name: job for name, job in flow["jobs"].items() if any("docker push" in x for x in runs(job))}
    ((_, job),) = pushes.items()
    assert job["if"].strip("${} ") == "startsWith(github.ref, 'refs/tags/v')"
    assert {"lint", "test"} <= set(job["needs"])
    assert "environment" not in job  # nobody approves it
    assert not any("docker" in (each.command or "") for each in release.book.release)
    assert not [x for each in flow["jobs"].values() for x in runs(each) if re.search(r"state/|\btrain\b", x)]
    built = image(release.folder, tmp_path / "image")
    assert not list(built.rglob("model.onnx"))
    with pytest.raises(UserError, match="no model yet"):
        run_command("python -m bike_demand predict params.yaml predictions.csv", built)


@pytest.mark.maturity("L1-A3")
@pytest.mark.skipif(shutil.which("bash") is None, reason="the workflow's steps are written for bash")
@pytest.mark.parametrize(("tag", "status"), [("v{version}", 0), ("v{version}1", 1)])
def test_a_tag_that_is_not_the_version_releases_nothing(release: Release, tag: str, status: int) -> None:
    jobs = workflow(release.folder)["jobs"].values()
    (check,) = (line for job in jobs for line in runs(job) if line.startswith("grep "))
    pyproject = tomllib.loads((release.folder / "pyproject.toml").read_text(encoding="utf-8"))
    env = os.environ | {"GITHUB_REF_NAME": tag.format(version=pyproject["project"]["version"])}
    done = subprocess.run(
        ["bash", "-c", check], cwd=release.folder, env=env, check=False, capture_output=True
    )
    assert done.returncode == status


@pytest.mark.maturity("L1-A4")
def test_unit_tests_turn_red_when_a_feature_is_shifted(release: Release, tmp_path: Path) -> None:
    folder = release.copied(tmp_path / "project")
    features = folder / "bike_demand" / "problem" / "features.py"
    edit(features, "(hours // 24 + 3) % 7", "(hours // 24 + 3) % 7 + 1")
    red = failing(folder, "tests/problem/test_bikes.py", "tests/test_schema.py")
    own = (folder / "tests" / "problem" / "test_bikes.py").read_text(encoding="utf-8")
    assert red
    assert all(f"def {name.partition('[')[0]}(" in own for name in red)
