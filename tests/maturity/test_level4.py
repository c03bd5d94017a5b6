"""Level 4, full automation: production says when to train, and the loop does the rest, in sight of people."""

import json
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import onnx
import pandas as pd
import pytest
import tenacity
import yaml
from filelock import FileLock

from benchmarks import load
from ladder import UserError, workcopy
from ladder.levels import level
from ladder.runbook import Runbook, load_people
from ladder.runbook import load as load_book
from ladder.service import Service
from ladder.steps import environment, run_command, run_step
from ladder.users import as_bodies, post_outcomes
from ladder.world.faults import as_requested, publish
from ladder.world.feedfile import COUNTS, INPUTS, read_feed, update_feed, write_feed
from ladder.world.scenario import Units
from tests.maturity.conftest import before, between, edit, error, git, ingested, same_rows
from tests.maturity.level2 import OFF_BY_ONE, commit, crons, deployments, owners, prefect, stage_outs, stored
from tests.maturity.level3 import (
    Hand,
    Registry,
    Workshop,
    answered,
    errors,
    hand,
    restore,
    rows,
    scored,
    service_of_tests,
    without_services,
)
from tests.maturity.level4 import (
    Crowd,
    EventLog,
    Reply,
    Somebody,
    fourfold,
    pager,
    samples,
)
from tests.maturity.test_level1 import failing, runs
from tests.maturity.test_level2 import own_tests_run, taken, workflow
from tests.maturity.test_level3 import NO_VERSION, OF_THE_APPLICATION, UNHARMED, name_of

# Most of it is the life that all of them look at, which takes long on a busy machine.
# What it does is tested in its own folder, too; the proofs take minutes, so they come with --all.
pytestmark = [pytest.mark.xdist_group("level4"), pytest.mark.timeout(900), pytest.mark.slow]

FIRST, LAST = "2011-03-31", "2011-04-19"  # the days of the story
GREW = "2011-04-04"  # from here on sixteen take a bike for every ten before
PUT_LIVE = "2011-04-13"  # on this day somebody puts a model live that answers four times too much
FAHRENHEIT = ("2011-04-15", "2011-04-18")  # the weather station reports it from one day to before another
CHANGES = ("2011-04-11", "2011-04-15")  # a test is won, and the bad model is rolled back
LATER = ("2011-05-05T12:00:00", "2011-05-05T13:00:00")  # hours in the requests that users send all the time
SCRIPT = "bike_demand/batch.py"
ROLES = {"@data-scientists", "@data-engineers", "@software-engineers"}
ENGINEERS = {"@software-engineers", "@data-engineers"}


@dataclass(frozen=True)
class Morning:
    """The state after a monitoring cycle."""

    day: str
    output: str
    aliases: dict[str, str]
    status: dict[str, Any]
    metrics: str


@dataclass(frozen=True)
class Practice:
    """Three weeks of level 4: the world changes, somebody puts a bad model live, and then data are wrong.

    Requests are sent for each hour of these three weeks, then their outcomes.
    """

    folder: Path
    early: Path  # a copy from before the first request
    typing: Hand
    book: Runbook
    mornings: tuple[Morning, ...]
    requests: pd.DataFrame  # every row that was requested, the response with its status, and the label
    happened: pd.DataFrame
    code: str
    bad: str  # the version that somebody put live
    alerts: tuple[dict[str, Any], ...]  # as the webhook got them
    crowd: tuple[Reply, ...]
    bursts: dict[str, load.Load]  # by the days on which what answers changed
    log: Path  # of the service

    def registry(self) -> Registry:
        return Registry(self.folder)

    def event_log(self) -> EventLog:
        return EventLog(self.folder)

    def production(self) -> pd.DataFrame:
        """The prediction log, of the hours of these days."""
        log = answered(self.folder / "state" / "production.db")
        return log[log["hour"] < pd.Timestamp(LAST) + pd.Timedelta(days=1)]

    def on(self, day: str) -> Morning:
        (found,) = (each for each in self.mornings if each.day == day)
        return found

    def logged_alerts(self) -> list[dict[str, Any]]:
        """The complete alerts, from the log."""
        log = (self.folder / "state" / "alerts.log").read_text(encoding="utf-8")
        return [json.loads(line)["alert"] for line in log.splitlines()]

    def trained(self) -> list[str]:
        """The days of the trainings."""
        return [each["at"][:10] for each in self.event_log().trainings()]

    def apart(self, target: Path) -> Path:
        """A copy of the project to break things in."""
        return without_services(self.folder, target)

    def run_command(self, command: str, folder: Path | None = None) -> str:
        return self.typing.run_command(f"python -m bike_demand {command}", folder or self.folder)


# ---- code that was broken

# A line of each part that is new, made wrong, and a test of the level's own that has to turn red for it.
OF_THE_LOOP = {
    "monitoring/retraining_policy.py": (
        "if abs(share) - margin > rule.bias:",
        "if abs(share) - margin > 9:",
        "test_retraining_policy.py::test_high_bias_raises_signal",
    ),
    "loop/cycle.py": (
        "if each.kind is SignalKind.QUALITY and each.subject",
        "if each.kind is SignalKind.DRIFT and each.subject",
        "test_loop.py::test_bad_data_suspend_training",
    ),
    "data/quality.py": (
        "wrong[at], last_wrong = True, moment",
        "last_wrong = moment",
        "test_quality.py::test_a_violation_has_its_times_from_the_first_day_until_it_is_over",
    ),
    "store/deployments.py": (
        "if (row is None and version is None) or (row and version and row.is_of(version)):",
        "if version is None or row:",
        "test_loop.py::test_bad_out_of_band_model_is_rolled_back_after_its_first_day",
    ),
    "training/evaluate.py": (
        "if to_save else None",
        "if not to_save else None",
        "test_evaluate.py::test_metrics_include_baselines_in_label_unit",
    ),
    "store/daily_stats.py": (
        "math.fsum(prediction - target)",
        "math.fsum(target - prediction)",
        "test_history.py::test_day_has_sums_of_model_and_baseline_on_the_same_rows",
    ),
    "launch.py": (
        "if server is not None and _active_deployment(server, LOOP_DEPLOYMENT):",
        "if server is not None and not _active_deployment(server, LOOP_DEPLOYMENT):",
        "test_launch.py::test_agent_refuses_if_prefect_runs_the_loop",
    ),
}
OF_THE_NEW_APPLICATION = {
    "serving/fallback.py": (
        "hour: int = time_of(row).hour",
        "hour: int = 0",
        "test_fallback.py::test_key_without_means_uses_hourly_mean",
    ),
    "serving/metrics.py": (  # tried over HTTP with a service that runs
        'statuses.get("5", 0)',
        'statuses.get("4", 0)',
        "test_dashboard.py::test_service_counts_predictions_and_failures",
    ),
    "serving/status.py": (
        "if found := kinds[SignalKind.QUALITY]:",
        "if found := kinds[SignalKind.DRIFT]:",
        "test_dashboard.py::test_headline_is_the_most_important_signal",
    ),
}


