"""Level 3, automated deployment: what passes reaches users by itself, and any answer is followed back."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import yaml
from filelock import FileLock

from ladder import UserError, workcopy
from ladder.levels import level
from ladder.runbook import Runbook, load, load_people
from ladder.service import Service
from ladder.steps import environment, run_command, run_step
from ladder.users import as_bodies, post_outcomes
from ladder.world.feedfile import COUNTS, INPUTS, read_feed, update_feed, write_feed
from tests.maturity.conftest import before, between, edit, git, in_fahrenheit, ingested, same_rows
from tests.maturity.level2 import (
    OFF_BY_ONE,
    by_hand,
    commit,
    crons,
    deployments,
    mixed_up,
    owners,
)
from tests.maturity.level3 import (
    Decision,
    Hand,
    Registry,
    Workshop,
    answered,
    calls,
    drawn,
    errors,
    functions,
    hand,
    restore,
    rows,
    scored,
    service_of_tests,
    without_services,
)
from tests.maturity.test_level1 import failing, runs, without_the_exponential
from tests.maturity.test_level2 import answering, own_tests_run, taken, workflow

# What it does is tested in its own folder, too; the proofs take minutes, so they come with --all.
pytestmark = [pytest.mark.xdist_group("level3"), pytest.mark.slow]

RELEASES = ("2011-03-01", "2011-04-01", "2011-05-01", "2011-06-01")  # the calendar's days for a training
LONGEST = 14  # days of an A/B test
CORRECTED = "2011-03-02"  # on this day the operator corrects the counts of the one below
MISCOUNTED = ("2011-02-14", "2011-02-15")
FESTIVAL = ("2011-05-18", "2011-06-01")  # when seventeen took a bike for every ten on other days
REASON = "the depot cannot follow it"


@dataclass(frozen=True)
class Moment:
    """What was done, and how things stood after it."""

    day: str
    what: str  # the step of the runbook, or the command of a person
    output: str
    aliases: dict[str, str]
    shown: str | None  # the version that users get; None where they get none
    tested: str | None  # the one that the test environment answers with


@dataclass(frozen=True)
class Practice:
    """Three months of level 3 with a training on each first, and one person's rollback.

    Requests are sent for each hour of the days on which something is tested, then their outcomes.
    """

    folder: Path
    typing: Hand
    book: Runbook
    life: tuple[Moment, ...]
    requests: pd.DataFrame  # every row that was requested, the response, and the label
    published: tuple[pd.DataFrame, ...]  # the feed as it was at each training
    code: tuple[str, ...]  # the commits of these
    log: Path  # of the service

    def registry(self) -> Registry:
        return Registry(self.folder)

    def apart(self, target: Path) -> Path:
        """A copy of the project to break things in, with no service next to it."""
        return without_services(self.folder, target)

    def log_of(self, environment: str) -> pd.DataFrame:
        return answered(self.folder / "state" / f"{environment}.db")

    def of(self, what: str) -> list[Moment]:
        """When that was done."""
        return [each for each in self.life if each.what == what]

    def trainings(self) -> list[Moment]:
        (train,) = (each.id for each in self.book.release if each.trains)
        return self.of(train)


# ---- code that was broken

# One line in each part of the package, made wrong, and a test that has to turn red for it.
BROKEN = {
    "core/problem.py": (
        'kind="category" if categories else kinds[base_type]',
        "kind=kinds[base_type]",
        "test_problem.py::test_the_facts_about_each_field_are_read_from_its_annotations",
    ),
    "problem/features.py": (
        '"hour": hours % 24',
        '"hour": (hours + 1) % 24',
        "problem/test_bikes.py::test_hour_and_weekday_are_those_of_the_calendar",
    ),
    "data/model_inputs.py": (
        "matrix[:, position] = features[name]",
        "matrix[:, position] = features[name] + 1",
        "test_features.py::test_a_row_becomes_float32_values_in_that_order",
    ),
    "training/evaluate.py": (
        "float((predicted - truth).mean())",
        "float((truth - predicted).mean())",
        "test_evaluate.py::test_metrics_include_baselines_in_label_unit",
    ),
    "draft/guess.py": (
        "if each.original not in leaks]",
        "if each.original in leaks]",
        "test_draft.py::test_columns_that_are_known_only_with_the_label_are_named_and_left_out",
    ),
    "release/checks.py": (
        "(failure := test.find_failure(numbers)):",
        '(failure := test.find_failure(numbers)) == "":',
        "test_release_checks.py::test_model_without_inverse_link_fails",
    ),
    "release/gates/integrity.py": (
        "    if failed is None:",
        "    if failed is not None:",
        "test_gates.py::test_a_version_that_was_rolled_back_is_stopped",
    ),
    "release/ab/statistics.py": (
        "seen & (estimates.low > 1), ABVerdict.REJECT",
        "seen & (estimates.low > 9), ABVerdict.REJECT",
        "test_ab_statistics.py::test_clear_results_are_decided",
    ),
    "store/outcomes.py": (
        "if row.label != labels[each]",
        "if row.label < labels[each] - 9",
        "test_prediction_log.py::test_outcomes_may_come_late_again_and_corrected",
    ),
    "serving/keys.py": (
        "if hmac.compare_digest(digest, key.sha256):",
        "if digest != key.sha256:",
        "test_keys.py::test_without_a_known_key_nothing_is_let_in",
    ),
    "launch.py": (
        'return None if deployment["paused"] else deployment',
        'return deployment if deployment["paused"] else None',
        "test_launch.py::test_a_server_takes_deployments_over_only_where_it_has_them",
    ),
}
# A mistake of the application: its unit tests see it, and those that try a model in it over HTTP.
NO_VERSION = ('"model_version": versions[who],', '"model_version": "0",')
OF_THE_APPLICATION = {
    "test_app.py::test_one_row_gets_one_prediction",
    "integration/test_model.py::test_the_model_passes_every_check_of_a_deployment",
}
UNHARMED = "test_settings.py"


@pytest.fixture(scope="module")
def reddening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[set[str]]]:
    """Of the tests that are named there, those that fail in a copy with all these lines made wrong.

    They run next to the practice, which often waits.
    """
    folder = workcopy.make(level(3), tmp_path_factory.mktemp("broken") / "project")
    for path, (old, new, _) in BROKEN.items():
        edit(folder / "bike_demand" / path, old, new)
    edit(folder / "bike_demand" / "serving" / "app.py", *NO_VERSION)
    tests = [*(test for _, _, test in BROKEN.values()), *sorted(OF_THE_APPLICATION), UNHARMED]
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(failing, folder, *(f"tests/{test}" for test in tests))


@pytest.fixture(scope="module")
def red(reddening: Future[set[str]]) -> set[str]:
    """The tests that turned red, without the cases of each."""
    return {name.partition("[")[0] for name in reddening.result()}


def name_of(test: str) -> str:
    return test.partition("::")[2]


# ---- the practice


def on(frame: pd.DataFrame, days: tuple[str, str]) -> "pd.Series[bool]":
    """Which rows are of the days from one to before another."""
    first, end = map(pd.Timestamp, days)
    return frame["timestamp"].between(first, end, inclusive="left")


def world(clean: pd.DataFrame) -> pd.DataFrame:
    """What really happened, with a festival in May."""
    during = on(clean, FESTIVAL)
    more = clean.loc[during, ["casual", "registered"]].astype(int) * 17 // 10
    happened = clean.copy()
    happened.loc[during, ["casual", "registered"]] = more.astype("Int64")
    happened.loc[during, "count"] = more.sum(axis=1)
    return happened


def published(happened: pd.DataFrame, day: pd.Timestamp) -> pd.DataFrame:
    """The feed on the morning of a day: before its correction, one of February's days lacks some rentals."""
    shown = before(happened, day)
    if day < pd.Timestamp(CORRECTED):
        wrong = on(shown, MISCOUNTED)
        lost = shown.loc[wrong, COUNTS[:2]].astype(int) // 2
        shown.loc[wrong, COUNTS[:2]] = lost.astype("Int64")
        shown.loc[wrong, "count"] = lost.sum(axis=1)
    return shown


