"""Another problem, by docs/your-own-problem.md: a copy of level 4 learns how likely the docks run out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd
import pytest
import yaml

from ladder import ROOT, workcopy
from ladder.levels import level
from ladder.service import Service
from ladder.steps import environment, run_command
from ladder.users import as_bodies, post_outcomes
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import COUNTS, INPUTS, read_feed, update_feed, write_feed
from tests.maturity.conftest import before, between, git
from tests.maturity.level3 import Registry, answered, hand
from tests.maturity.level4 import EventLog

PATCH = ROOT / "tests" / "own_problem" / "docks-run-out.patch"
PAGE = ROOT / "docs" / "your-own-problem.md"
MOST_LINES = 40  # added
CAPACITY = 300  # bikes an hour; with more, the docks run out

HELD_OUT, TRAINED = (
    "2011-05-25",
    "2011-06-01",
)  # what the holdout model did not see, and the end of all that was known

FIRST, LAST = pd.Timestamp("2011-06-13"), pd.Timestamp("2011-06-27")  # the days of the story
GREW = pd.Timestamp("2011-06-16")  # from here on sixteen take a bike for every ten before
DAY = pd.Timedelta(days=1)


@pytest.fixture(autouse=True, scope="module")
def _apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is written outside the temporary folder, and nothing is reported to anybody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LADDER_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("DO_NOT_TRACK", "true")
        patch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("BIKE_FEED", raising=False)
        yield


def changed(folder: Path) -> Path:
    """A copy of level 4 that was made for the other problem; the change is not committed."""
    workcopy.make(level(4), folder)
    git(folder, "apply", str(PATCH))
    return folder


def ran_out(counts: pd.Series) -> pd.Series:
    """The label: 1 where the docks ran out, 0 where they did not."""
    return (counts > CAPACITY).astype(float)


def brier(answers: pd.Series, counts: pd.Series) -> float:
    """The Brier score: the mean square of what probabilities are off by."""
    return float(((answers - ran_out(counts)) ** 2).mean())


# ---- the change


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A changed copy that ingested five months and trained on them, without a store and a service."""
    folder = changed(tmp_path_factory.mktemp("trained") / "project")
    write_feed(before(read_feed(COMMITTED_FEED), TRAINED), folder / "feed")
    for command in ("bike_demand ingest", "bike_demand.stages train", "bike_demand.stages evaluate"):
        run_command(f"python -m {command}", folder)
    return folder


