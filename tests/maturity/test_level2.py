"""Level 2, automated training: any model can be made again, training needs nobody, a release one command."""

import ast
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import onnx
import pandas as pd
import pytest
import tenacity
import yaml
from filelock import FileLock

from ladder import UserError, workcopy
from ladder.levels import level
from ladder.runbook import Runbook, load, load_people
from ladder.service import Service
from ladder.steps import environment, run_command, run_step
from ladder.world.feedfile import write_feed
from tests.maturity.conftest import (
    before,
    between,
    copied,
    edit,
    error,
    git,
    in_fahrenheit,
    ingested,
    same_rows,
    seal,
    tree,
)
from tests.maturity.level2 import (
    OFF_BY_ONE,
    Prefect,
    Store,
    apart,
    by_hand,
    commit,
    crons,
    handoff,
    learning_rate,
    mixed_up,
    owners,
    prefect,
    restored,
    rules,
    stage_outs,
    stored,
    training,
)
from tests.maturity.test_level1 import failing, predict, runs, served_predictions, without_the_exponential

# What it does is tested in its own folder, too; the proofs take minutes, so they come with --all.
pytestmark = [pytest.mark.xdist_group("level2"), pytest.mark.slow]

FIRST = "2011-09-01"  # the first training knows the labels before this day
SECOND = "2011-10-01"  # the second one, those before this one
REASON = "the winter will show"
SHOWN = re.compile(r"version (\d+) +(candidate|live) +([\d.]+)")
DATA_TEAMS = {"@data-scientists", "@data-engineers"}


@dataclass(frozen=True)
class Practice:
    """Level 2 as it is worked: a project whose model is live, and a colleague's clone with an experiment.

    Both have the project's store. In the clone the feed was first wrong, then corrected.
    """

    folder: Path
    colleague: Path
    service: Service
    book: Runbook
    output: dict[str, str]  # what each step of the runbook printed, by its id
    answers: dict[str, str | None]  # which version the service answered with, after what
    code: tuple[str, str]  # the commits that the two versions were trained by
    untouched: bool  # by a second run with nothing changed
    refusal: str  # of the training on wrong data
    report: list[dict[str, Any]]  # which that training left
    left: set[str]  # what else there was in its state, and which versions were registered

    def store(self) -> Store:
        return Store(self.folder)

    def apart(self, target: Path) -> Path:
        """A copy of the project to break things in."""
        return apart(self.folder, target)


def answering(service: Service) -> str | None:
    """The version that the service answers with; None where it has none."""
    response = httpx.get(f"{service.url}/model")
    return str(response.json()["version"]) if response.status_code == 200 else None


def taken(service: Service, version: str) -> str | None:
    """Wait until the service answers with a version; the version."""
    for attempt in tenacity.Retrying(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1)):
        with attempt:
            assert answering(service) == version
    return answering(service)