class Life:
    """Lives through the days: publishes, lets the machine do its steps, sends requests and outcomes."""

    def __init__(
        self, folder: Path, happened: pd.DataFrame, typing: Hand, service: Service, testing: Service
    ) -> None:
        self.folder, self._happened, self._typing = folder, happened, typing
        self._service, self._testing = service, testing
        self._client = httpx.Client(base_url=service.url, timeout=30)
        self.book, self.registry = load(folder), Registry(folder)
        self.moments: list[Moment] = []
        self.requests: list[pd.DataFrame] = []

    def note(self, day: pd.Timestamp, what: str, output: str) -> Moment:
        aliases = self.registry.aliases()
        shown = taken(self._service, aliases["champion"]) if "champion" in aliases else None
        moment = Moment(f"{day:%Y-%m-%d}", what, output, aliases, shown, answering(self._testing))
        self.moments.append(moment)
        return moment

    def morning(self, day: pd.Timestamp, *, release: bool = False) -> Moment:
        """Yesterday is published; the machine does its daily steps and, on their day, those of a release."""
        shown = published(self._happened, day)
        update_feed(
            shown[shown["timestamp"] >= day.replace(day=1) - pd.DateOffset(months=1)], self.folder / "feed"
        )
        steps = (*self.book.daily, *self.book.release) if release else self.book.daily
        for step in steps:
            output = run_step(step, self.folder, self._typing.run_command, self._service)
            moment = self.note(day, step.id, output)
        return moment

    def send(self, hours: pd.DataFrame) -> None:
        """Send a request for these hours."""
        response = self._client.post("/predict", json=as_bodies(hours[INPUTS]))
        assert response.status_code == 200, response.text
        given = pd.DataFrame(response.json(), index=hours.index).drop(columns="timestamp")
        self.requests.append(pd.concat([hours[[*INPUTS, "count"]], given], axis=1))

    def day(self, day: pd.Timestamp) -> None:
        """Requests for the hours of a day, some of them twice, and the outcomes once it is over."""
        hours = between(self._happened, f"{day}", f"{day + pd.Timedelta(days=1)}")
        self.send(hours)
        self.send(hours[::-7])
        assert self.book.outcomes_path is not None
        post_outcomes(hours, self._client, self.book.outcomes_path)
        # The outcome leads to the prediction.
        logged = rows(self.folder / "state" / "production.db", "SELECT id FROM predictions")
        assert {each for requests in self.requests for each in requests["id"]} == set(logged["id"])

    def person(self, day: pd.Timestamp, command: str) -> Moment:
        return self.note(
            day, command, self._typing.run_command(f"python -m bike_demand {command}", self.folder)
        )