@pytest.fixture(scope="module")
def reddening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[set[str]]]:
    """Of the tests that are named there, those that fail in a copy with all these lines made wrong.

    They run next to the practice, which often waits.
    """
    folder = workcopy.make(level(4), tmp_path_factory.mktemp("broken") / "project")
    wrong = OF_THE_LOOP | OF_THE_NEW_APPLICATION
    for path, (old, new, _) in wrong.items():
        edit(folder / "bike_demand" / path, old, new)
    edit(folder / "bike_demand" / "serving" / "app.py", *NO_VERSION)
    tests = [*(test for _, _, test in wrong.values()), *sorted(OF_THE_APPLICATION), UNHARMED]
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(failing, folder, "--all", *(f"tests/{test}" for test in tests))


@pytest.fixture(scope="module")
def red(reddening: Future[set[str]]) -> set[str]:
    """The tests that turned red, without the cases of each."""
    return {name.partition("[")[0] for name in reddening.result()}


# ---- the practice


def world(clean: pd.DataFrame) -> pd.DataFrame:
    """What really happened: from one day on, more."""
    grown = clean["timestamp"] >= pd.Timestamp(GREW)
    more = clean.loc[grown, COUNTS[:2]].astype(int) * 16 // 10
    happened = clean.copy()
    happened.loc[grown, COUNTS[:2]] = more.astype("Int64")
    happened.loc[grown, "count"] = more.sum(axis=1)
    return happened


FAULT = Units.model_validate({"kind": "units", "from": FAHRENHEIT[0], "to": "2011-04-17"})


def published(happened: pd.DataFrame, day: pd.Timestamp | str) -> pd.DataFrame:
    """The feed on the morning of a day."""
    return publish(happened, pd.Timestamp(day), [FAULT])


class Life:
    """Lives through the days: publishes, runs a cycle of the loop, sends requests and outcomes."""

    def __init__(self, folder: Path, happened: pd.DataFrame, typing: Hand, service: Service) -> None:
        self.folder, self.service, self._happened, self._typing = folder, service, happened, typing
        self._client = httpx.Client(base_url=service.url, timeout=30)
        self.book, self.registry = load_book(folder), Somebody(folder)
        self.mornings: list[Morning] = []
        self.requests: list[pd.DataFrame] = []
        self.bursts: dict[str, load.Load] = {}
        self._now = pd.Timestamp(FIRST)

    def run_day(self, day: pd.Timestamp) -> str:
        """Publish yesterday and run the daily steps, nothing else; returns their output."""
        shown = published(self._happened, day)
        self._now = shown["timestamp"].iloc[-1] + pd.Timedelta(hours=1)
        if self.mornings:
            shown = shown[shown["timestamp"] >= day.replace(day=1) - pd.DateOffset(months=1)]
            update_feed(shown, self.folder / "feed")
        else:
            write_feed(shown, self.folder / "feed")
        return "".join(run_step(step, self.folder, self._typing.run_command) for step in self.book.daily)

    def morning(self, day: pd.Timestamp, output: str) -> None:
        """Note how things stand, once the application follows the registry and its status is of now."""
        aliases = self.registry.aliases()
        taken(self.service, aliases["champion"])
        metrics = self._client.get("/metrics").raise_for_status().text
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.05), reraise=True
        ):
            with attempt:
                status = self._client.get("/status").raise_for_status().json()
                assert status["as_of"] == self._now.isoformat()
                assert status["models"][0]["version"] == aliases["champion"]
        self.mornings.append(Morning(f"{day:%Y-%m-%d}", output, aliases, status, metrics))

    def day(self, day: pd.Timestamp) -> None:
        """Requests for each hour of a day, one by one, and the outcomes once it is over."""
        hours = between(self._happened, f"{day}", f"{day + pd.Timedelta(days=1)}")
        given = []
        for body in as_bodies(as_requested(hours, [FAULT])):
            answer = self._client.post("/predict", json=body)
            given.append(answer.json() | {"status": answer.status_code, "asked_temp_c": body["temp_c"]})
        answers = pd.DataFrame(given, index=hours.index).drop(columns="timestamp")
        self.requests.append(pd.concat([hours[[*INPUTS, "count"]], answers], axis=1))
        assert self.book.outcomes_path is not None
        post_outcomes(hours, self._client, self.book.outcomes_path)

    @contextmanager
    def under_load(self, when: str) -> Iterator[None]:
        """Send many requests at once meanwhile."""
        post = partial(load.post, f"{self.service.url}/predict", seconds=2, connections=4)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(post, json.dumps(later(self._happened)).encode())
            yield
            self.bursts[when] = running.result()


def later(happened: pd.DataFrame) -> dict[str, Any]:
    """A request for an hour of which nobody knows yet what will happen."""
    return as_bodies(between(happened, *LATER)[INPUTS])[0]


def put_live(life: Life, place: Path) -> str:
    """Somebody registers a model that answers too much, and makes it the live one by MLflow's client."""
    workshop = Workshop(life.folder, place)
    number = workshop.register(life.registry.aliases()["champion"], fourfold)
    with life.under_load(PUT_LIVE):
        life.registry.put_live(number)
        taken(life.service, number)
    return number


@pytest.fixture(scope="module")
def practice(
    clean: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory, reddening: Future[set[str]]
) -> Iterator[Practice]:
    """Three weeks of life by the runbook. Look at all of it, and change nothing."""
    assert reddening is not None  # begun
    place = tmp_path_factory.mktemp("level4")
    folder, early = workcopy.make(level(4), place / "project"), place / "early"
    happened = world(clean)
    service = Service(folder, place / "service.log", env=environment())
    testing = service_of_tests(folder, place / "testing.log")
    with pager() as alerted, service, testing, hand(folder) as typing:
        for old, new in (
            ("api: http://127.0.0.1:4200/api", 'api: ""'),
            ("poll_seconds: 1 ", "poll_seconds: 0.5 "),
            ('test.db", url: ""', f'test.db", url: "{testing.url}"'),
            ('webhook: ""', f'webhook: "{alerted.url}"'),
            (" cool_down_days: 4 ", " cool_down_days: 8 "),
        ):
            edit(folder / "params.yaml", old, new)
        code = commit(folder, "Where things run, and a training a week at most")
        life = Life(folder, happened, typing, service)
        today, *days = pd.date_range(FIRST, LAST)
        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(testing.start)
            output = life.run_day(today)
            started.result()
        without_services(folder, early)
        edit(early / "params.yaml", f'webhook: "{alerted.url}"', 'webhook: ""')
        commit(early, "Send no alerts while testing")
        service.start()
        life.morning(today, output)
        with Crowd(service.url, later(happened), 0.1) as crowd:
            life.day(today)
            for day in days:
                date = f"{day:%Y-%m-%d}"
                with life.under_load(date) if date in CHANGES else nullcontext():
                    output = life.run_day(day)
                life.morning(day, output)
                if date == PUT_LIVE:
                    bad = put_live(life, place)
                life.day(day)
        service.stop()
        testing.stop()
        yield Practice(
            folder,
            early,
            typing,
            life.book,
            tuple(life.mornings),
            pd.concat(life.requests, ignore_index=True),
            happened,
            code,
            bad,
            tuple(alerted.got),
            tuple(crowd.replies),
            life.bursts,
            service.log,
        )