@pytest.fixture(scope="module")
def practice(clean: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """Two trainings and one release by the runbook. Look at all of it, and change nothing."""
    place = tmp_path_factory.mktemp("level2")
    folder, colleague = workcopy.make(level(2), place / "project"), place / "colleague"
    edit(folder / "params.yaml", "api: http://127.0.0.1:4200/api", 'api: ""')
    code = commit(folder, "No server that happens to run on this machine takes part")
    write_feed(before(clean, FIRST), folder / "feed")
    book = load(folder)
    train = training(book)
    with Service(folder, place / "service.log", env=environment()) as service:
        service.start()
        answers = {"the start": answering(service)}
        output = {train.id: run_step(train, folder, run_command, service)}
        answers["the training"] = answering(service)
        earlier = (tree(folder / "state" / "run"), len(Store(folder).runs()), len(Store(folder).versions()))
        output["again"] = run_step(train, folder, run_command, service)
        later = (tree(folder / "state" / "run"), len(Store(folder).runs()), len(Store(folder).versions()))
        put_live = by_hand(book)[-1]  # the look before it would show the same
        output[put_live.id] = run_step(put_live, folder, run_command, service)
        answers["the release"] = taken(service, "1")

        clone = ["git", "clone", "--quiet", "--config", "core.autocrlf=false"]
        subprocess.run([*clone, str(folder), str(colleague)], check=True)
        edit(colleague / "params.yaml", "params: {}", "params: {learning_rate: 0.02}")
        commit(colleague, "Try to learn more slowly")
        # What was tried is merged, the feed moves on.
        git(folder, "pull", "--quiet", "--ff-only", str(colleague), "main")
        write_feed(before(clean, SECOND), folder / "feed")
        run_command("python -m bike_demand ingest", folder)

        uri = f"sqlite:///{(folder / 'state' / 'mlflow.db').as_posix()}"
        edit(colleague / "params.yaml", "sqlite:///state/mlflow.db", uri)
        experiment = commit(colleague, "Use the store of the team")
        september = between(clean, FIRST, SECOND)
        known = before(clean, FIRST)
        wrong = pd.concat([known, september.assign(**in_fahrenheit(september))], ignore_index=True)
        write_feed(wrong, colleague / "feed")
        with pytest.raises(UserError) as refused:
            run_step(train, colleague, run_command)
        state = colleague / "state"
        report = json.loads((state / "reports" / "validation.json").read_text(encoding="utf-8"))
        left = {path.name for path in (state / "run").glob("*")}
        left |= {f"version {each.version}" for each in Store(folder).versions()}
        answers["the training on wrong data"] = answering(service)

        # Corrected. January is unreadable, but looks unchanged: reading it again would fail.
        write_feed(before(clean, SECOND), colleague / "feed")
        january = colleague / "feed" / "2011-01.csv"
        then = january.stat()
        january.write_bytes(b"?" * then.st_size)
        os.utime(january, ns=(then.st_atime_ns, then.st_mtime_ns))
        output["experiment"] = run_step(train, colleague, run_command)
        answers["the experiment"] = answering(service)
        yield Practice(
            folder,
            colleague,
            service,
            book,
            output,
            answers,
            (code, experiment),
            earlier == later,
            str(refused.value),
            report,
            left,
        )


@dataclass(frozen=True)
class Overruled:
    """A copy in which the worse experiment was refused, released for a reason, and rolled back."""

    folder: Path
    refusal: str
    live: tuple[str | None, ...]  # after each of these
    output: str


@pytest.fixture(scope="module")
def overruled(practice: Practice, tmp_path_factory: pytest.TempPathFactory) -> Overruled:
    folder = practice.apart(tmp_path_factory.mktemp("overruled") / "project")
    look, *_, put_live = by_hand(practice.book)
    live = []
    with pytest.raises(UserError) as refused:
        run_step(look, folder, run_command)
    live.append(Store(folder).champion())
    output = run_command(f'{put_live.command} --override "{REASON}"', folder)
    live.append(Store(folder).champion())
    run_command("python -m bike_demand release --back", folder)
    live.append(Store(folder).champion())
    return Overruled(folder, str(refused.value), tuple(live), output)


def workflow(folder: Path, name: str) -> dict[str, Any]:
    """A workflow of the project, with its triggers under `on` (YAML reads a bare `on` as true)."""
    path = folder / ".github" / "workflows" / f"{name}.yml"
    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in read.items()}


def own_tests_run(folder: Path) -> bool:
    """Whether all of the project's own tests run on every change."""
    flow = workflow(folder, "application")
    return "pull_request" in flow["on"] and any(
        re.fullmatch(r"python -m pytest( -n \d+)?", line) for line in runs(flow["jobs"]["test"])
    )


# ---- highlights