@pytest.fixture(scope="module")
def practice(
    clean: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory, reddening: Future[set[str]]
) -> Iterator[Practice]:
    """Three months of life by the runbook. Look at all of it, and change nothing."""
    assert reddening is not None  # begun
    place = tmp_path_factory.mktemp("level3")
    folder, colleague = workcopy.make(level(3), place / "project"), place / "colleague"
    happened = world(clean)
    service = Service(folder, place / "service.log", env=environment())
    testing = service_of_tests(folder, place / "testing.log")
    edit(folder / "params.yaml", "api: http://127.0.0.1:4200/api", 'api: ""')
    edit(folder / "params.yaml", 'test.db", url: ""', f'test.db", url: "{testing.url}"')
    code = [commit(folder, "Where things run")]
    first, *later = map(pd.Timestamp, RELEASES)
    feeds = [published(happened, first)]
    write_feed(feeds[0], folder / "feed")
    with service, testing, hand(folder) as typing:
        with ThreadPoolExecutor() as both:
            list(both.map(Service.start, (service, testing)))
        life = Life(folder, happened, typing, service, testing)
        life.morning(first, release=True)
        life.day(first)
        life.morning(pd.Timestamp(CORRECTED))
        for number, month in enumerate(later, 2):
            if number == 3:
                git(place, "clone", "--quiet", "--config", "core.autocrlf=false", str(folder), str(colleague))
                edit(colleague / "params.yaml", "params: {}", "params: {learning_rate: 0.12}")
                commit(colleague, "Learn a little faster")
                git(folder, "pull", "--quiet", "--ff-only", str(colleague), "main")
            feeds.append(published(happened, month))
            code.append(git(folder, "rev-parse", "HEAD").strip())
            life.morning(month, release=True)
            day = month
            while "challenger" in life.moments[-1].aliases:
                life.day(day)
                day += pd.Timedelta(days=1)
                life.morning(day)
            if number == 2:
                life.day(day)  # against the previous version, not shown
                life.person(day, f'rollback --reason "{REASON}"')
                life.day(day + pd.Timedelta(days=1))
        service.stop()
        testing.stop()
        yield Practice(
            folder,
            typing,
            life.book,
            tuple(life.moments),
            pd.concat(life.requests, ignore_index=True),
            tuple(feeds),
            tuple(code),
            service.log,
        )


def trace(practice: Practice, prediction_id: str) -> dict[str, Any]:
    """The way back from an answer, with its rows restored."""
    output = practice.typing.run_command(
        f"python -m bike_demand trace {prediction_id} --rows --json", practice.folder
    )
    found: dict[str, Any] = json.loads(output)
    return found


def moment(text: str | float) -> pd.Timestamp:
    """A moment in UTC, from ISO 8601 or, as MLflow has it, in milliseconds of the epoch."""
    return pd.Timestamp(text, unit=None if isinstance(text, str) else "ms").tz_localize(None)


# ---- models that nobody should get


@dataclass(frozen=True)
class Tried:
    """A copy in which models that went wrong in training were deployed one after the other."""

    folder: Path
    number: dict[str, str]  # of the version, by what is wrong with it
    refusal: dict[str, str]
    aliases: dict[str, dict[str, str]]  # after each of these, and `before`

    def decision(self, name: str) -> Decision:
        return Registry(self.folder).decision(self.number[name])