@dataclass(frozen=True)
class Season:
    """A copy in which it grew warm in two weeks, while the model that is live stayed right."""

    folder: Path
    signals: pd.DataFrame  # after the loop looked at it
    actions: pd.DataFrame
    versions: list[str]
    grown: list[str]  # the kinds of signal, had people on the same days taken sixteen bikes for every ten
    replaced: int


@pytest.fixture(scope="module")
def season(practice: Practice, clean: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Season:
    """Spring comes: each day by half a degree more than it did. People do what the model expects of them."""
    place = tmp_path_factory.mktemp("season")
    folder, typing, event_log = practice.early, practice.typing, EventLog(practice.early)
    begin, middle, end = "2011-03-31", "2011-04-07", "2011-04-14"
    warm = between(clean, begin, end)
    degrees = (warm["timestamp"] - pd.Timestamp(begin)) / pd.Timedelta(days=2)
    warm = warm.assign(**{name: (warm[name] + degrees).round(2) for name in ("temp_c", "feels_like_c")})
    replaced = 0
    history = before(clean, begin)
    with (
        Service(folder, place / "service.log", env=environment()) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        service.start()
        taken(service, "1")
        for first, last in ((begin, middle), (middle, end)):
            hours = between(warm, first, last)
            answers = client.post("/predict", json=as_bodies(hours[INPUTS])).raise_for_status().json()
            replaced += sum("replaced" in each for each in answers)
            count = [
                round(each["prediction"] * (1.1 if number % 2 else 0.9))
                for number, each in enumerate(answers)
            ]
            hours = hours.assign(count=count, casual=float("nan"), registered=float("nan")).astype(
                {"count": "int64"}
            )
            hours = hours.astype(dict.fromkeys(COUNTS[:2], "Int64"))
            post_outcomes(hours, client, "/outcomes")
            history = pd.concat([history, hours], ignore_index=True)
            write_feed(history, folder / "feed")
            typing.run_command(f"python -m bike_demand agent --once --as-of {last}", folder)
        found = event_log.table("signals"), event_log.table("trainings")
        more = history[history["timestamp"] >= pd.Timestamp(begin)]
        more = more.assign(count=more["count"] * 16 // 10)
        post_outcomes(more, client, "/outcomes")
        write_feed(pd.concat([before(clean, begin), more], ignore_index=True), folder / "feed")
        typing.run_command(f"python -m bike_demand ingest --as-of {end}", folder)
        reported = json.loads(
            typing.run_command(f"python -m bike_demand monitor --json --as-of {end}", folder)
        )
    versions = [each.number for each in Registry(folder).registered()]
    return Season(folder, *found, versions, [each["kind"] for each in reported["signals"]], replaced)


def untouched(_: onnx.ModelProto) -> None:
    """The very same."""


@pytest.fixture(scope="module")
def miscounting(practice: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[str]]:
    """What the gates say where the scoring script is off by one; they run next to other tests."""
    folder = practice.apart(tmp_path_factory.mktemp("miscounting") / "project")
    edit(folder / SCRIPT, *OFF_BY_ONE)
    assert git(folder, "status", "--porcelain", SCRIPT).split() == ["M", SCRIPT]
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run_command, "python -m bike_demand release champion --check", folder)


@pytest.fixture(scope="module")
def again(practice: Practice, miscounting: Future[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Why the very model that was rolled back is refused under another number."""
    assert miscounting is not None  # begun
    place = tmp_path_factory.mktemp("again")
    folder = practice.apart(place / "project")
    practice.run_command('ab stop --reason "for the sake of it"', folder)
    same = Workshop(folder, place).register(practice.bad, untouched)
    with pytest.raises(UserError) as refused:
        practice.run_command(f"deploy {same}", folder)
    return str(refused.value)


# ---- highlights


@pytest.mark.maturity("L4-H1")
def test_from_drift_to_release_no_person_does_a_thing_and_all_of_it_is_seen_on_one_page_and_as_metrics(
    practice: Practice,
) -> None:
    book, team = practice.book, load_people().levels[4]
    steps = (*book.daily, *book.release, *book.predict, *book.background)
    assert {each.who for each in steps} == {"machine"}
    assert not [each for each in steps if each.copies or each.pastes or each.restarts or each.gives_to]
    assert (team.live.months, sum(each.days for each in team.days.values())) == ((), 0)
    assert load_people().levels[3].live.months  # one level below it is the calendar that trains
    # What was typed in these three weeks is one command each morning; the rest the loop did.
    (command,) = {each.command for each in book.daily}
    assert command == "python -m bike_demand agent --once"
    assert [each.aliases["champion"] for each in practice.mornings] == (
        # Promoted on 11 April, and back again after two days in which somebody had overruled it.
        ["1"] * 11 + ["2"] * 3 + [practice.bad] + ["2"] * 5
    )
    # One command shows the state.
    for day, title in {
        "2011-04-03": "All is well",
        "2011-04-06": "Model error has increased",
        "2011-04-15": f"Version {practice.bad} was rolled back",
        "2011-04-17": "Bad data: temp_c, feels_like_c",
    }.items():
        assert practice.on(day).status["headline"]["title"] == title
    (test,) = practice.on("2011-04-10").status["comparisons"]
    compared = test["comparison"]
    assert (compared["kind"], compared["version"], compared["against"]) == ("test", 2, 1)
    # And another one why: each signal, training and incident that is logged.
    status, event_log = practice.mornings[-1].status, practice.event_log()
    trainings, incidents = event_log.trainings(), event_log.records("incidents")
    assert len(trainings) == 3
    assert len(incidents) >= 5
    shown = [(each["reason"], each["version"]) for each in status["trainings"]]
    assert shown == [(each["reason"], each["version"]) for each in trainings]
    assert [each["responses"] for each in status["incidents"]] == [each["responses"] for each in incidents]
    assert {each["version"] for each in status["releases"]} == {1, 2, int(practice.bad)}
    for each in practice.mornings:
        live = samples(each.metrics, "bike_demand_workers")
        assert {
            dict(labels)["version"]
            for labels, number in live.items()
            if number and ("role", "champion") in labels
        } == {each.aliases["champion"]}
        assert each.status["live_since"]


@pytest.mark.maturity("L4-H2")
def test_production_says_what_is_wrong_with_the_model_and_it_gets_better_by_itself(
    practice: Practice,
) -> None:
    log = practice.production()
    first, second, third = practice.event_log().trainings()
    # The signal agrees with the log: predictions are too low by that much, and only since then.
    seen = practice.event_log().records("signals")
    (drift,) = (each for each in seen if each["id"] == second["signal"])
    assert (drift["kind"], drift["subject"]) == ("error-drift", "version 1")
    assert drift["first_at"][:10] == "2011-04-05"  # a day after the world changed
    known = between(log.rename(columns={"hour": "timestamp"}), FIRST, second["at"][:10])
    bias = (known["prediction"] - known["came_true"]).sum() / known["came_true"].sum()
    assert second["reason"].startswith(f"Over 7 days predictions are {abs(bias):.0%} too low")
    # On the same hours, answered by both before anybody knew what would come, the new one was better.
    mine, theirs = errors(log, "2", "1")
    assert len(mine) > 90
    assert mine.mean() < 0.9 * theirs.mean()
    decision = practice.registry().deployment("2")
    evidence = decision.row["ab"]
    assert (evidence["verdict"], decision.row["state"]) == ("promote", "live")
    assert evidence["days"][-1]["ratio"] == pytest.approx(
        mine[: evidence["rows"]].sum() / theirs[: evidence["rows"]].sum()
    )
    # And so users got better predictions than before.
    requests = practice.requests

    def share(begin: str, end: str) -> float:
        """The predictions that users got were off by this share of demand."""
        during = between(requests, begin, end)
        return error(during["prediction"], during) / float(during["count"].mean())

    before_it, grown, after = (
        share(FIRST, GREW),
        share("2011-04-05", "2011-04-07"),
        share("2011-04-11", PUT_LIVE),
    )
    assert grown > 2 * before_it
    assert after < 0.85 * grown
    # What is still to be gained it goes for, as soon as it may.
    assert (third["at"][:10], third["version"]) == (LAST, int(practice.bad) + 1)
    assert first["reason"] == "No model is live."


@pytest.mark.maturity("L4-H3")
def test_no_request_fails_while_versions_change_and_many_ask(practice: Practice) -> None:
    assert set(practice.requests["status"]) == {200}
    assert {each.status for each in practice.crowd} == {200}
    # In the order in which they first answered. When a test ends, the champion answers alone for a moment.
    first = list(dict.fromkeys(each.version for each in practice.crowd))
    assert first == ["1", "2", practice.bad, str(int(practice.bad) + 1)]
    assert list(practice.bursts) == sorted((*CHANGES, PUT_LIVE))
    for burst in practice.bursts.values():
        assert len(burst.latencies) > 100
        assert burst.failed == 0
    # It was one application all the time, and each answer of it is in the log.
    output = practice.log.read_text(encoding="utf-8").splitlines()
    assert len([line for line in output if line.startswith("http://")]) == 1
    answers = (
        sum(len(each.latencies) for each in practice.bursts.values())
        + len(practice.crowd)
        + len(practice.requests)
    )
    logged = rows(practice.folder / "state" / "production.db", "SELECT count(*) AS rows FROM predictions")
    assert logged["rows"].item() == answers
    traffic = practice.mornings[-1].status["traffic"]
    assert traffic["failed"] == 0
    assert traffic["requests"] == traffic["buckets"][-1][1]


@pytest.mark.maturity("L4-H4")
def test_what_went_wrong_once_is_on_record_and_stopped_from_then_on(
    practice: Practice, again: str, tmp_path: Path
) -> None:
    event_log, registry = practice.event_log(), practice.registry()
    incident = event_log.incident("bad-release", f"version {practice.bad}")
    assert (incident["since"][:10], incident["detected_at"][:10]) == (PUT_LIVE, "2011-04-14")
    assert "no deployment promoted it" in incident["description"]
    noticed, rolled_back = incident["responses"]
    assert "It is compared with version 2" in noticed["response"]
    assert rolled_back["at"][:10] == "2011-04-15"
    assert rolled_back["response"].startswith(f"Version 2 is live again, instead of version {practice.bad}")
    # What it cost is what the log says.
    log = practice.production()
    bad = log[log["version"] == int(practice.bad)]
    assert incident["cost"]["predictions_by_rolled_back"] == len(bad) == 48
    assert incident["cost"]["error_rolled_back"] == pytest.approx(
        (bad["prediction"] - bad["came_true"]).abs().mean(), abs=0.1
    )
    # The same model is refused under another number, and what is in order passes.
    assert "refused by gate blocked" in again
    assert f"same model as version {practice.bad}, which was rolled back" in again
    assert all(registry.deployment(str(int(practice.bad) + 1)).gates().values())
    # Data: if the check that found the fault is loosened, training is refused, naming the incident.
    fault = event_log.incident("data-quality", "temp_c")
    assert fault["regression_case"] in {each["id"] for each in event_log.records("regression_cases")}
    folder = practice.apart(tmp_path / "project")
    assert "are fit" in practice.run_command("validate", folder)
    edit(folder / "params.yaml", "# units: {FIELD: 12}", "units: off")
    wider = (
        "ranges: {temp_c: [-35, 148], feels_like_c: [-45, 160], humidity: [0.02, 1], windspeed_kmh: [0, 130]}"
    )
    edit(folder / "params.yaml", "# ranges: {FIELD: [-35, 48]}", wider)
    commit(folder, "Fewer alarms")
    for command in ("validate", "train", 'retrain --force --reason "because I can"'):
        with pytest.raises(UserError, match=r"no longer detect incident \d+ \(units, (temp|feels_like)_c\)"):
            practice.run_command(command, folder)
    assert len(Registry(folder).versions()) == len(registry.versions())


# ---- technology


@pytest.mark.maturity("L4-T1")
def test_each_version_was_trained_and_tested_by_the_loop_and_its_own_code_is_tested_on_every_change(
    practice: Practice, red: set[str]
) -> None:
    registry, trainings = practice.registry(), practice.event_log().trainings()
    assert [(each["at"][:10], each["version"], each["state"]) for each in trainings] == [
        (FIRST, 1, "done"),
        ("2011-04-07", 2, "done"),
        (LAST, int(practice.bad) + 1, "done"),
    ]
    for training in trainings:
        version = registry.version(str(training["version"]))
        for run_id, kind in ((version.run_id, "refit"), (version.tags["holdout_run_id"], "holdout")):
            assert registry.run(run_id).data.tags["kind"] == kind
        gates = registry.deployment(version.number).gates()
        assert len(gates) == 8
        assert set(gates.values()) == {True}
    # A wrong line in what decides that turns a test red, and so it cannot be merged.
    assert {name_of(test) for _, _, test in OF_THE_LOOP.values()} <= red
    assert red == {
        name_of(test)
        for test in (
            *(test for _, _, test in (OF_THE_LOOP | OF_THE_NEW_APPLICATION).values()),
            *OF_THE_APPLICATION,
        )
    }
    package = practice.folder / "bike_demand"
    new = {"monitoring", "loop"} & {path.name for path in package.iterdir()}
    assert new <= {Path(path).parts[0] for path in OF_THE_LOOP}
    assert own_tests_run(practice.folder)


@pytest.mark.maturity("L4-T2")
def test_how_each_deployed_version_does_is_in_one_database_and_counted_for_prometheus(
    practice: Practice,
) -> None:
    log, event_log = practice.production(), practice.event_log()
    log = log.sort_values(["made_at", "id"])
    days = event_log.table("daily_stats")
    looked_at = log[log["hour"] < pd.Timestamp(LAST)]  # a day is looked at when it is over
    for version in (0, 1, 2, int(practice.bad)):  # 0: what users got, from any version
        kept = days[days["version"] == version].set_index("day")
        reported = looked_at.drop_duplicates("hour").assign(answer=lambda frame: frame["prediction"])
        if version:
            shown = looked_at["version"] == version
            unseen = looked_at["other_version"] == version
            answer = looked_at["prediction"].where(shown, looked_at["other_prediction"])
            reported = looked_at.assign(answer=answer)[shown | unseen].drop_duplicates("hour")
        off = reported["answer"] - reported["came_true"]
        mine = pd.DataFrame(
            {"day": reported["hour"].dt.strftime("%Y-%m-%d"), "error": off.abs(), "bias": off, "known": 1}
        )
        expected = mine.groupby("day").sum()
        assert kept["known"].to_dict() == expected["known"].to_dict()
        for name in ("error", "bias"):
            assert kept[f"{name}_sum"].to_dict() == pytest.approx(expected[name].to_dict())
    # What was wrong with it.
    (day,) = (
        each
        for each in event_log.records("daily_stats")
        if (each["day"], each["version"]) == ("2011-04-15", 0)
    )
    assert day["quality"]["temp_c"]["units"] == 24
    # How many requests there were, and how fast they were served, by version.
    everything = rows(practice.folder / "state" / "production.db", "SELECT version FROM predictions")
    counted = everything["version"].value_counts().to_dict()
    latency = samples(practice.mornings[-1].metrics, "bike_demand_request_seconds_sum")
    assert latency[("route", "/predict"),] > 0
    predictions = samples(practice.mornings[-1].metrics, "bike_demand_predictions_total")
    by_version: dict[int, float] = {}
    for labels, number in predictions.items():
        version = int(dict(labels)["version"])
        by_version[version] = by_version.get(version, 0) + number
    assert set(by_version) == set(counted)
    assert by_version[int(practice.bad)] == counted[int(practice.bad)]
    replaced = samples(practice.mornings[-1].metrics, "bike_demand_inputs_replaced_total")
    assert replaced[("field", "temp_c"),] == len(between(practice.requests, *FAHRENHEIT))
    assert list((practice.folder / "state" / "evidently").rglob("*.json"))  # the drift reports
    # One level below, the log has answers, and nobody sums them up.
    with pytest.raises(UserError, match="No such command 'monitor'"):
        run_command("python -m bike_demand monitor", level(3).folder)


# ---- people


@pytest.mark.maturity("L4-T3")
def test_an_event_that_says_the_error_grew_starts_what_follows_and_any_other_event_nothing(
    tmp_path: Path,
) -> None:
    with prefect(workcopy.make(level(4), tmp_path / "project")) as server:
        server.deploy()
        runs_of_respond = {"flows": {"name": {"any_": ["respond"]}}}
        for kind in ("bike-demand.other.thing", "bike-demand.signal.error-drift"):
            event = {
                "occurred": pd.Timestamp.now("UTC").isoformat(),
                "event": kind,
                "resource": {"prefect.resource.id": f"{kind}.model"},
                "payload": {
                    "signal": "7",
                    "description": "error-drift, version 1",
                    "as_of": "2011-04-12T00:00:00",
                },
                "id": str(uuid.uuid4()),
            }
            httpx.post(f"{server.api}/events", json=[event]).raise_for_status()
        (made,) = server.waited("flow_runs", **runs_of_respond)
        assert {name: str(value) for name, value in made["parameters"].items()} == {
            "signal": "7",
            "description": "error-drift, version 1",
            "as_of": "2011-04-12T00:00:00",
        }


@pytest.mark.maturity("L4-T5")
def test_what_a_version_needs_to_go_live_is_data_under_review_that_each_decision_keeps_and_code_obeys(
    clean: pd.DataFrame, tmp_path: Path
) -> None:
    folder, following = workcopy.make(level(4), tmp_path / "project"), tmp_path / "next"
    params, short = folder / "params.yaml", ["blocked", "artifact", "golden"]
    assert owners(folder)["params.yaml"] == ROLES
    every = yaml.safe_load(params.read_text(encoding="utf-8"))["promotion_policy"]["gates"]
    write_feed(before(clean, "2011-04-01"), folder / "feed")
    edit(params, "api: http://127.0.0.1:4200/api", 'api: ""')
    edit(params, f"gates: [{', '.join(every)}]", f"gates: [{', '.join(short)}]")
    edit(params, 'may_skip_test: ["*"]', "may_skip_test: [ada]")
    edit(params, 'promote_to: ""', f"promote_to: sqlite:///{following.as_posix()}/state/mlflow.db")
    commit(folder, "Another policy")
    run_command("python -m bike_demand train --no-deploy", folder)
    # Nobody else may override it, whatever their reason.
    with pytest.raises(UserError, match=r"may not skip the test: .* names ada"):
        run_command("python -m bike_demand release 1 --reason because", folder)
    # Delivery goes by it, says what it left out, and promotes to the next registry what passed.
    output = run_command("python -m bike_demand deploy latest", folder)
    assert "schema, test-environment, cost, error, slices" in output
    assert [each.tags["source.version"] for each in Registry(following).registered()] == ["1"]
    # A decision keeps the policy that it was made by, whatever becomes of that.
    edit(params, f"gates: [{', '.join(short)}]", f"gates: [{', '.join(every)}]")
    decision = Registry(folder).decision("1")
    assert list(decision.gates()) == decision.row["policy"]["gates"] == short
    assert decision.row["policy"]["may_skip_test"] == ["ada"]
    # Whatever code decides without reading it runs other gates than it requires.
    edit(params, f"gates: [{', '.join(every)}]", f"gates: [{', '.join(short)}]")
    check = "python -m bike_demand release 1 --check"
    assert "3/3 golden" in run_command(check, folder)
    edit(folder / "bike_demand/release/policy.py", "if gate.id in settings.promotion_policy.gates)", ")")
    assert f"{len(every)}/{len(every)} slices" in run_command(check, folder)
    # A policy that makes no sense stops everything, with its key.
    edit(params, "test: ab #", "test: a coin #")
    with pytest.raises(UserError, match=r"promotion_policy\.test"):
        run_command(check, folder)


@pytest.mark.maturity("L4-P1")
def test_markers_that_data_engineers_watch_are_settings_and_code_of_all_three_and_alerts_reach_people(
    practice: Practice,
) -> None:
    owned = owners(practice.folder)
    params = (practice.folder / "params.yaml").read_text(encoding="utf-8")

    def keys(section: str) -> set[str]:
        """Of a section, those too whose default depends on the problem and stands there as a comment."""
        (text,) = re.findall(rf"(?m)^{section}:.*\n((?:  .*\n)+)", params)
        return set(re.findall(r"(?m)^  (?:# )?(\w+):", text))

    assert {"ranges", "drift"} <= keys("monitoring")
    assert {"units", "gaps", "labels"} <= keys("quality")
    assert {"bias", "error_increase", "cool_down_days", "budget"} <= keys("trigger")
    watched = [path for path in owned if re.match(r"bike_demand/(monitoring|loop)/", path)]
    assert len(watched) > 10
    for path in ("params.yaml", *watched):
        assert owned[path] == ROLES, path
    # They agreed on a training a week or so at most, by a commit to one line. A level shift waits less long.
    changed = git(practice.folder, "show", "--unified=0", "--format=", practice.code, "--", "params.yaml")
    assert "+  cool_down_days: 8 # minimum days" in changed
    first, second, _ = map(pd.Timestamp, practice.trained())
    assert second - first == pd.Timedelta(days=7)
    assert "Cool-down until 2011-04-08: 8 days after" in practice.on("2011-04-05").output
    # An alert for each marker that tripped, once, with the possible actions.
    titles = [each["title"] for each in practice.alerts]
    for title in (
        "Error drift: version 1",
        f"Bad release: version {practice.bad}",
        "Data quality: temp_c",
        "Data quality: feels_like_c",
    ):
        assert title in titles
    for each in practice.logged_alerts():
        assert all(each[key] for key in ("id", "summary", "response", "suggestion"))
    key_of = [(each["key"], pd.Timestamp(each["at"])) for each in practice.logged_alerts()]
    for key in {key for key, _ in key_of}:
        moments = sorted(at for other, at in key_of if other == key)
        assert all(second - first >= pd.Timedelta(days=7) for first, second in pairwise(moments))
    ids = [each["id"] for each in practice.logged_alerts()]
    assert ids == [each["message"].split()[-1] for each in practice.alerts]
    assert len(set(ids)) == len(ids)


@pytest.mark.maturity("L4-P2")
def test_a_field_that_changes_is_noticed_within_a_day_held_off_and_rolled_back_by_itself(
    practice: Practice,
) -> None:
    owned = owners(practice.folder)
    for path in ("bike_demand/problem/schema.py", "bike_demand/handoff.py", "params.yaml"):
        assert owned[path] == ROLES
    assert owned["bike_demand/data/quality.py"] >= {"@data-engineers"}
    fault = practice.event_log().incident("data-quality", "temp_c")
    assert (fault["since"][:10], fault["detected_at"][:10]) == (FAHRENHEIT[0], "2011-04-16")
    assert fault["ended_at"][:10] == LAST  # the first morning after a day in which it was right
    # The log has the request; the models got typical values, and users noticed little.
    log = practice.production()
    bad = between(log.rename(columns={"hour": "timestamp"}), *FAHRENHEIT)
    requests = practice.requests.set_index("id").loc[bad["id"]]
    assert bad["temp_c"].tolist() == requests["asked_temp_c"].tolist()
    given = bad["replaced"].map(json.loads)
    true = practice.happened.set_index("timestamp")["temp_c"].loc[bad["timestamp"]].tolist()
    assert all(set(each) == {"temp_c", "feels_like_c"} for each in given)
    assert max(abs(each["temp_c"] - right) for each, right in zip(given, true, strict=True)) < 12
    fahrenheit = between(practice.requests, *FAHRENHEIT)
    usual = between(practice.requests, "2011-04-12", PUT_LIVE)
    assert error(fahrenheit["prediction"], fahrenheit) < 1.5 * error(usual["prediction"], usual)
    # Nothing was trained, though the error gave a reason to; the day that it was over, it was.
    for day in ("2011-04-16", "2011-04-17", "2011-04-18"):
        assert "Training. Reason" not in practice.on(day).output
    held = [
        done["response"]
        for each in practice.event_log().records("incidents")
        if (each["kind"], each["subject"]) == ("error-drift", "version 2")
        for done in each["responses"]
    ]
    trained = practice.trained()
    assert not [day for day in trained if FAHRENHEIT[0] < day < LAST]
    assert trained[-1] == LAST
    assert [each for each in held if each.startswith("No training: bad data.")]
    # And what was taught is the feed without these days.
    registry = practice.registry()
    newest = registry.registered()[-1]
    lock = registry.artifact(newest.run_id, "dvc.lock")
    remote = practice.folder / "state" / "dvc-remote"
    kept = json.loads(stored(remote, stage_outs(lock, "ingest")["state/quarantine.json"]).read_bytes())
    left_out = {hour for each in kept["violations"] if each["rule"] != "gaps" for hour, _ in each["rows"]}
    days = published(practice.happened, LAST)
    of_these = between(days, *FAHRENHEIT)["timestamp"]
    assert left_out == {f"{hour:%Y-%m-%dT%H:%M:%S}" for hour in of_these}
    traced = json.loads(practice.run_command(f"trace {requests.index[-1]} --json"))
    assert traced["model"]["version"] == 2


@pytest.mark.maturity("L4-P3")
def test_engineers_own_what_takes_models_in_and_what_gathers_their_metrics_and_both_need_no_hand(
    practice: Practice,
) -> None:
    owned = owners(practice.folder)
    for part in ("serving/", "store/"):
        inside = [teams for path, teams in owned.items() if path.startswith(f"bike_demand/{part}")]
        assert len(inside) > 10
        assert all(teams == ENGINEERS for teams in inside)
    for path in ("bike_demand/flows.py", ".github/workflows/loop.yml"):
        assert owned[path] == ENGINEERS
    assert all(teams >= ENGINEERS for path, teams in owned.items() if path.startswith("bike_demand/release/"))
    # Each version that answered was taken in by the application itself; from its first day on it has metrics.
    registry, log = practice.registry(), practice.production()
    days = practice.event_log().table("daily_stats")
    rows_of = practice.mornings[-1].status["traffic"]["rows"]
    first_day = log.groupby("version")["hour"].min().dt.strftime("%Y-%m-%d")
    for version in map(int, ("1", "2", practice.bad)):
        assert first_day[version] in set(days.loc[days["version"] == version, "day"])
        assert rows_of[str(version)] > 0
    for number in ("1", "2"):
        deployments = set(log.loc[log["version"] == int(number), "deployment"])
        records = [each for each in registry.deployments() if each.row["id"] in deployments]
        assert {each.row["version"] for each in records} == {int(number)}
        assert registry.deployment(number).gate("test-environment")["passed"]
    # It takes part in a test without being shown, and is measured too: nobody had to build that for it.
    tested = days[(days["version"] == 2) & (days["day"] == "2011-04-08")]
    assert tested["known"].item() == 24
    commands = {
        line
        for flow in ("loop", "application")
        for job in workflow(practice.folder, flow)["jobs"].values()
        for line in runs(job)
    }
    assert any("release champion --check" in line for line in commands)


# ---- model creation


@pytest.mark.maturity("L4-C1")
def test_data_are_ingested_in_each_cycle_and_outcomes_come_back_by_themselves(practice: Practice) -> None:
    same_rows(ingested(practice.folder / "state" / "data"), read_feed(practice.folder / "feed"))
    log = practice.production()
    assert log.set_index("id")["came_true"].to_dict() == practice.requests.set_index("id")["count"].to_dict()
    registry = practice.registry()
    for training in practice.event_log().trainings():
        run = registry.run(registry.version(str(training["version"])).run_id)
        feed = published(practice.happened, training["at"][:10])
        good = feed[~feed["timestamp"].isin(between(feed, *FAHRENHEIT)["timestamp"])]
        (dataset,) = run.inputs.dataset_inputs
        described = json.loads(dataset.dataset.source)["tags"]
        assert int(described["rows"]) == len(good)
        assert described["last"] == good["timestamp"].iloc[-1].isoformat()


@pytest.mark.maturity("L4-C2")
def test_it_is_metrics_of_production_that_train_and_neither_a_calendar_nor_a_season(
    practice: Practice, season: Season
) -> None:
    signals = {each["id"]: each for each in practice.event_log().records("signals")}
    causes = [signals[each["signal"]]["kind"] for each in practice.event_log().trainings()]
    assert causes == ["no-model", "error-drift", "error-drift"]
    # On the days before nothing was wrong, and nothing was trained.
    for day in ("2011-04-01", "2011-04-02", "2011-04-03", "2011-04-04"):
        assert "Training" not in practice.on(day).output
    # The first of April would have been the calendar's day.
    calendar = crons(level(3).folder)[0]
    assert "1" in calendar.split()[2].split(",")
    assert not [day for day in practice.trained() if day.endswith("-01")]
    # A season moves the inputs and not the error: that is reported, and no reason to train.
    drift = season.signals[season.signals["kind"] == "input-drift"]
    assert drift["subject"].tolist() == ["inputs"]
    assert "temp_c shifted by" in drift["message"].item()
    assert set(season.signals["kind"]) == {"no-model", "input-drift"}
    assert len(season.actions) == 1  # the training of the first model
    assert season.versions == ["1"]
    assert season.replaced == 0
    assert (season.folder / "state" / "reports" / "drift.html").stat().st_size > 10_000
    # The same inputs with more demand than the model expects: that would be one.
    assert {"error-drift", "input-drift"} <= set(season.grown)
    # One level below nothing looks.
    with pytest.raises(UserError, match="No such command 'agent'"):
        run_command("python -m bike_demand agent --once", level(3).folder)


@pytest.mark.maturity("L4-C3")
def test_where_and_when_the_loop_runs_is_a_setting_and_never_two_at_a_time(
    practice: Practice, tmp_path: Path
) -> None:
    folder = practice.apart(tmp_path / "project")
    starts = [
        [each["cron"] for each in deployment.get("schedules", [])]
        or list(deployment["triggers"][0]["expect"])
        for deployment in deployments(folder)
    ]
    assert starts == [["0 5 * * *"], ["bike-demand.signal.*"], ["bike-demand.version.registered"]]
    database = folder / "state" / "production.db"
    for lock, command, busy in (
        (database.with_name(f".{database.name}.loop"), "agent --once", "another loop is running"),
        (folder / "state" / "train.lock", "train", "another training or ingestion is running"),
        (database.with_name(f".{database.name}.deployment"), "deploy 2", "another deployment is running"),
    ):
        with FileLock(lock), pytest.raises(UserError, match=busy):
            practice.run_command(command, folder)


@pytest.mark.maturity("L4-C4")
def test_every_experiment_of_the_loop_keeps_its_reason_settings_metrics_and_plots(practice: Practice) -> None:
    registry = practice.registry()
    trainings = practice.event_log().trainings()
    assert all(each["reason"] for each in trainings)
    trained = [registry.run(registry.version(str(each["version"])).run_id) for each in trainings]
    for run in trained:
        holdout = registry.run(run.data.tags["holdout_run_id"])
        assert (run.data.tags["kind"], holdout.data.tags["kind"]) == ("refit", "holdout")
        assert len(run.data.params) > 5
        assert holdout.data.params == run.data.params
        assert {"holdout_error", "bias", "error_of_baseline", "skill"} <= set(run.data.metrics)
        assert json.loads(registry.artifact(run.info.run_id, "metrics.json")) == run.data.metrics
        plots = registry.artifacts(run.info.run_id, "plots")
        assert {Path(each).stem for each in plots} >= {"error_by_week", "error_by_slice"}
        for plot in plots:
            assert b"<svg" in registry.artifact(run.info.run_id, plot)
    assert len({run.data.metrics["holdout_error"] for run in trained}) == len(trained)
    # A version is judged by its reference error at release.
    reference = registry.version("1").tags
    assert float(reference["holdout_error"]) == pytest.approx(
        trained[0].data.metrics["holdout_error"], abs=0.01
    )
    assert float(reference["skill"]) == pytest.approx(trained[0].data.metrics["skill"], abs=0.01)


@pytest.mark.maturity("L4-C5")
def test_each_versions_data_model_and_code_are_restored_from_version_control(
    practice: Practice, tmp_path: Path
) -> None:
    registry = practice.registry()
    for training in practice.event_log().trainings():
        version = registry.version(str(training["version"]))
        feed = published(practice.happened, training["at"][:10])
        restore(practice.folder, version, feed, practice.code)
    # What is in no commit does not train, whatever the reason.
    folder = practice.apart(tmp_path / "project")
    edit(folder / "params.yaml", "params: {}", "params: {max_iter: 20}")
    with pytest.raises(UserError, match=r"uncommitted changes, .*; commit"):
        practice.run_command('retrain --force --reason "a try"', folder)
    assert len(Registry(folder).versions()) == len(registry.versions())


# ---- model release


@pytest.mark.maturity("L4-R1")
def test_what_is_better_goes_live_and_what_is_worse_goes_away_without_anybody(
    practice: Practice, tmp_path: Path
) -> None:
    registry = practice.registry()
    versions = {each.row["id"]: each.row["version"] for each in registry.deployments()}
    changes = [
        (each["new"], each["at"][:10], versions[each["deployment"]])
        for each in practice.event_log().records("transitions")
        if each["new"] in ("live", "rolled_back") and each["old"] != each["new"]
    ]
    assert changes == [
        ("live", FIRST, 1),
        ("live", "2011-04-11", 2),
        ("live", PUT_LIVE, int(practice.bad)),
        ("rolled_back", "2011-04-15", int(practice.bad)),
        ("live", "2011-04-15", 2),
    ]
    assert (
        "Version 2 won its A/B test and is live: an error 5% higher is ruled out"
        in practice.on("2011-04-11").output
    )
    # The one that somebody put there answered for two days, and does not come back.
    shown = practice.requests[practice.requests["model_version"] == practice.bad]["timestamp"]
    assert set(shown.dt.strftime("%Y-%m-%d")) == {PUT_LIVE, "2011-04-14"}
    assert "far worse than version 2" in registry.decision(practice.bad).row["reason"]
    with pytest.raises(UserError, match=r"refused by gate blocked: .* far worse than version 2"):
        practice.run_command(f"deploy {practice.bad}", practice.apart(tmp_path / "project"))
    assert practice.mornings[-1].aliases["challenger"] == str(int(practice.bad) + 1)


@pytest.mark.maturity("L4-R2")
def test_the_scoring_script_is_versioned_and_off_by_one_it_lets_no_version_pass(
    practice: Practice, miscounting: Future[str], tmp_path: Path
) -> None:
    folder = practice.apart(tmp_path / "project")
    assert git(folder, "log", "--format=%H", "--", SCRIPT).split()
    assert git(folder, "status", "--porcelain", SCRIPT) == ""
    shown = between(practice.requests, "2011-04-11", PUT_LIVE)
    assert set(shown["model_version"]) == {"2"}
    assert scored(folder, practice.typing, shown) == shown["prediction"].tolist()
    with pytest.raises(
        UserError, match="gate test-environment: batch and service give different predictions"
    ):
        miscounting.result()
    own = (folder / "tests" / "test_batch.py").read_text(encoding="utf-8")
    assert "def test_batch_predictions_match_the_service(" in own
    assert own_tests_run(folder)


@pytest.mark.maturity("L4-R3")
def test_pipelines_run_the_loop_and_deliver_the_application_by_the_commands_that_are_typed_here(
    practice: Practice,
) -> None:
    loop = workflow(practice.folder, "loop")
    assert [each["cron"] for each in loop["on"]["schedule"]] == crons(practice.folder)
    assert loop["on"]["repository_dispatch"]["types"] == ["cycle", "retrain"]
    jobs = loop["jobs"]

    def typed(name: str) -> list[str]:
        found = [re.match(r"(python -m bike_demand .*?)(?: 2>&1.*)?$", line) for line in runs(jobs[name])]
        return [each[1] for each in found if each]

    assert typed("cycle") == [each.command for each in practice.book.daily]
    assert typed("retrain") == ['python -m bike_demand retrain --reason "$REASON"']
    assert "github.event_name == 'schedule'" in jobs["cycle"]["if"]
    # No way around a gate: none of the commands has one, and all versions of the loop passed the same.
    for command in ("deploy", "agent"):
        options = set(re.findall(r"--[a-z-]+", practice.run_command(f"{command} --help")))
        assert options <= {"--as-of", "--help", "--once", "--every"}
    registry = practice.registry()
    gates = [
        list(registry.deployment(str(each["version"])).gates()) for each in practice.event_log().trainings()
    ]
    assert gates == [gates[0]] * 3
    application = workflow(practice.folder, "application")
    deliver = application["jobs"]["deliver"]
    assert {"lint", "test"} <= set(deliver["needs"])
    order = [line for line in runs(deliver) if "release champion --check" in line or "push" in line]
    assert "--check" in order[0]
    assert "push" in order[1]
    for flow in (loop, application):
        assert flow["permissions"] == {}
        assert all(job["permissions"] for job in flow["jobs"].values())


# ---- application integration


@pytest.mark.maturity("L4-A1")
def test_every_version_of_the_loop_has_its_tests_on_record_and_one_without_any_lasts_a_day(
    practice: Practice,
) -> None:
    registry = practice.registry()
    for training in practice.event_log().trainings():
        decision = registry.deployment(str(training["version"]))
        golden, integration = (decision.gate(name) for name in ("golden", "test-environment"))
        assert golden["passed"]
        assert golden["evidence"]["rows"] > 40
        assert integration["passed"]
        checks = integration["evidence"]["checks"]
        assert len(checks) >= 7
        assert "passes_behavioral_tests" in checks  # by all behavioral tests of the problem
        page = practice.folder / "state" / "reports" / f"version-{training['version']}.html"
        assert integration["title"] in page.read_text(encoding="utf-8")
    bad = registry.deployment(practice.bad).row
    assert (bad["who"], bad["gates"], bad["state"]) == ("out of band", [], "rolled_back")
    assert "no deployment promoted it" in practice.on("2011-04-15").output
    assert own_tests_run(practice.folder)


@pytest.mark.maturity("L4-A2")
def test_a_model_that_somebody_put_past_all_gates_is_judged_by_the_application_and_no_data_scientist(
    practice: Practice,
) -> None:
    # Neither promoting it nor reading the alert takes any knowledge of models.
    *_, alert = (
        each for each in practice.logged_alerts() if each["title"] == f"Bad release: version {practice.bad}"
    )
    assert alert["at"][:10] == "2011-04-15"
    assert "no deployment promoted it; it is far worse than version 2" in alert["summary"]
    assert f"Version 2 is live again, instead of version {practice.bad}" in alert["response"]
    # The numbers are those of the log: once it had been noticed, the good one predicted the same hours.
    log = practice.production()
    bad = log[(log["version"] == int(practice.bad)) & (log["other_version"] == 2)]
    assert alert["evidence"]["rows"] == len(bad)
    off = (bad["prediction"] - bad["came_true"]).abs().mean()
    instead = (bad["prediction"] / 4 - bad["came_true"]).abs().mean()
    assert alert["evidence"]["ratio"] == pytest.approx(off / instead, rel=0.01)
    assert practice.on("2011-04-15").aliases["champion"] == "2"
    assert {each.who for each in (*practice.book.daily, *practice.book.release)} == {"machine"}
    # What is wrong with a field of a request the application puts right itself, with the same model.
    wrong = between(practice.requests, *FAHRENHEIT)
    assert set(wrong["model_version"]) == {"2"}


@pytest.mark.maturity("L4-A3")
def test_unit_and_integration_tests_turn_red_where_the_application_is_wrong(
    practice: Practice, red: set[str]
) -> None:
    assert {name_of(test) for _, _, test in OF_THE_NEW_APPLICATION.values()} <= red
    assert {name_of(test) for test in OF_THE_APPLICATION} <= red
    assert own_tests_run(practice.folder)
    deliver = workflow(practice.folder, "application")["jobs"]["deliver"]
    assert "test" in deliver["needs"]
    assert any("release champion --check" in line for line in runs(deliver))