@pytest.mark.maturity("L2-H1")
def test_a_run_names_the_code_the_data_and_the_environment_that_it_is_made_of(practice: Practice) -> None:
    store = practice.store()
    for version, code in zip(store.versions(), practice.code, strict=True):
        run = store.run(version.run_id)
        assert run.data.tags["git.commit"] == code
        assert run.data.tags["git.uncommitted"] == "false"
        lock = store.artifact(version.run_id, "dvc.lock")
        (data,) = stage_outs(lock, "ingest").values()
        (given,) = run.inputs.dataset_inputs
        assert given.dataset.digest in (data, data.removesuffix(".dir"))
        trained = yaml.safe_load(lock)["stages"]["train"]
        named = {each["path"]: each["md5"] for each in trained["deps"]}
        packages = store.artifact(version.run_id, "requirements.lock")
        assert named["requirements.lock"] == hashlib.md5(packages, usedforsecurity=False).hexdigest()
        assert packages.decode() == git(practice.colleague, "show", f"{code}:requirements.lock")
        for package in ("scikit-learn", "numpy", "skl2onnx"):
            assert re.search(rf"(?m)^{package}==\S+.*\\\n    --hash=sha256:", packages.decode())
    # Where the schedule is GitHub's, nothing but what is locked gets installed before a training.
    (job,) = workflow(practice.folder, "training")["jobs"].values()
    (install,) = (line for line in runs(job) if "pip install" in line)
    assert "--require-hashes --requirement requirements.lock" in install


@pytest.mark.maturity("L2-H2")
def test_an_old_model_is_made_again_bit_for_bit_though_code_and_feed_moved_on(
    practice: Practice, clean: pd.DataFrame, tmp_path: Path
) -> None:
    folder = practice.apart(tmp_path / "project")
    assert "params: {learning_rate: 0.02}" in (folder / "params.yaml").read_text(encoding="utf-8")
    assert (folder / "state" / "data" / "2011-09.parquet").exists()
    first = Store(folder).versions()[0]
    output = run_command(f"python -m bike_demand reproduce {first.run_id}", folder)
    digest = first.tags["digest"]
    assert f"identical: model {digest}" in output
    # The model is really there, and so are its data.
    again = folder / "state" / "reproduced" / first.run_id
    model = (again / "state" / "run" / "refit" / "model.onnx").read_bytes()
    assert model == (handoff(folder, first.run_id) / "model.onnx").read_bytes()
    same_rows(ingested(again / "state" / "data"), before(clean, FIRST))


@pytest.mark.maturity("L2-H3")
def test_a_release_is_still_made_by_people_but_costs_them_one_command_and_few_days(
    practice: Practice,
) -> None:
    people, before_automation = load_people().levels, load(level(1).folder)
    steps = by_hand(practice.book)
    assert 0 < len(steps) < len(by_hand(before_automation))
    effort = [
        sum(people[number].days[step.id].days for step in load(level(number).folder).release)
        for number in (2, 1)
    ]
    assert effort[0] < effort[1]
    assert not [each for each in steps if each.copies or each.pastes or each.restarts]
    changing = [each for each in steps if each.command and "--check" not in each.command]
    assert changing == steps[-1:]
    # The service had no model, and took it without a restart.
    assert (practice.answers["the start"], practice.answers["the release"]) == (None, "1")
    assert any(each.restarts for each in before_automation.release)
    assert "mean absolute error" in practice.output[steps[-1].id]


# ---- technology


@pytest.mark.maturity("L2-T1")
def test_training_runs_from_feed_to_registered_version_without_a_person_and_only_where_there_is_news(
    practice: Practice,
) -> None:
    step = training(practice.book)
    assert step.who == "machine"
    assert "registered as version 1" in practice.output[step.id]
    assert practice.store().versions()[0].run_id in practice.output[step.id]
    assert "nothing to do" in practice.output["again"]
    assert practice.untouched
    # When: the same hours in both places that can start it.
    prefect = yaml.safe_load((practice.folder / "prefect.yaml").read_text(encoding="utf-8"))
    ((scheduled,),) = ([each["cron"] for each in d["schedules"]] for d in prefect["deployments"])
    flow = workflow(practice.folder, "training")
    assert flow["on"]["schedule"] == [{"cron": scheduled}]
    (job,) = flow["jobs"].values()
    assert [line for line in runs(job) if line.startswith(str(step.command))]
    # What Prefect starts is a flow that is there.
    path, name = prefect["deployments"][0]["entrypoint"].split(":")
    module = ast.parse((practice.folder / path).read_text(encoding="utf-8"))
    (function,) = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == name)
    assert [ast.unparse(each).startswith("flow") for each in function.decorator_list] == [True]


