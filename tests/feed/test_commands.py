"""`ladder feed`: what the commands write, print and refuse."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import Result

from ladder import UserError
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import read_feed
from tests.feed.conftest import RunFeed
from tests.feed.test_real_data import as_uci, save


def refused(result: Result, says: str) -> None:
    """The command ends with one line for the user; `ladder` prints it and exits with 1."""
    assert isinstance(result.exception, UserError)
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not Path(".ladder").exists()


@pytest.mark.parametrize("command", ["simulate", "import", "fetch", "publish"])
def test_every_command_has_an_example_in_its_help(run_feed: RunFeed, command: str) -> None:
    result = run_feed(command, "--help")
    assert result.exit_code == 0
    assert f"Example: ladder feed {command}" in result.output


def test_simulate_makes_the_committed_feed(run_feed: RunFeed) -> None:
    result = run_feed("simulate", "--out", "feed")
    assert result.exit_code == 0
    assert result.output == "feed: 17,451 rows, 2011-01-01 00:00 to 2012-12-31 23:00\n"
    for path in COMMITTED_FEED.iterdir():
        assert (Path("feed") / path.name).read_bytes() == path.read_bytes()


def test_simulate_with_a_scenario_a_seed_and_a_period(run_feed: RunFeed) -> None:
    options = ["--scenario", "growth", "--seed", "5", "--start", "2011-12", "--months", "3"]
    result = run_feed("simulate", *options)
    assert result.exit_code == 0
    folder = Path(".ladder") / "feeds" / "simulated-growth"
    assert result.output.startswith(f"{folder}: ")
    assert sorted(path.name for path in folder.iterdir()) == ["2011-12.csv", "2012-01.csv", "2012-02.csv"]
    means = read_feed(folder).set_index("timestamp")["count"].resample("MS").mean()
    assert means["2012-02-01"] > 1.4 * means["2011-12-01"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--scenario", "nothing"], "no scenario nothing: choose one of calm"),
        (["--start", "2010-12"], "the simulated world begins with 2011-01"),
        (["--months", "500"], "is too far away"),
    ],
)
def test_simulate_refuses_what_it_cannot_do(run_feed: RunFeed, options: list[str], says: str) -> None:
    refused(run_feed("simulate", *options), says)


def test_what_it_writes_by_default_lies_where_ladder_home_points(
    run_feed: RunFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LADDER_HOME", str(tmp_path / "home"))
    result = run_feed("simulate", "--months", "1")
    folder = tmp_path / "home" / "feeds" / "simulated"
    assert result.output.startswith(f"{folder}: ")
    assert [path.name for path in folder.iterdir()] == ["2011-01.csv"]
    assert list(Path().iterdir()) == []


def test_import_takes_hour_csv(run_feed: RunFeed, tmp_path: Path, committed: pd.DataFrame) -> None:
    result = run_feed("import", save(as_uci(committed, "1/31/2011"), tmp_path))
    assert result.exit_code == 0
    assert result.output.startswith(str(Path(".ladder") / "feeds" / "uci"))
    pd.testing.assert_frame_equal(read_feed(Path(".ladder") / "feeds" / "uci"), committed)


def test_import_of_a_wrong_file_writes_nothing(run_feed: RunFeed, tmp_path: Path) -> None:
    (tmp_path / "hour.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    refused(run_feed("import", "hour.csv"), "the header must be instant,")


def test_fetch_without_a_network_writes_nothing(run_feed: RunFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    for proxy in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    refused(run_feed("fetch"), "check the network")


def test_publish_ends_before_the_date_with_the_faults(run_feed: RunFeed, committed: pd.DataFrame) -> None:
    result = run_feed("publish", "--until", "2012-05-12", "--scenario", "units", "--out", "feed")
    assert result.exit_code == 0
    assert result.output.endswith("rows, 2011-01-01 00:00 to 2012-05-11 23:00\n")
    shown = read_feed(Path("feed")).set_index("timestamp")["temp_c"]
    clean = committed.set_index("timestamp")["temp_c"]
    assert shown["2012-05-06":"2012-05-06"].equals(clean["2012-05-06":"2012-05-06"])
    assert (shown["2012-05-11":"2012-05-11"] > clean["2012-05-11":"2012-05-11"] + 20).all()


def test_publishing_day_by_day_touches_the_present_month_only(run_feed: RunFeed) -> None:
    run_feed("publish", "--until", "2012-05-12", "--out", "feed")
    before = {path.name: path.stat().st_mtime_ns for path in Path("feed").iterdir()}
    run_feed("publish", "--until", "2012-05-13T12:00:00", "--out", "feed")
    after = {path.name: path.stat().st_mtime_ns for path in Path("feed").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"2012-05.csv"}
    assert read_feed(Path("feed"))["timestamp"].iloc[-1] == pd.Timestamp("2012-05-13 11:00")


@pytest.mark.parametrize(("name", "same"), [("poison", True), ("calm", False), ("short", False)])
def test_publish_plays_a_scenario_in_its_own_world(
    run_feed: RunFeed, committed: pd.DataFrame, name: str, same: bool
) -> None:
    run_feed("publish", "--until", "2012-03-01", "--scenario", name, "--out", "feed")
    shown = read_feed(Path("feed"))
    before = shown["timestamp"] < pd.Timestamp("2012-02-01")
    common = shown[before].merge(committed, on="timestamp", suffixes=("", "_clean"))
    assert (common["count"] == common["count_clean"]).all() == same


@pytest.mark.slow
def test_publish_over_a_feed_of_ones_own_leaves_events_out_and_says_so(
    run_feed: RunFeed, tmp_path: Path, committed: pd.DataFrame
) -> None:
    run_feed("import", save(as_uci(committed), tmp_path), "--out", "real")
    story = ["--until", "2012-03-15", "--scenario", "short", "--feed", "real", "--out", "feed"]
    result = run_feed("publish", *story)
    assert result.output.startswith("Skipped, because events need the simulator: growth\n")
    shown = read_feed(Path("feed"))
    assert shown["count"].equals(committed["count"].head(len(shown)))
    assert not shown["temp_c"].equals(committed["temp_c"].head(len(shown)))


@pytest.mark.parametrize("until", ["2011-01-01", "2010-06-01", "2013-01-02"])
def test_publish_outside_the_feed_is_refused(run_feed: RunFeed, until: str) -> None:
    says = "outside the feed; choose a date after 2011-01-01, up to 2013-01-01"
    refused(run_feed("publish", "--until", until), says)


def test_publish_up_to_the_end_is_the_whole_feed(run_feed: RunFeed, committed: pd.DataFrame) -> None:
    run_feed("publish", "--until", "2013-01-01", "--out", "feed")
    pd.testing.assert_frame_equal(read_feed(Path("feed")), committed)


def test_publish_never_writes_into_the_clean_feed(run_feed: RunFeed) -> None:
    refused(
        run_feed("publish", "--until", "2012-01-01", "--out", COMMITTED_FEED),
        "must not be the clean feed itself",
    )
    run_feed("simulate", "--out", "mine")
    before = {path.name: path.stat().st_mtime_ns for path in Path("mine").iterdir()}
    own: list[str | Path] = [
        "--until",
        "2012-01-01",
        "--feed",
        "mine",
        "--out",
        Path("..") / Path.cwd().name / "mine",
    ]
    refused(run_feed("publish", *own), "must not be the clean feed itself")
    assert before == {path.name: path.stat().st_mtime_ns for path in Path("mine").iterdir()}


def test_publish_of_a_broken_feed_names_the_line(run_feed: RunFeed) -> None:
    run_feed("simulate", "--out", "mine", "--months", "2")
    path = Path("mine") / "2011-02.csv"
    path.write_bytes(path.read_bytes()[:-10])
    result = run_feed("publish", "--until", "2011-02-10", "--feed", "mine")
    refused(result, f"{path} line ")


def test_a_date_that_is_none_is_refused(run_feed: RunFeed) -> None:
    result = run_feed("publish", "--until", "yesterday")
    assert result.exit_code == 2
    assert not Path(".ladder").exists()