@pytest.fixture(scope="module")
def tried(practice: Practice, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """Deployments of: answers on a logarithmic scale, wind taken for warmth, and both models that way."""
    place = tmp_path_factory.mktemp("tried")
    folder = practice.apart(place / "project")
    workshop = Workshop(folder, place)
    champion = workshop.registry.aliases()["champion"]
    wind_for_warmth = partial(mixed_up, order=[0, 1, 2, 3, 4, 8, 6, 7, 5])
    refusal, aliases = dict[str, str](), {"before": workshop.registry.aliases()}
    with service_of_tests(folder, place / "testing.log") as testing, ThreadPoolExecutor(1) as pool:
        started = pool.submit(testing.start)
        number = {
            "exponential": workshop.register(champion, without_the_exponential),
            "wind": workshop.register(champion, wind_for_warmth),
            "wind and holdout model": workshop.register(champion, wind_for_warmth, wind_for_warmth),
        }
        started.result()
        edit(folder / "params.yaml", 'test.db", url: ""', f'test.db", url: "{testing.url}"')
        for name, version in number.items():
            try:
                practice.typing.run_command(f"python -m bike_demand deploy {version}", folder)
                refusal[name] = "none"
            except UserError as error:
                refusal[name] = str(error)
            aliases[name] = workshop.registry.aliases()
    return Tried(folder, number, refusal, aliases)


# ---- highlights


@pytest.mark.maturity("L3-H1")
def test_no_person_stands_between_a_registered_version_and_its_users(practice: Practice) -> None:
    book, people = practice.book, load_people().levels
    steps = (*book.daily, *book.release, *book.predict)
    assert [each for each in steps if each.by_hand] == []
    assert not [each for each in steps if each.copies or each.pastes or each.restarts or each.gives_to]
    assert by_hand(load(level(2).folder))
    effort = [
        sum(people[number].days[step.id].days for step in load(level(number).folder).release)
        for number in (3, 2)
    ]
    assert effort[0] == 0 < effort[1]
    # All of this life is made of the runbook's commands, but for the one time that a person took a step back.
    (rollback,) = (each for each in practice.life if each.what.startswith("rollback"))
    assert {each.what for each in practice.life} == {each.id for each in steps} | {rollback.what}
    shown = [each.shown for each in practice.life]
    changes = [new for old, new in zip([None, *shown], shown, strict=False) if new != old]
    assert changes[:2] == ["1", "2"]
    assert changes[2:] == ["1", "3"]  # after the rollback, and by itself
    for number, trained in enumerate(practice.trainings()[:3], 1):
        live = next(each for each in practice.life if each.shown == str(number))
        assert (pd.Timestamp(live.day) - pd.Timestamp(trained.day)).days <= LONGEST
    # And it was one application all the time, which nobody started anew.
    output = practice.log.read_text(encoding="utf-8").splitlines()
    assert len([line for line in output if line.startswith("http://")]) == 1


@pytest.mark.maturity("L3-H2")
def test_any_answer_is_followed_back_to_the_rows_as_they_were_published_then(
    practice: Practice, tmp_path: Path
) -> None:
    registry = practice.registry()
    for version, feed, code in zip(registry.registered(), practice.published, practice.code, strict=True):
        given = practice.requests[practice.requests["model_version"] == version.number].iloc[5]
        found = trace(practice, given["id"])
        # Request, prediction and label.
        answer = found["prediction"]
        assert answer["event_time"] == given["timestamp"].isoformat()
        assert (answer["prediction"], answer["outcome"]) == (given["prediction"], given["count"])
        for name in INPUTS[1:]:
            assert answer["inputs"][name] == (None if pd.isna(given[name]) else given[name])
        # Who put it there, and on what grounds.
        deployment = registry.deployment(version.number)
        assert deployment.row["id"] == found["deployment"]["id"]
        assert {each["gate"]: each["passed"] for each in found["deployment"]["gates"]} == deployment.gates()
        # Which model, code and packages.
        run = registry.run(version.run_id)
        assert (found["model"]["version"], found["model"]["run"]) == (int(version.number), version.run_id)
        assert found["model"]["parameters"] == run.data.params
        assert found["code"]["commit"] == code
        lock = git(practice.folder, "show", f"{code}:requirements.lock")
        assert hashlib.sha256(lock.encode()).hexdigest() in found["code"]["packages"]
        # And the very rows: not only as many, from that file or of that date, but the same values.
        assert found["data"]["rows"] == len(feed)
        same_rows(ingested(practice.folder / found["data"]["folder"]), feed)
    assert practice.life[-1].shown == "3"
    first, second, *_, last = (between(each, "2011-02-01", "2011-03-01") for each in practice.published)
    assert not first.equals(second)  # what was wrong when the first was trained
    assert last.equals(between(read_feed(practice.folder / "feed"), "2011-02-01", "2011-03-01"))
    # One level below, a prediction has no id.
    below = workcopy.make(level(2), tmp_path / "below")
    with pytest.raises(UserError, match="No such command 'trace'"):
        run_command(f"python -m bike_demand trace {given['id']}", below)


@pytest.mark.maturity("L3-H3")
def test_versions_pass_through_training_test_and_production_in_this_order_and_each_is_a_place_of_its_own(
    practice: Practice, tried: Tried
) -> None:
    params = yaml.safe_load((practice.folder / "params.yaml").read_text(encoding="utf-8"))
    places = params["environments"]
    assert list(places) == ["train", "test", "production"]
    alias = {name: place["alias"] for name, place in places.items()}
    assert len(set(alias.values())) == 3
    assert places["test"]["database"] != places["production"]["database"]
    # Logged: when each version was in which.
    registry = practice.registry()
    logs = {name: practice.log_of(name) for name in ("test", "production")}
    for version in registry.registered():
        first = {
            name: log.loc[log["version"] == int(version.number), "made_at"].min()
            for name, log in logs.items()
        }
        passed = moment(registry.deployment(version.number).gate("test-environment")["at"])
        training = registry.run(version.run_id).info.start_time  # it is registered before the run ends
        assert moment(training) <= version.created < first["test"] < first["production"]
        assert version.created.floor("s") <= passed < first["production"]
    # While one was tried on users, both places answered, each with its own.
    begun = practice.trainings()[1]
    assert (begun.tested, begun.shown) == ("2", "1")
    assert [begun.aliases[alias[name]] for name in places] == ["2", "2", "1"]
    # What is tried in one of them leaves nothing in the other.
    assert set(logs["production"]["id"]) == set(practice.requests["id"])
    assert not set(logs["test"]["hour"]) & set(logs["production"]["hour"])
    # What does not work there never comes further.
    assert tried.aliases["exponential"] == tried.aliases["before"] | {
        alias["test"]: tried.number["exponential"]
    }


# ---- technology


@pytest.mark.maturity("L3-T1")
def test_a_test_on_users_decides_and_stops_one_that_looked_better_on_last_weeks_rows(
    practice: Practice,
) -> None:
    registry, log = practice.registry(), practice.log_of("production")
    verdicts = {}
    for version, against in (("2", "1"), ("3", "1"), ("4", "3")):
        decision = registry.deployment(version)
        evidence = decision.row["ab"]
        mine, theirs = errors(log, version, against)
        began, now = evidence["comparison"]["began"], evidence["now"]
        requests = between(practice.requests, began, now)
        # Both answered each hour, of which the first answer counts, and the numbers are those of the log.
        count = requests["timestamp"].nunique()
        assert evidence["rows"] == count < len(requests)
        last = evidence["days"][-1]
        assert last["ratio"] == pytest.approx(mine[:count].sum() / theirs[:count].sum())
        assert last["low"] < last["ratio"] < last["high"]
        verdicts[version] = (evidence["verdict"], decision.row["state"])
        # Assignment is by hour and deterministic, so it can be repeated.
        rule = json.loads(registry.version(version).tags["ab"])
        again = [drawn(hour, rule["share"], rule["salt"]) for hour in requests["timestamp"]]
        assert requests["variant"].tolist() == again
        assert requests["model_version"].tolist() == [
            version if variant == "challenger" else against for variant in again
        ]
        assert (requests["variant"] == "challenger").mean() == pytest.approx(rule["share"], abs=0.1)
    assert verdicts["2"] == ("promote", "rolled_back")
    assert verdicts["3"] == ("promote", "live")
    assert verdicts["4"][0] in ("reject", "stop")
    assert verdicts["4"][1] == "failed_test"
    # The last one had learned a festival. On the week before, by which level 2 decides, it was better:
    compared = registry.deployment("4").gate("error")["evidence"]
    assert compared["candidate"] < 0.8 * compared["champion"]
    worse, better = errors(log, "4", "3")
    assert worse.mean() > 1.2 * better.mean()
    assert (practice.life[-1].shown, practice.life[-1].aliases["champion"]) == ("3", "3")


@pytest.mark.maturity("L3-T2")
def test_a_wrong_line_in_any_part_of_the_package_turns_a_test_red_before_it_is_merged(
    practice: Practice, red: set[str]
) -> None:
    package = practice.folder / "bike_demand"
    parts = {path.parent.relative_to(package).as_posix() for path in package.rglob("*.py")}
    migrations = {each for each in parts if each.startswith("store/migrations")}
    assert {Path(path).parent.as_posix() for path in BROKEN} == parts - migrations
    assert red - {name_of(test) for test in OF_THE_APPLICATION} == {
        name_of(test) for _, _, test in BROKEN.values()
    }
    assert own_tests_run(practice.folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.maturity("L3-T2")
def test_every_module_of_the_package_is_run_by_its_tests(tmp_path: Path) -> None:
    folder = workcopy.make(level(3), tmp_path / "project")
    run = "python -m pytest -q -p no:cacheprovider"
    called = calls(folder, tmp_path / "every-change", f"{run} -n 2")
    called |= calls(folder, tmp_path / "with-servers", f"{run} --all tests/test_flow.py")
    written = functions(folder / "bike_demand")
    never = written - called
    assert {each.partition("::")[0] for each in written} == {
        each.partition("::")[0] for each in written & called
    }
    assert len(never) < 0.05 * len(written), never  # the others need more servers: the slow tests have them


@pytest.mark.maturity("L3-T3")
def test_how_good_models_are_in_training_and_with_users_is_found_in_one_place(practice: Practice) -> None:
    registry = practice.registry()
    best_first = registry.runs("tags.kind = 'refit'", "metrics.holdout_error ASC")
    known = {each.run_id: each.number for each in registry.registered()}
    assert {each.info.run_id for each in best_first} == set(known)
    mae = {known[each.info.run_id]: each.data.metrics["holdout_error"] for each in best_first}
    assert list(mae.values()) == sorted(mae.values())
    for number, training in enumerate(practice.trainings(), 1):
        assert f"mean absolute error {mae[str(number)]:.1f} bikes an hour" in training.output
    # In the same store, what the tests on users came to.
    ratios = {
        each.number: float(each.tags["ab_ratio"]) for each in registry.registered() if "ab_ratio" in each.tags
    }
    assert {number for number, ratio in ratios.items() if ratio > 1} == {"4"}
    assert {number for number, ratio in ratios.items() if ratio < 1} == {"2", "3"}


@pytest.mark.maturity("L3-T4")
def test_what_passed_its_gates_is_promoted_to_the_next_registry_once_and_lives_there_on_its_own(
    practice: Practice, tmp_path: Path
) -> None:
    folder, following = practice.apart(tmp_path / "project"), tmp_path / "next"
    address = f"sqlite:///{(following / 'state' / 'mlflow.db').as_posix()}"
    promote = "python -m bike_demand promote {} --to " + address
    for refused in ("2", "4"):  # rolled back by a person, rejected by users
        with pytest.raises(UserError, match="is not promoted"):
            practice.typing.run_command(promote.format(refused), folder)
    for _ in range(2):
        practice.typing.run_command(promote.format("champion"), folder)
    (copy,), original = Registry(following).registered(), Registry(folder).version("3")
    assert copy.tags["digest"] == original.tags["digest"]
    assert (copy.tags["source.version"], copy.tags["source.run_id"]) == ("3", original.run_id)
    # Delivery does the same by a setting, each day again until it is done.
    other = tmp_path / "other"
    edit(
        folder / "params.yaml", 'promote_to: ""', f"promote_to: sqlite:///{other.as_posix()}/state/mlflow.db"
    )
    for _ in range(2):
        practice.typing.run_command("python -m bike_demand ab step", folder)
    assert [each.tags["source.version"] for each in Registry(other).registered()] == ["3"]
    # A check of nothing but this line refuses what failed its test.
    line = "if refusal := _refusal(deployments.find(version)):"
    edit(folder / "bike_demand" / "release" / "promotion.py", line, 'if refusal := "":')
    run_command(promote.format("4"), folder)
    assert [each.tags["source.version"] for each in Registry(following).registered()] == ["3", "4"]
    # The first registry is gone: the next environment has all that its gates and its users need.
    requested = practice.requests[INPUTS].head(48)
    answers = scored(folder, practice.typing, requested)
    shutil.rmtree(folder / "state" / "artifacts")
    for name in ("mlflow.db", "production.db"):
        (folder / "state" / name).unlink()
    edit(folder / "params.yaml", "uri: sqlite:///state/mlflow.db", f"uri: {address}")
    assert "Version 1 is live" in run_command("python -m bike_demand deploy 1", folder)
    assert scored(folder, practice.typing, requested) == answers


# ---- people


DATA_TEAMS = {"@data-scientists", "@data-engineers"}
ENGINEERS = {"@software-engineers", "@data-engineers"}


@pytest.mark.maturity("L3-P1")
def test_an_experiment_of_data_scientists_is_a_commit_and_the_job_takes_it_to_the_users(
    practice: Practice,
) -> None:
    owned = owners(practice.folder)
    jobs = [path for path in owned if path.startswith("bike_demand/training/")]
    assert len(jobs) > 5
    assert all(owned[path] == DATA_TEAMS for path in (*jobs, "bike_demand/stages.py", "dvc.yaml"))
    assert owned["params.yaml"] >= DATA_TEAMS
    assert not [path for path in owned if path.endswith(".ipynb")]
    # What is between two versions is one line in a file of theirs; the rest the job did.
    _, second, third, _ = practice.code
    changed = git(practice.folder, "diff", "--unified=0", second, third)
    lines = [line for line in changed.splitlines() if re.match(r"[+-] ", line)]
    assert [line.partition(" #")[0] for line in lines] == [
        "-  params: {}",
        "+  params: {learning_rate: 0.12}",
    ]
    registry = practice.registry()
    runs_of = [registry.run(each.run_id) for each in registry.registered()]
    assert [each.data.params["learning_rate"] for each in runs_of] == ["0.1", "0.1", "0.12", "0.12"]
    assert [each.data.tags["git.commit"] for each in runs_of] == list(practice.code)
    assert practice.life[-1].shown == "3"


@pytest.mark.maturity("L3-P2")
def test_inputs_and_outputs_are_a_matter_of_all_and_a_change_of_them_stops_at_a_gate(
    practice: Practice, tmp_path: Path
) -> None:
    folder = practice.apart(tmp_path / "project")
    owned = owners(folder)
    everybody = DATA_TEAMS | ENGINEERS
    schema = "bike_demand/problem/schema.py"
    for path in (schema, "bike_demand/handoff.py", "params.yaml"):
        assert owned[path] == everybody
    log = [teams for path, teams in owned.items() if path.startswith("bike_demand/store/")]
    assert len(log) > 4
    assert all(teams == ENGINEERS for teams in log)
    assert owners(workcopy.make(level(2), tmp_path / "below"))[schema] == {"@data-scientists"}
    # Engineers change what a row may hold; the models that there are were made for something else.
    edit(folder / schema, "ge=0, le=400", "ge=0, le=250")
    live = Registry(folder).aliases()["champion"]
    with pytest.raises(UserError) as refused:
        run_command("python -m bike_demand deploy 4", folder)
    assert "refused by gate schema: windspeed_kmh: max" in str(refused.value)
    assert Registry(folder).aliases()["champion"] == live
    assert "challenger" not in Registry(folder).aliases()


@pytest.mark.maturity("L3-P3")
def test_engineers_own_together_what_takes_a_model_into_the_application_and_a_machine_does_it(
    practice: Practice,
) -> None:
    owned = owners(practice.folder)
    for part in ("release/", "serving/"):
        inside = [teams for path, teams in owned.items() if path.startswith(f"bike_demand/{part}")]
        assert len(inside) > 10
        assert all(teams >= ENGINEERS for teams in inside)
    assert owned[".github/workflows/delivery.yml"] == owned["bike_demand/flows.py"] == ENGINEERS
    # Nobody handed a model over: the application took each, tried in it first, and the log says by what.
    registry, log = practice.registry(), practice.log_of("production")
    for version in registry.registered():
        answers = log[log["version"] == int(version.number)]
        records = [each for each in registry.deployments() if each.row["id"] in set(answers["deployment"])]
        assert [each.row["version"] for each in records] == [int(version.number)]
        assert registry.deployment(version.number).gate("test-environment")["passed"]


# ---- model creation


@pytest.mark.maturity("L3-C1")
def test_data_are_ingested_each_day_by_themselves_and_wrong_ones_reach_no_user(
    practice: Practice, tmp_path: Path
) -> None:
    (ingestion,) = (each.id for each in practice.book.daily if "ingest" in str(each.command))
    days = [each.day for each in practice.of(ingestion)]
    assert days == sorted(set(days))
    (corrected,) = (each for each in practice.of(ingestion) if each.day == CORRECTED)
    assert "2 (2011-02, 2011-03)" in corrected.output  # the day before is news, and what was corrected
    same_rows(ingested(practice.folder / "state" / "data"), read_feed(practice.folder / "feed"))
    # What happens comes back by itself too.
    log = practice.log_of("production")
    assert log.set_index("id")["came_true"].to_dict() == practice.requests.set_index("id")["count"].to_dict()
    # A week of Fahrenheit: no training, no version, no deployment.
    folder = practice.apart(tmp_path / "project")
    happened = pd.read_csv(folder / "feed" / "2011-06.csv", parse_dates=["timestamp"])
    wrong = happened.assign(**in_fahrenheit(happened)).astype(dict.fromkeys(COUNTS[:2], "Int64"))
    update_feed(wrong, folder / "feed")
    with pytest.raises(UserError, match="not fit for training: temp_c changes its unit"):
        practice.typing.run_command("python -m bike_demand train", folder)
    assert len(Registry(folder).versions()) == 4
    assert Registry(folder).aliases() == practice.life[-1].aliases


@pytest.mark.maturity("L3-C2")
def test_where_and_when_everything_runs_is_a_setting_and_never_two_at_a_time(
    practice: Practice, tmp_path: Path
) -> None:
    folder = practice.apart(tmp_path / "project")
    starts = [
        [each["cron"] for each in deployment.get("schedules", [])]
        or list(deployment["triggers"][0]["expect"])
        for deployment in deployments(folder)
    ]
    assert starts == [["0 5 1,15 * *"], ["bike-demand.version.registered"], ["30 5 * * *"]]
    for lock, command, busy in (
        ("train.lock", "train", "another training or ingestion is running"),
        (".production.db.deployment", "deploy 4", "another deployment is running"),
    ):
        with FileLock(folder / "state" / lock), pytest.raises(UserError, match=busy):
            practice.typing.run_command(f"python -m bike_demand {command}", folder)


@pytest.mark.maturity("L3-C3")
def test_every_experiment_keeps_its_settings_metrics_and_plots(practice: Practice) -> None:
    registry = practice.registry()
    trained = [registry.run(each.run_id) for each in registry.registered()]
    differ = {
        name
        for name in trained[1].data.params
        if trained[1].data.params[name] != trained[2].data.params[name]
    }
    assert differ == {"learning_rate"}
    assert len(trained[1].data.params) > 5
    for run in trained:
        holdout = registry.run(run.data.tags["holdout_run_id"])
        assert (run.data.tags["kind"], holdout.data.tags["kind"]) == ("refit", "holdout")
        assert holdout.data.params == run.data.params
        assert {"holdout_error", "bias", "error_of_baseline"} <= set(run.data.metrics)
        assert json.loads(registry.artifact(run.info.run_id, "metrics.json")) == run.data.metrics
        plots = registry.artifacts(run.info.run_id, "plots")
        assert {Path(each).stem for each in plots} >= {"error_by_week", "error_by_slice"}
        for plot in plots:
            assert b"<svg" in registry.artifact(run.info.run_id, plot)
    assert len({run.data.metrics["holdout_error"] for run in trained}) == len(trained)


@pytest.mark.maturity("L3-C4")
def test_each_versions_data_model_and_code_are_restored_from_version_control(
    practice: Practice, tmp_path: Path
) -> None:
    versions = practice.registry().registered()
    for version, feed, code in zip(versions, practice.published, practice.code, strict=True):
        restore(practice.folder, version, feed, code)
    # What is in no commit does not train.
    folder = practice.apart(tmp_path / "project")
    edit(folder / "params.yaml", "learning_rate: 0.12", "learning_rate: 0.05")
    with pytest.raises(UserError, match=r"uncommitted changes, .*; commit"):
        practice.typing.run_command("python -m bike_demand train", folder)
    assert len(Registry(folder).versions()) == 4


# ---- model release


@pytest.mark.maturity("L3-R1")
def test_what_is_trained_goes_live_by_itself_and_one_command_takes_it_back_for_good(
    practice: Practice, tmp_path: Path
) -> None:
    (train,) = (each.id for each in practice.book.release if each.trains)
    champions = [each.aliases.get("champion") for each in practice.life]
    moved = [
        (each.what, new)
        for each, old, new in zip(practice.life, [None, *champions], champions, strict=False)
        if new != old
    ]
    (look,) = (each.id for each in practice.book.daily if "ab step" in str(each.command))
    (rollback,) = (each for each in practice.life if each.what.startswith("rollback"))
    assert moved == [(train, "1"), (look, "2"), (rollback.what, "1"), (look, "3")]
    for training in practice.trainings():  # one command, from the feed to the users
        assert re.search(r"registered as version (\d)", training.output)
        assert "is live" in training.output or "A/B test against version" in training.output
    assert "1 of 1 production worker" in rollback.output
    assert (rollback.shown, rollback.aliases["champion"]) == ("1", "1")
    registry = practice.registry()
    (record,) = (each.row for each in registry.deployments() if each.row["state"] == "rolled_back")
    assert (record["version"], record["reason"], record["against"]) == (2, REASON, 1)
    # What a person rolled back does not come again, and what was decided is not decided twice.
    folder = practice.apart(tmp_path / "project")
    with pytest.raises(UserError, match=f"refused by gate blocked: .*{REASON}"):
        practice.typing.run_command("python -m bike_demand deploy 2", folder)
    again = practice.typing.run_command(f"python -m bike_demand train --as-of {RELEASES[-1]}", folder)
    assert "nothing to do" in again
    assert "Version 4 was deployed before: failed test" in again
    assert registry.aliases() == Registry(folder).aliases() == practice.life[-1].aliases


@pytest.mark.maturity("L3-R2")
def test_the_scoring_script_is_versioned_and_off_by_one_it_lets_no_version_pass(
    practice: Practice, tmp_path: Path
) -> None:
    folder = practice.apart(tmp_path / "project")
    script = "bike_demand/batch.py"
    assert git(folder, "log", "--format=%H", "--", script).split()
    assert git(folder, "status", "--porcelain", script) == ""
    # It gives what users got.
    shown = between(practice.requests, "2011-05-01", "2011-05-05")
    shown = shown[shown["model_version"] == "3"]
    assert scored(folder, practice.typing, shown) == shown["prediction"].tolist()
    edit(folder / script, *OFF_BY_ONE)
    assert git(folder, "status", "--porcelain", script).split() == ["M", script]
    with pytest.raises(
        UserError, match="gate test-environment: batch and service give different predictions"
    ):
        run_command("python -m bike_demand deploy 4", folder)
    # The level's own tests say the same, and run before each change is merged.
    own = (folder / "tests" / "test_batch.py").read_text(encoding="utf-8")
    assert "def test_batch_predictions_match_the_service(" in own
    assert own_tests_run(folder)


@pytest.mark.maturity("L3-R3")
def test_pipelines_deliver_models_and_application_by_the_commands_that_are_typed_here(
    practice: Practice,
) -> None:
    delivery = workflow(practice.folder, "delivery")
    assert [each["cron"] for each in delivery["on"]["schedule"]] == crons(practice.folder)
    assert "workflow_dispatch" in delivery["on"]
    jobs = delivery["jobs"]

    def typed(name: str) -> list[str]:
        found = [re.match(r"python -m bike_demand (.*?)(?: 2>&1.*)?$", line) for line in runs(jobs[name])]
        return [each[1] for each in found if each]

    # The same, in the same order, as the runbook's: what `train` does in one go stands here as two jobs.
    assert typed("train") == ["train --no-deploy"]
    assert jobs["deploy"]["needs"] == "train"
    assert typed("deploy") == ["ingest", 'deploy "$VERSION"']
    assert [f"python -m bike_demand {line}" for line in typed("ab-step")] == [
        command for each in practice.book.daily if not (command := str(each.command)).endswith(" ingest")
    ]  # `ab step` ingests, too
    assert typed("decide") == ["ingest"]
    assert any('rollback --reason "$REASON"' in line for line in runs(jobs["decide"]))
    # No way around a gate: none of the commands has one.
    options = practice.typing.run_command("python -m bike_demand deploy --help", practice.folder)
    assert set(re.findall(r"--[a-z-]+", options)) == {"--as-of", "--help"}
    # The gates that were passed there are those that every version passed here.
    registry = practice.registry()
    gates = [list(registry.deployment(each.number).gates()) for each in registry.registered()]
    assert gates == [gates[0]] * 4
    assert len(gates[0]) >= 8
    # New code goes out only behind its tests, and with the live model through the same gates.
    application = workflow(practice.folder, "application")
    deliver = application["jobs"]["deliver"]
    assert {"lint", "test"} <= set(deliver["needs"])
    order = [
        index
        for index, line in enumerate(runs(deliver))
        if "release champion --check" in line or "push" in line
    ]
    assert len(order) == 2
    assert "--check" in runs(deliver)[order[0]]
    for flow in (delivery, application):
        assert flow["permissions"] == {}
        assert all(job["permissions"] for job in flow["jobs"].values())


# ---- application integration


@pytest.mark.maturity("L3-A1")
def test_every_version_was_tested_in_the_application_and_one_that_only_looks_whole_was_stopped(
    practice: Practice, tried: Tried
) -> None:
    registry = practice.registry()
    for version in registry.registered():
        decision = registry.deployment(version.number)
        golden, integration = (decision.gate(name) for name in ("golden", "test-environment"))
        assert golden["passed"]
        assert golden["evidence"]["rows"] > 40
        assert integration["passed"]
        checks = integration["evidence"]["checks"]
        assert len(checks) >= 7
        assert "passes_behavioral_tests" in checks  # by all behavioral tests of the problem
        page = (practice.folder / "state" / "reports" / f"version-{version.number}.html").read_text("utf-8")
        assert integration["title"] in page
        assert version.tags["digest"] in page
    # Answers on a logarithmic scale: whole, as registered, and of no use to anybody.
    assert tried.decision("exponential").gates() == {
        "blocked": True,
        "artifact": True,
        "golden": True,
        "schema": True,
        "test-environment": False,
    }
    assert "refused by gate test-environment" in tried.refusal["exponential"]
    assert own_tests_run(practice.folder)


@pytest.mark.maturity("L3-A2")
def test_a_model_that_takes_wind_for_warmth_is_stopped_without_asking_a_data_scientist(
    practice: Practice, tried: Tried
) -> None:
    # It passes all that stood between a model and its users one level below.
    assert tried.decision("wind").gate("test-environment")["passed"]
    assert "refused by gate error" in tried.refusal["wind"]
    assert "check the refit" in tried.refusal["wind"]
    # And where whatever mixed it up did the same to the holdout model by which it is judged:
    assert "refused by gate error" in tried.refusal["wind and holdout model"]
    assert "champion" in tried.refusal["wind and holdout model"]
    for name in ("wind", "wind and holdout model"):
        assert tried.aliases[name]["champion"] == tried.aliases["before"]["champion"]
        assert "challenger" not in tried.aliases[name]
    roles = {each.who for each in (*practice.book.daily, *practice.book.release, *practice.book.predict)}
    assert roles == {"machine"}


@pytest.mark.maturity("L3-A3")
def test_unit_and_integration_tests_turn_red_when_the_application_says_a_wrong_version(
    practice: Practice, red: set[str]
) -> None:
    assert {name_of(test) for test in OF_THE_APPLICATION} <= red
    assert own_tests_run(practice.folder)
    # And before new code goes out, the model that is live is tried in it.
    deliver = workflow(practice.folder, "application")["jobs"]["deliver"]
    assert "test" in deliver["needs"]
    assert any("release champion --check" in line for line in runs(deliver))
