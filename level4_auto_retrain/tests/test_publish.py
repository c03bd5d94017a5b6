"""What the loop tells the application's page at the end of a turn."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from bike_demand.loop import champion
from bike_demand.loop.context import Context
from bike_demand.loop.publish import publish
from bike_demand.prediction_log import facts
from bike_demand.prediction_log.database import open_database
from bike_demand.release.ab.step import step
from bike_demand.settings import load_settings
from bike_demand.tracking import Tracking
from tests.registry import put_live
from tests.test_ab import BEGAN, Deploy, answered, deploy, prepared
from tests.test_dashboard import hero, page, words
from tests.tiny import constant

__all__ = ["deploy", "prepared"]  # fixtures: version 1 is live, and a version can be put to the test


def told(day: str) -> str:
    """The page after a turn of that day."""
    settings = load_settings()
    address = settings.environments.production.database
    now = datetime.fromisoformat(day)
    with closing(open_database(address)) as database:
        context = Context(settings, Tracking(settings), database, now, now, print)
        champion.note(context)
        publish(context)
        looked = datetime.fromisoformat(facts.read(database)["live"].content["looked_at"])
    assert abs((datetime.now(UTC) - looked).total_seconds()) < 60
    return page(address)


def test_a_test_is_shown_with_its_numbers_and_afterwards_the_watch(deploy: Deploy) -> None:
    deploy(2, BEGAN)
    answered("2011-03-06", 20.0, 10.0)
    html = told("2011-03-04")
    assert hero(html) == ("busy", "Version 2 is tested against version 1")
    assert f"day 3 of {load_settings().ab.days}, shown in 50 % of the hours" in words(html)
    assert "its error is 0.4" in words(html)
    step(load_settings(), datetime(2011, 3, 5), print)
    html = told("2011-03-05")
    assert hero(html) == ("good", "All is well")
    assert "Version 2 is watched beside version 1, the one before." in words(html)
    assert f"day 0 of {load_settings().ab.watch_days}" in words(html)
    assert "Live model v2 since 5 Mar 2011, 0 days" in words(html)


def test_what_a_version_promised_is_shown(stored: Path) -> None:
    assert stored
    tracking = Tracking(load_settings())
    assert "Trainings 0 4 of 4 left in 30 days" in words(told("2011-03-04"))
    version = put_live(constant(Path("made"), 5.0))
    tracking.tag(version.number, {"mae": "27.5000", "skill": "0.4100"})
    told("2011-03-05")
    address = load_settings().environments.production.database
    with closing(open_database(address)) as database:
        assert facts.read(database)["live"].content["promise"] == {"mae": 27.5, "skill": 0.41}


def test_before_there_is_a_model_there_is_nothing_to_tell(stored: Path) -> None:
    assert stored
    assert hero(told("2011-03-05")) == ("none", "No model is live yet")