@pytest.mark.maturity("L2-T2")
def test_trainings_of_two_working_copies_are_found_in_one_place_by_how_good_they_are(
    practice: Practice,
) -> None:
    store = practice.store()
    best, worst = (store.run(each.run_id) for each in store.versions())
    assert (best.data.tags["git.commit"], worst.data.tags["git.commit"]) == practice.code
    assert not (practice.colleague / "state" / "mlflow.db").exists()
    assert 0 < best.data.metrics["holdout_error"] < worst.data.metrics["holdout_error"]
    between_them = (best.data.metrics["holdout_error"] + worst.data.metrics["holdout_error"]) / 2
    good = {each.info.run_id for each in store.runs(f"metrics.holdout_error < {between_them}")}
    bad = {each.info.run_id for each in store.runs(f"metrics.holdout_error > {between_them}")}
    assert best.info.run_id in good - bad
    assert worst.info.run_id in bad - good
    ranked = [each.data.metrics["holdout_error"] for each in store.runs(order="metrics.holdout_error DESC")]
    assert ranked == sorted(ranked, reverse=True)
    assert len(ranked) == len(good) + len(bad) == 4  # each with its holdout model
    assert (
        f"mean absolute error {best.data.metrics['holdout_error']:.1f} bikes an hour"
        in practice.output[training(practice.book).id]
    )


@pytest.mark.maturity("L2-T3")
def test_models_have_numbers_links_and_an_alias_that_can_be_moved_back(
    practice: Practice, overruled: Overruled
) -> None:
    store = practice.store()
    first, second = store.versions()
    assert [each.version for each in (first, second)] in (["1", "2"], [1, 2])
    for version in (first, second):
        model = store.artifact(version.run_id, "handoff/model.onnx")
        assert hashlib.sha256(model).hexdigest().startswith(version.tags["digest"])
        holdout = store.run(version.tags["holdout_run_id"])
        assert holdout.data.tags["kind"] == "holdout"
        assert holdout.data.tags["digest"] != version.tags["digest"]
    assert first.tags["data"] != second.tags["data"]
    assert ("champion" in first.aliases, "champion" in second.aliases) == (True, False)
    assert overruled.live == ("1", "2", "1")


# ---- people