@pytest.mark.xdist_group("own problem")
def test_the_change_is_small_and_lies_where_the_page_says(trained: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    lines = 0
    for line in git(trained, "diff", "--numstat").splitlines():
        added, removed, path = line.split("\t")
        assert path.startswith("bike_demand/problem/")
        assert f"| `{path}` | {int(added) + int(removed)} |" in page, path
        lines += int(added)
    assert 0 < lines < MOST_LINES
    assert git(trained, "ls-files", "--others", "--exclude-standard") == ""  # and no file is new


@pytest.mark.xdist_group("own problem")
def test_it_answers_with_probabilities_and_is_judged_by_their_brier_score(trained: Path) -> None:
    clean = read_feed(COMMITTED_FEED)
    rows = between(clean, HELD_OUT, TRAINED)
    requests = trained / "rows.csv"
    rows[INPUTS].to_csv(requests, index=False, date_format="%Y-%m-%dT%H:%M:%S", lineterminator="\n")
    run_command("python -m bike_demand predict rows.csv predictions.csv --model state/run/holdout", trained)
    answers = pd.read_csv(trained / "predictions.csv")["prediction"]
    assert answers.between(0, 1).all()
    happened = ran_out(rows["count"]) == 1
    assert answers[happened].mean() > 0.5 > 0.2 > answers[~happened].mean()
    metrics = json.loads((trained / "state" / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["holdout_error"] == pytest.approx(brier(answers, rows["count"]), abs=1e-3)
    usual = pd.Series(float(ran_out(before(clean, HELD_OUT)["count"]).mean()), rows.index)
    assert metrics["error_of_mean"] == pytest.approx(brier(usual, rows["count"]))
    assert metrics["holdout_error"] < 0.8 * metrics["error_of_mean"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("own problem")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_it_works_at_each_level_and_in_a_package_of_another_name(number: int, tmp_path: Path) -> None:
    folder = tmp_path / "harbour"
    run_command(f"python -m ladder new {number} {folder} --package harbour_docks", ROOT)
    change = PATCH.read_text(encoding="utf-8").replace("bike_demand", "harbour_docks")
    (tmp_path / "renamed.patch").write_text(change.replace("bike-demand", "harbour-docks"), encoding="utf-8")
    git(folder, "apply", str(tmp_path / "renamed.patch"))
    train, model = (
        ("harbour_docks train", "handoff") if number == 1 else ("harbour_docks.stages train", "run/refit")
    )
    for command in ("harbour_docks problem check", "harbour_docks ingest", train):
        run_command(f"python -m {command}", folder)
    run_command(f"python -m harbour_docks predict feed/2011-06.csv out.csv --model state/{model}", folder)
    assert pd.read_csv(folder / "out.csv")["prediction"].between(0, 1).all()


# ---- its loop


@dataclass(frozen=True)
class Life:
    """Each hour with the prediction that users got and its count, and the output of the loop."""

    folder: Path
    requests: pd.DataFrame
    outputs: dict[pd.Timestamp, str]

    def event_log(self) -> EventLog:
        return EventLog(self.folder)

    def drifts(self) -> pd.DataFrame:
        """When the loop noticed that the error drifts, and of which version."""
        signals = self.event_log().table("signals")
        return signals[signals["kind"] == "error-drift"].assign(at=pd.to_datetime(signals["first_at"]))

    def promoted(self) -> pd.Timestamp:
        """The morning on which the second version won its test."""
        return next(day for day, output in self.outputs.items() if "Version 2 won its A/B test" in output)

    def both(self) -> pd.DataFrame:
        """The hours of the test: what the second version answered, what the first one, and the count."""
        log = answered(self.folder / "state" / "production.db")
        log = log[log["other_prediction"].notna() & (log["hour"] < self.promoted())].sort_values("hour")
        second = log["version"] == 2
        return pd.DataFrame(
            {
                "second": log["prediction"].where(second, log["other_prediction"]),
                "first": log["other_prediction"].where(second, log["prediction"]),
                "count": log["came_true"],
            }
        )


def world() -> pd.DataFrame:
    """What really happened: from one day on, more."""
    happened = read_feed(COMMITTED_FEED)
    grown = happened["timestamp"] >= GREW
    more = happened.loc[grown, COUNTS[:2]].astype(int) * 16 // 10
    happened.loc[grown, COUNTS[:2]] = more.astype("Int64")
    happened.loc[grown, "count"] = more.sum(axis=1)
    return happened


def settle(params: Path) -> None:
    """Let it run here without a Prefect server, and let a week go by between two trainings."""
    settings = yaml.safe_load(params.read_text(encoding="utf-8"))
    settings["flow"]["api"] = ""
    settings["serving"]["poll_seconds"] = 0.2
    settings["trigger"]["cool_down_days"] = 8
    params.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8", newline="\n")


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Two weeks: each day yesterday is published, the loop runs a cycle, requests and outcomes are sent."""
    place = tmp_path_factory.mktemp("story")
    folder, happened = changed(place / "project"), world()
    settle(folder / "params.yaml")
    workcopy.commit(folder, "Will the docks run out?")
    requests: list[pd.DataFrame] = []
    outputs: dict[pd.Timestamp, str] = {}
    with hand(folder) as typing, Service(folder, place / "service.log", env=environment()) as service:
        for day in pd.date_range(FIRST, LAST):
            published = before(happened, day)
            if outputs:
                update_feed(published[published["timestamp"] >= day.replace(day=1)], folder / "feed")
            else:
                write_feed(published, folder / "feed")
            outputs[day] = typing.run_command("python -m bike_demand agent --once", folder)
            if not service.is_running():
                service.start()
            hours = between(happened, f"{day}", f"{day + DAY}")
            with httpx.Client(base_url=service.url, timeout=30) as client:
                given = client.post("/predict", json=as_bodies(hours[INPUTS])).raise_for_status().json()
                post_outcomes(hours, client, "/outcomes")
            answers = pd.DataFrame(given, index=hours.index).drop(columns="timestamp")
            requests.append(pd.concat([hours[["timestamp", "count"]], answers], axis=1))
        yield Life(folder, pd.concat(requests, ignore_index=True), outputs)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("own problem")
def test_users_get_probabilities_by_http_and_each_day_is_judged_by_the_brier_score(life: Life) -> None:
    assert len(life.requests) == len(between(world(), f"{FIRST}", f"{LAST + DAY}"))
    assert life.requests["prediction"].between(0, 1).all()
    days = life.event_log().table("daily_stats")
    days = days[days["version"] == 0].set_index("day")
    by_day = life.requests.groupby(life.requests["timestamp"].dt.strftime("%Y-%m-%d"))
    for day, its in by_day:
        if day != f"{LAST:%Y-%m-%d}":  # nobody has looked at it yet
            kept = days.loc[day]
            assert kept["error_sum"] / kept["known"] == pytest.approx(brier(its["prediction"], its["count"]))
            assert kept["target_sum"] == ran_out(its["count"]).sum()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("own problem")
def test_that_the_world_changed_is_noticed_by_the_error_alone_and_answered_by_a_training(life: Life) -> None:
    noticed = life.drifts().iloc[0]
    assert GREW + DAY < noticed["at"] <= GREW + 5 * DAY
    assert noticed["subject"] == "version 1"
    assert "too low" in noticed["message"]
    for day in pd.date_range(FIRST + DAY, GREW):
        assert life.outputs[day] == "Version 1 is live; nothing to do.\n"
    first, second = life.event_log().trainings()
    assert (first["reason"], first["version"]) == ("No model is live.", 1)
    assert "too low" in second["reason"]
    assert (second["version"], second["detail"]["result"], second["detail"]["not_worse"]) == (
        2,
        "went live",
        True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("own problem")
def test_what_was_trained_passes_all_gates_wins_its_test_and_answers_from_then_on(life: Life) -> None:
    registry = Registry(life.folder, "docks-run-out")
    decision = registry.decision("2")
    assert set(decision.gates().values()) == {True}
    assert "probability squared on" in decision.gate("error")["message"]
    both = life.both()
    scores = brier(both["second"], both["count"]), brier(both["first"], both["count"])
    assert decision.row["ab"]["days"][-1]["ratio"] == pytest.approx(scores[0] / scores[1])
    assert scores[0] < scores[1]
    shown = life.requests.groupby(life.requests["timestamp"].dt.normalize())["model_version"].agg(set)
    began = next(day for day, versions in shown.items() if versions == {"1", "2"})
    assert set(shown[began : life.promoted() - DAY].explode()) == {"1", "2"}
    assert set(shown[life.promoted() :].explode()) == {"2"}
    assert registry.aliases()["champion"] == "2"
