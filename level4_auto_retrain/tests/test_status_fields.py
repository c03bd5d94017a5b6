"""What the loop publishes for the status document at the end of a monitoring cycle."""

from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bike_demand.core.settings import load_settings
from bike_demand.loop.context import Context
from bike_demand.loop.status_fields import publish_status_fields
from bike_demand.release.ab.step import step
from bike_demand.release.rollback import roll_back_champion
from bike_demand.serving.live_models import LiveModels
from bike_demand.serving.onnx_model import load_model
from bike_demand.serving.status import StatusDocument
from bike_demand.store import event_log
from bike_demand.store.database import open_database
from bike_demand.store.deployments import open_deployments
from bike_demand.store.tracking import CHAMPION, Tracking
from tests.registry import put_live
from tests.test_ab import BEGAN, Deploy, answered, deploy, deployed_template
from tests.test_dashboard import headline, status_of
from tests.tiny import constant

__all__ = ["deploy", "deployed_template"]  # fixtures: version 1 is live, and a version can be put to the test


def after_cycle(day: str) -> StatusDocument:
    """The status document after a monitoring cycle on that day."""
    settings = load_settings()
    address = settings.environments.production.database
    now = datetime.fromisoformat(day)
    with open_deployments(settings, now, print) as found:
        tracking = found.tracking
        publish_status_fields(Context(settings, tracking, found.database, found, now, now, print))
    version = tracking.aliases().get(CHAMPION)
    live = None if version is None else LiveModels(load_model(constant(Path("live"), 5.0), str(version)))
    status = status_of(address, live)
    assert status.as_of == now
    assert status.last_cycle_at is not None
    assert status.generated_at - status.last_cycle_at < timedelta(minutes=1)
    return status


@pytest.mark.slow
def test_comparison_is_published_as_test_then_watch(deploy: Deploy) -> None:
    deploy(2, BEGAN)
    answered("2011-03-06", 20.0, 10.0)
    status = after_cycle("2011-03-04")
    assert headline(status) == ("busy", "A/B test in progress")
    (test,) = status.comparisons
    compared = test["comparison"]
    shown = compared["kind"], compared["version"], compared["against"], compared["share"]
    assert shown == ("test", 2, 1, 0.5)
    assert compared["days"] == load_settings().ab.days
    assert 0.4 < test["days"][-1]["ratio"] < 0.5
    step(load_settings(), datetime(2011, 3, 5), print)
    status = after_cycle("2011-03-05")
    assert headline(status) == ("good", "All is well")
    (watch,) = status.comparisons
    compared = watch["comparison"]
    assert (compared["kind"], compared["version"], compared["against"]) == ("watch", 2, 1)
    assert compared["days"] == load_settings().ab.watch_days
    assert status.live_since == datetime(2011, 3, 5)
    with open_deployments(load_settings(), datetime(2026, 1, 1), print) as deployments:  # by the wall clock
        roll_back_champion(deployments, "a test")
    assert headline(after_cycle("2011-03-06")) == ("good", "All is well")  # no news in the feed's time


def test_reference_error_and_budget_are_published(stored: Path) -> None:
    assert stored
    tracking = Tracking(load_settings())
    assert after_cycle("2011-03-04").budget == {"spent": 0, "limit": 4, "days": 30, "message": None}
    version = put_live(constant(Path("made"), 5.0))
    tracking.tag(version.number, {"holdout_error": "27.5000", "skill": "0.4100"})
    assert after_cycle("2011-03-05").reference_error == 27.5
    with closing(open_database(load_settings().environments.production.database)) as database:
        training = event_log.begin_training(database, reason="age", at=datetime(2011, 3, 5))
        event_log.update_training(database, training.id, state=event_log.FAILED)
    assert "the next is due at 2011-03-06" in str(after_cycle("2011-03-05").budget["message"])


def test_before_there_is_a_model_there_is_nothing_to_show(stored: Path) -> None:
    assert stored
    assert headline(after_cycle("2011-03-05")) == ("none", "No model is live yet")