@pytest.fixture(scope="module")
def served(clean: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A project whose trainings run on a Prefect server, and the flows it has there."""
    folder = workcopy.make(level(2), tmp_path_factory.mktemp("served") / "project")
    write_feed(before(clean, FIRST), folder / "feed")
    with prefect(folder) as server:
        server.deploy()
        yield server


@pytest.mark.maturity("L2-T4")
def test_the_next_trainings_stand_on_the_servers_calendar_without_anybody_asking(served: Prefect) -> None:
    (deployment,) = served.found("deployments")
    assert deployment["entrypoint"] == "bike_demand/flows.py:train"
    assert [each["active"] for each in deployment["schedules"]] == [True]
    planned = served.waited("flow_runs", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})
    assert {each["expected_start_time"][8:16] for each in planned} == {"01T05:00"}
    assert {each["deployment_id"] for each in planned} == {deployment["id"]}
    # Where there is no such server, GitHub's calendar does it, by the same command and at the same time.
    assert crons(served.project) == ["0 5 1 * *"]
    assert workflow(served.project, "training")["on"]["schedule"] == [{"cron": "0 5 1 * *"}]


@pytest.mark.maturity("L2-T6")
def test_a_program_outside_that_subscribes_learns_of_each_new_version_and_of_nothing_else(
    served: Prefect,
) -> None:
    wanted = {"event": {"name": ["bike-demand.version.registered"]}}
    assert served.found("events", filter=wanted) == []
    run_step(training(load(served.project)), served.project, run_command)
    (event,) = served.waited("events", filter=wanted)
    assert event["payload"]["version"] == "1"
    assert event["resource"]["prefect.resource.id"] == "bike-demand.version"
    # Nothing new, no event; that the flow ran, and how it ended, the server reports by itself.
    run_command("python -m bike_demand train", served.project)
    ended = {"event": {"name": ["prefect.flow-run.Completed"]}}
    for attempt in tenacity.Retrying(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.5)):
        with attempt:
            assert len(served.found("events", filter=ended)) == 2
    assert len(served.found("events", filter=wanted)) == 1


@pytest.mark.maturity("L2-T7")
def test_trainings_run_in_an_environment_that_files_define_and_a_change_of_it_is_a_reason_to_train(
    practice: Practice, tmp_path: Path
) -> None:
    image = (practice.folder / "training.Dockerfile").read_text(encoding="utf-8")
    assert "--constraints requirements.lock" in image
    assert re.search(r"(?m)^FROM python:3\.13-", image)
    folder = practice.apart(tmp_path / "project")
    status = run_command("python -m dvc status train", folder)
    assert "requirements.lock" not in status
    with (folder / "requirements.lock").open("a", encoding="utf-8") as lock:
        lock.write("# another environment\n")
    assert "requirements.lock" in run_command("python -m dvc status train", folder)


@pytest.mark.maturity("L2-P1")
def test_an_experiment_becomes_a_job_by_a_commit_to_files_that_both_data_teams_own(
    practice: Practice,
) -> None:
    owned = owners(practice.folder)
    inside = [path for path in owned if path.startswith("bike_demand/training/")]
    assert len(inside) > 5
    jobs = {*inside, "bike_demand/stages.py", "dvc.yaml", "params.yaml"}
    assert {path: owned[path] for path in jobs} == dict.fromkeys(jobs, DATA_TEAMS)
    assert all(len(teams) == 1 for _, teams in rules(level(1).folder))
    # The experiment: a line in a file of theirs, and then the command that is on the schedule.
    code, experiment = practice.code
    changed = git(practice.colleague, "diff", "--name-only", code, experiment).split()
    assert changed == ["params.yaml"]
    assert "registered as version 2" in practice.output["experiment"]
    assert practice.store().run(practice.store().versions()[1].run_id).data.params["learning_rate"] == "0.02"
    assert not [path for path in owned if path.endswith(".ipynb")]


@pytest.mark.maturity("L2-P2")
def test_what_data_engineers_change_reaches_the_models_of_data_scientists_with_the_next_run(
    practice: Practice, tmp_path: Path
) -> None:
    folder = copied(practice.colleague, tmp_path / "project")
    owned = owners(folder)
    ingestion = "bike_demand/data/table.py"
    assert owned[ingestion] == {"@data-engineers"}
    assert owned["bike_demand/problem/features.py"] == {"@data-scientists"}
    assert owned["dvc.yaml"] == DATA_TEAMS

    def outdated(stage: str) -> list[Any]:
        output = run_command(f"python -m dvc status --json {stage}", folder)
        found: dict[str, list[Any]] = json.loads(output.strip().splitlines()[-1])
        return found.get(stage, [])

    assert outdated("train") == []
    with (folder / ingestion).open("a", encoding="utf-8") as file:
        file.write("# Changed.\n")
    assert outdated("train") == [{"changed deps": {"bike_demand/data": "modified"}}]


@pytest.mark.maturity("L2-P3")
def test_engineers_own_no_file_with_the_data_teams_and_see_of_a_model_a_number_and_a_score(
    practice: Practice,
) -> None:
    owned = owners(practice.folder)
    shared = {path for path, teams in owned.items() if "@software-engineers" in teams and len(teams) > 1}
    assert shared == set()
    for part, teams in (("serving/", {"@software-engineers"}), ("release/", {"@software-engineers"})):
        inside = [of for path, of in owned.items() if path.startswith(f"bike_demand/{part}")]
        assert len(inside) > 2
        assert all(of == teams for of in inside)
    makes = [
        of for path, of in owned.items() if path.startswith(("bike_demand/training/", "bike_demand/data/"))
    ]
    assert len(makes) > 10
    assert all(of <= DATA_TEAMS for of in makes)
    # Up to some step of a release no engineer takes part, and behind it nobody else does.
    roles = [each.who == "software engineer" for each in practice.book.release]
    assert roles == sorted(roles)
    assert len(set(roles)) == 2
    reported = practice.output[by_hand(practice.book)[-1].id]
    version = practice.store().versions()[0]
    assert "version 1" in reported
    assert version.tags["holdout_error"].split(".")[0] in reported
    for trace in (
        "learning_rate",
        practice.code[0][:7],
        "commit",
        "feature",
        version.run_id[:7],
    ):
        assert trace not in reported


# ---- model creation


@pytest.mark.maturity("L2-C1")
def test_a_training_ingests_what_is_new_and_stops_before_it_learns_from_wrong_data(
    practice: Practice, clean: pd.DataFrame
) -> None:
    assert re.search(r"not fit for training: temp_c changes its unit", practice.refusal)
    september = between(clean, FIRST, SECOND)["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S").tolist()
    assert f"{september[0]} to {september[-1]}" in practice.refusal
    problem = practice.report[0]
    assert {hour for hour, _ in problem["rows"]} <= set(september)
    assert len(problem["rows"]) > 0.9 * len(september)
    assert practice.left == {"version 1"}  # no model, no metrics, nothing registered
    assert practice.answers["the training on wrong data"] == "1"
    # After the correction only September was read: January, though spoilt meanwhile, was not.
    same_rows(ingested(practice.colleague / "state" / "data"), before(clean, SECOND))
    assert (practice.colleague / "feed" / "2011-01.csv").read_bytes().startswith(b"???")
    assert "registered as version 2" in practice.output["experiment"]


@pytest.mark.maturity("L2-C2")
def test_where_and_when_trainings_run_is_a_setting_and_never_two_at_a_time(
    practice: Practice, tmp_path: Path
) -> None:
    folder = practice.apart(tmp_path / "project")
    assert crons(folder) == ["0 5 1 * *"]
    with (
        FileLock(folder / "state" / "train.lock"),
        pytest.raises(UserError, match="another training or ingestion is running"),
    ):
        run_step(training(practice.book), folder, run_command)


@pytest.mark.maturity("L2-C3")
def test_every_experiment_keeps_its_settings_metrics_and_plots(practice: Practice) -> None:
    store = practice.store()
    first, second = (store.run(each.run_id) for each in store.versions())
    differ = {name for name in first.data.params if first.data.params[name] != second.data.params[name]}
    assert differ == {"learning_rate"}
    assert len(first.data.params) > 5
    for value, run in (("0.1", first), ("0.02", second)):
        found = store.runs(f"params.learning_rate = '{value}'")
        assert {run.info.run_id, run.data.tags["holdout_run_id"]} == {each.info.run_id for each in found}
        assert {"holdout_error", "bias", "error_of_baseline"} <= set(run.data.metrics)
        plots = store.artifacts(run.info.run_id, "plots")
        assert {Path(each).stem for each in plots} >= {
            "error_by_week",
            "error_by_slice",
            "predicted_against_actual",
        }
        for plot in plots:
            assert b"<svg" in store.artifact(run.info.run_id, plot)
    # The second did not write over the first.
    assert json.loads(store.artifact(first.info.run_id, "metrics.json")) == first.data.metrics
    assert first.data.metrics != second.data.metrics


@pytest.mark.maturity("L2-C4")
def test_each_versions_data_model_and_code_are_restored_from_version_control(
    practice: Practice, clean: pd.DataFrame, tmp_path: Path
) -> None:
    store = practice.store()
    projects = (practice.folder, practice.colleague)
    for version, folder, end in zip(store.versions(), projects, (FIRST, SECOND), strict=True):
        lock = store.artifact(version.run_id, "dvc.lock")
        remote = folder / "state" / "dvc-remote"
        same_rows(restored(remote, stage_outs(lock, "ingest")["state/data"]), before(clean, end))
        entries = json.loads(stored(remote, stage_outs(lock, "train")["state/run/refit"]).read_bytes())
        (model,) = (each["md5"] for each in entries if each["relpath"] == "model.onnx")
        content = stored(remote, model).read_bytes()
        assert hashlib.sha256(content).hexdigest().startswith(version.tags["digest"])
        code = store.run(version.run_id).data.tags["git.commit"]
        rate = store.run(version.run_id).data.params["learning_rate"]
        assert learning_rate(practice.colleague, code) == rate
    # What is in no commit does not train.
    folder = practice.apart(tmp_path / "project")
    edit(folder / "params.yaml", "learning_rate: 0.02", "learning_rate: 0.05")
    with pytest.raises(UserError, match=r"uncommitted changes, .*; commit"):
        run_step(training(practice.book), folder, run_command)
    assert len(Store(folder).versions()) == 2


# ---- model release


@pytest.mark.maturity("L2-R1")
def test_no_training_puts_anything_live_only_people_do(practice: Practice) -> None:
    assert practice.answers == {
        "the start": None,
        "the training": None,
        "the release": "1",
        "the training on wrong data": "1",
        "the experiment": "1",
    }
    assert practice.store().champion() == "1"
    assert len(practice.store().versions()) == 2
    assert by_hand(practice.book)[-1] == practice.book.release[-1]
    for name in ("application", "training"):
        for job in workflow(practice.folder, name)["jobs"].values():
            typed = [line for line in runs(job) if "bike_demand release" in line]
            assert all("--check" in line for line in typed)


@pytest.mark.maturity("L2-R2")
def test_the_scoring_script_is_versioned_and_a_test_before_each_release_finds_it_off_by_one(
    practice: Practice, clean: pd.DataFrame, tmp_path: Path
) -> None:
    folder = practice.apart(tmp_path / "project")
    october = between(clean, "2011-10-01", "2011-11-01")
    rows = october.assign(humidity=october["humidity"].mask(october.index % 10 == 0))
    assert predict(folder, rows).equals(served_predictions(practice.service, rows))
    script = "bike_demand/batch.py"
    assert git(folder, "log", "--format=%H", "--", script).split()
    assert git(folder, "status", "--porcelain", script) == ""
    edit(folder / script, *OFF_BY_ONE)
    assert git(folder, "status", "--porcelain", script).split() == ["M", script]
    Store(folder).nothing_is_live()
    with pytest.raises(UserError, match="test fails: batch and service give different predictions"):
        run_command("python -m bike_demand release 1 --yes", folder)
    # The level's own tests say the same, and run before each change is merged.
    own = (folder / "tests" / "test_batch.py").read_text(encoding="utf-8")
    assert "def test_batch_predictions_match_the_service(" in own
    assert own_tests_run(folder)


@pytest.mark.maturity("L2-R3")
def test_engineers_alone_release_and_a_worse_model_goes_live_only_for_a_reason_that_is_kept(
    practice: Practice, overruled: Overruled
) -> None:
    changing = [each for each in by_hand(practice.book) if each.command and "--check" not in each.command]
    assert {each.who for each in changing} == {"software engineer"}
    assert owners(practice.folder)["bike_demand/release/gate.py"] == {"@software-engineers"}
    assert re.search(
        r"version 2 is refused: it is worse than the live version .* --override", overruled.refusal
    )
    assert overruled.live[:2] == ("1", "2")
    shown = {number: float(mae) for number, _, mae in SHOWN.findall(overruled.output)}
    assert shown.keys() == {"1", "2"}
    assert shown["2"] > 1.1 * shown["1"]
    assert "that neither holdout model was trained on" in overruled.output
    tags = Store(overruled.folder).versions()[1].tags
    kept = [value for value in tags.values() if REASON in value]
    assert len(kept) == 1
    assert "worse than the live version" in kept[0]


# ---- application integration


def spoilt(practice: Practice, target: Path, model: onnx.ModelProto) -> Path:
    """A copy in which nothing is live yet and version 1 is another model, with papers that fit it."""
    folder = practice.apart(target)
    Store(folder).nothing_is_live()
    seal(handoff(folder, Store(folder).versions()[0].run_id), model.SerializeToString())
    return folder


def first_model(practice: Practice) -> onnx.ModelProto:
    path = handoff(practice.folder, practice.store().versions()[0].run_id) / "model.onnx"
    return onnx.load(path)


@pytest.mark.maturity("L2-A1")
def test_a_release_tries_the_model_in_the_application_and_stops_one_that_only_looks_whole(
    practice: Practice, tmp_path: Path
) -> None:
    released = practice.output[by_hand(practice.book)[-1].id]
    assert re.search(r"Integration test in the application, \d+ checks: passed", released)
    model = first_model(practice)
    without_the_exponential(model)
    folder = spoilt(practice, tmp_path / "project", model)
    with pytest.raises(UserError, match="version 1 is refused: its integration test fails"):
        run_command("python -m bike_demand release 1 --yes", folder)
    assert Store(folder).champion() is None


@pytest.mark.maturity("L2-A2")
def test_a_model_that_takes_wind_for_warmth_passes_all_that_engineers_have(
    practice: Practice, clean: pd.DataFrame, tmp_path: Path
) -> None:
    model = first_model(practice)
    mixed_up(model, [0, 1, 2, 3, 4, 8, 6, 7, 5])
    folder = spoilt(practice, tmp_path / "project", model)
    assert "Version 1 is live" in run_command("python -m bike_demand release 1 --yes", folder)
    path = handoff(folder, Store(folder).versions()[0].run_id)
    rows = between(clean, "2011-10-01", "2011-11-10")
    sane = served_predictions(practice.service, rows)
    rows.to_csv(folder / "rows.csv", index=False, date_format="%Y-%m-%dT%H:%M:%S", lineterminator="\n")
    run_command(f"python -m bike_demand predict rows.csv predictions.csv --model {path.as_posix()}", folder)
    wrong = pd.read_csv(folder / "predictions.csv")["prediction"]
    assert error(wrong, rows) > 1.2 * error(sane, rows)
    # What a column means, only those know who own the file; and whether a model is any good, they say.
    assert owners(folder)["bike_demand/problem/features.py"] == {"@data-scientists"}
    assert by_hand(practice.book)[0].who == "data scientist"


@pytest.mark.maturity("L2-A3")
def test_unit_tests_turn_red_when_a_feature_is_shifted(practice: Practice, tmp_path: Path) -> None:
    folder = copied(practice.colleague, tmp_path / "project")
    features = folder / "bike_demand" / "problem" / "features.py"
    edit(features, '"hour": hours % 24', '"hour": (hours + 1) % 24')
    red = failing(folder, "tests/problem/test_bikes.py", "tests/test_schema.py")
    own = (folder / "tests" / "problem" / "test_bikes.py").read_text(encoding="utf-8")
    assert red
    assert all(f"def {name.partition('[')[0]}(" in own for name in red)
    assert own_tests_run(folder)
