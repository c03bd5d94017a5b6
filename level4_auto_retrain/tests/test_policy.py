"""The promotion policy: it decides on gates and test, and is stored with each decision."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from bike_demand.__main__ import main
from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.release.deploy import check, deploy, release
from bike_demand.release.gates import GATES
from bike_demand.release.policy import required_gates
from bike_demand.store.database import open_database
from bike_demand.store.tables import LoggedPrediction, State
from bike_demand.store.tracking import Tracking
from tests.conftest import Make, Run
from tests.registry import current_deployment, deploy_without_gates, register, twice
from tests.tiny import constant

ALL = [gate.id for gate in GATES]
SHORT = ["blocked", "artifact", "golden"]


def policy(**changes: Any) -> None:
    """Change the policy of the current project."""
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["promotion_policy"] |= changes
    path.write_text(yaml.safe_dump(params), encoding="utf-8")


def deploy_by_policy(number: int) -> list[str]:
    """Deploys the version with the gates that the policy requires; returns the messages."""
    output: list[str] = []
    deploy(load_settings(), str(number), None, output.append)
    return output


def _cut_off(_: Path) -> None:
    raise KeyboardInterrupt


def two_versions() -> None:
    assert main(["ingest"]) == 0
    for answer in (5.0, 6.0):
        register(constant(Path(f"answers-{answer}"), answer))
    deploy_without_gates(1)


@pytest.fixture
def live(prepare: Callable[[Make], None]) -> Tracking:
    """Version 1 is live, version 2 is registered. The policy requires three gates, which start no process."""
    prepare(two_versions)
    policy(gates=SHORT)
    return Tracking(load_settings())


def test_all_gates_are_required_by_default(project: Path) -> None:
    assert project
    given = load_settings().promotion_policy
    assert list(given.gates) == ALL == [gate.id for gate in required_gates(load_settings())]
    assert (given.test, given.may_skip_test) == ("ab", ("*",))


@pytest.mark.slow
def test_gate_not_required_by_the_policy_is_skipped_and_recorded(live: Tracking) -> None:
    output = deploy_by_policy(2)
    row = current_deployment(2)
    assert [each["gate"] for each in row.gates] == SHORT
    left_out = [each for each in ALL if each not in SHORT]
    assert row.policy is not None
    assert (row.policy["gates"], row.policy["skipped_gates"]) == (SHORT, left_out)
    assert all(each in output[0] for each in left_out)
    assert live.aliases() == {"champion": 1, "challenger": 2}
    page = Path("state/reports/version-2.html").read_text(encoding="utf-8")
    assert "skipped gates" in page
    assert "test-environment" in page


def test_interrupted_deployment_resumes_under_current_policy(
    live: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bike_demand.release.gates.integrity.load_model", _cut_off)
        with pytest.raises(KeyboardInterrupt):
            deploy_by_policy(2)
    assert [each["passed"] for each in current_deployment(2).gates] == [True, True, None]
    policy(gates=SHORT[:2])
    deploy_by_policy(2)
    assert [(each["gate"], each["passed"]) for each in current_deployment(2).gates] == [
        (each, True) for each in SHORT[:2]
    ]
    assert live.aliases() == {"champion": 1, "challenger": 2}


def test_stored_policy_does_not_change(live: Tracking) -> None:
    deploy_by_policy(2)
    kept = current_deployment(2).policy
    policy(gates=ALL, may_skip_test=[])
    assert live.versions()
    assert current_deployment(2).policy == kept
    assert kept is not None
    assert kept["may_skip_test"] == ["*"]
    assert kept["ab"]["days"] == load_settings().ab.days
    assert kept["limits"]["error_worse"] == load_settings().deploy.error_worse


@pytest.mark.usefixtures("live")
def test_trace_shows_the_policy_of_the_decision(run: Run) -> None:
    deploy_by_policy(2)
    row = current_deployment(2)
    answer = LoggedPrediction(
        id="0" * 32,
        made_at=row.began_at,
        client="somebody",
        event_time=row.requested_at,
        key="",
        inputs={},
        prediction=6.0,
        variant="challenger",
        version=2,
        deployment=row.id,
    )
    database = open_database(load_settings().environments.production.database)
    with database.writing() as session:
        session.add(answer)
    database.close()
    shown = yaml.safe_load(run("trace", "0" * 32).out)
    assert shown == json.loads(run("trace", "0" * 32, "--json").out)
    assert shown["deployment"]["policy"] == current_deployment(2).policy
    assert shown["deployment"]["policy"]["gates"] == SHORT


def test_without_a_required_test_a_version_goes_live_after_its_gates(live: Tracking) -> None:
    policy(test="none")
    deploy(load_settings(), "2", None, print, run=twice)  # as by a task that is retried
    row = current_deployment(2)
    assert (row.state, row.against) == (State.LIVE, 1)
    assert "requires no test" in row.reason
    assert live.aliases() == {"champion": 2, "previous": 1}  # it is watched all the same


@pytest.mark.parametrize(
    ("may_skip_test", "who", "may"),
    [
        (["*"], "anybody", True),
        (["ada", "grace"], "grace", True),
        (["ada", "grace"], "mallory", False),
        ([], "ada", False),
    ],
)
def test_only_listed_accounts_may_skip_the_test(
    live: Tracking, monkeypatch: pytest.MonkeyPatch, may_skip_test: Sequence[str], who: str, may: bool
) -> None:
    policy(may_skip_test=list(may_skip_test))
    monkeypatch.setenv("GITHUB_ACTOR", who)
    if may:
        release(load_settings(), "2", "in need", None, print)
        row = current_deployment(2)
        assert (row.who, row.skip_reason, row.state) == (who, "in need", State.LIVE)
        assert row.policy is not None
        assert row.policy["may_skip_test"] == list(may_skip_test)
    else:
        with pytest.raises(UserError, match=f"{who} may not skip the test"):
            release(load_settings(), "2", "in need", None, print)
        check(load_settings(), "2", None, print)  # to try the gates needs no permission
        assert live.aliases() == {"champion": 1}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gates": ["blocked", "colour"]}, "promotion_policy.gates.1"),
        ({"gates": []}, "promotion_policy.gates"),
        ({"test": "coin"}, "promotion_policy.test"),
        ({"may_skip_test": "ada"}, "promotion_policy.may_skip_test"),
        ({"overide": ["ada"]}, "promotion_policy.overide"),
    ],
)
def test_invalid_policy_is_rejected_in_one_line(
    project: Path, run: Run, changes: dict[str, Any], named: str
) -> None:
    assert project
    policy(**changes)
    output = run("deploy", "latest")
    assert named in output.refusal()
    assert output.err.count("\n") == 1
