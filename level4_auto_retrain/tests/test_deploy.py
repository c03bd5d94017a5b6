"""Deploying a version: what happens to it, what is kept of it, and how it is taken up again."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from filelock import FileLock

from bike_demand.__main__ import main
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import load_settings
from bike_demand.data.frames import time_range
from bike_demand.release.decision import page_of
from bike_demand.release.deploy import check, deploy, earlier_decision, release
from bike_demand.release.gates import GATES, Gate, GateContext, GateResult
from bike_demand.store.deployments import Deployments, open_deployments
from bike_demand.store.tables import State
from bike_demand.store.tracking import Tracking
from bike_demand.store.traffic_split import traffic_split
from tests.conftest import ROOT, Run, project_in
from tests.registry import copy_state, current_deployment, deploy_without_gates, register, twice
from tests.tiny import constant

HOLDOUT_LAST = (
    "2011-03-24T00:00:00"  # what the trained holdout model learned from; the feed ends a week later
)
# Those that start no other process.
QUICK = tuple(gate for gate in GATES if gate.id not in ("test-environment", "cost"))
NOW = "2011-04-01T00:00:00"  # the day after the feed's last


@pytest.fixture(scope="session")
def registered_template(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, handoffs: tuple[Path, Path]
) -> Path:
    folder = tmp_path_factory.mktemp("registered")
    with project_in(folder, empty_store):
        assert main(["ingest"]) == 0
        register(constant(folder / "fifty", 50.0), holdout_last=HOLDOUT_LAST)
        register(*handoffs, holdout_last=HOLDOUT_LAST)
    return folder


@pytest.fixture
def tracking(project: Path, registered_template: Path) -> Tracking:
    """Version 1 is worse than version 2, a trained one. Nothing is live."""
    copy_state(registered_template, project)
    return Tracking(load_settings())


@pytest.fixture
def live(tracking: Tracking) -> Tracking:
    """Version 1 is live."""
    deploy_without_gates(1)
    return tracking


def deployed(number: int, gates: Sequence[Gate] = QUICK) -> list[str]:
    """Deploys the version; returns the messages."""
    output: list[str] = []
    deploy(load_settings(), str(number), None, output.append, gates)
    return output


def gates_of(number: int) -> dict[str, bool | None]:
    """Whether the version passed each gate; None: not reached."""
    return {each["gate"]: each["passed"] for each in current_deployment(number).gates}


def page(number: int) -> str:
    return page_of(number).read_text(encoding="utf-8")


def end_test(state: State) -> None:
    """The test of the challenger ends in this state."""
    with open_deployments(load_settings(), datetime.fromisoformat(NOW), print) as deployments:
        row = deployments.testing()
        assert row is not None
        deployments.transition(row, state, "a test")


def stops(case: GateContext) -> GateResult:
    return GateResult(False, f"version {case.version.number} has the wrong colour", {"colour": "red"})


def is_candidate(case: GateContext) -> GateResult:
    case.tracking.set_alias("candidate", case.version.number)
    return GateResult(True, "it is the candidate")


def counted(gates: Sequence[Gate], seen: list[str]) -> list[Gate]:
    """The same gates, which note that they were run."""

    def noted(gate: Gate) -> Callable[[GateContext], GateResult]:
        def judge(case: GateContext) -> GateResult:
            seen.append(gate.id)
            return gate.judge(case)

        return judge

    return [replace(gate, judge=noted(gate)) for gate in gates]


# ---- what follows on the gates


def test_a_version_that_passes_all_gates_begins_its_ab_test(live: Tracking) -> None:
    output = deployed(2)
    assert len(output) == len(QUICK) + 1
    assert output[0] == f"1/{len(QUICK)} blocked          passed: never rolled back or rejected"
    assert output[-1] == (
        "Version 2 passed all gates; its A/B test against version 1 starts"
        f" (planned: {load_settings().ab.days} days)."
        " No production service is running; the change takes effect when one starts."
    )
    assert live.aliases() == {"champion": 1, "challenger": 2}
    test = json.loads(live.version(2).tags["ab"])
    ab = load_settings().ab
    assert test == {"mode": "ab", "began": NOW} | ab.model_dump(include={"share", "salt", "randomize_by"})
    split = traffic_split(live, "champion")
    assert split is not None
    assert split.other is not None
    assert (split.shown.number, split.other.number, split.role, split.share) == (1, 2, "challenger", ab.share)


def test_the_evidence_of_all_gates_is_stored_and_on_a_page(live: Tracking) -> None:
    deployed(2)
    row, version = current_deployment(2), live.version(2)
    assert gates_of(2) == {gate.id: True for gate in QUICK}
    error = next(each for each in row.gates if each["gate"] == "error")
    assert error["evidence"]["candidate"] < error["evidence"]["champion"]
    assert error["message"].startswith("error ")
    assert (row.version, row.against, row.state, row.requested_at.isoformat()) == (2, 1, State.TESTING, NOW)
    assert (row.run_id, row.digest) == (version.run_id, version.digest)
    for gate in QUICK:
        assert gate.title in page(2).replace("&#39;", "'")
    assert "Version 2: testing" in page(2)
    assert version.digest in page(2)
    assert "http" not in page(2)  # it needs nothing from anywhere


def test_the_first_version_of_all_goes_live_at_once(tracking: Tracking) -> None:
    output = deployed(2)
    assert output[-1].startswith("Version 2 is live: no champion to test it against.")
    assert tracking.aliases() == {"champion": 2}
    row = current_deployment(2)
    assert (row.state, row.against, row.changed_at.isoformat()) == (State.LIVE, None, NOW)


def test_a_version_that_a_gate_stops_is_refused_in_one_line_and_nothing_moves(live: Tracking) -> None:
    gates = [*QUICK[:2], Gate("colour", "It is blue", stops), *QUICK[2:]]
    with pytest.raises(UserError) as caught:
        deployed(2, gates)
    assert str(caught.value) == (
        "version 2 is refused by gate colour: version 2 has the wrong colour; the champion is unchanged"
        f" (evidence: {Path('state/reports/version-2.html')})"
    )
    assert live.aliases() == {"champion": 1}
    row = current_deployment(2)
    assert row.state is State.FAILED_GATE
    assert row.reason == "refused by gate colour: version 2 has the wrong colour"
    results = {"blocked": True, "artifact": True, "colour": False}
    assert gates_of(2) == results | {gate.id: None for gate in QUICK[2:]}
    assert row.gates[2]["evidence"] == {"colour": "red"}
    assert "Version 2 has the wrong colour." in page(2)
    assert page(2).count("not reached") == len(QUICK) - 2


@pytest.mark.slow
def test_a_refused_version_is_tried_from_the_start_when_it_is_deployed_again(live: Tracking) -> None:
    with pytest.raises(UserError):
        deployed(2, [*QUICK, Gate("colour", "It is blue", stops)])
    first = current_deployment(2).id
    seen: list[str] = []
    deployed(2, counted(QUICK, seen))
    assert seen == [gate.id for gate in QUICK]
    assert current_deployment(2).id != first
    assert live.aliases()["challenger"] == 2


@pytest.mark.slow
def test_another_version_waits_while_one_is_tested(live: Tracking, handoffs: tuple[Path, Path]) -> None:
    deployed(2)
    register(*handoffs, tracking=live, holdout_last=HOLDOUT_LAST)
    assert deployed(3)[-1] == "Version 3 passed all gates and is queued until the test of version 2 ends."
    assert live.aliases() == {"champion": 1, "challenger": 2}
    assert (current_deployment(3).state, current_deployment(3).changed_at.isoformat()) == (State.QUEUED, NOW)
    assert deployed(3) == ["Version 3 is queued until the test of version 2 ends; nothing was changed."]


@pytest.mark.slow
def test_another_version_waits_while_a_promotion_is_watched(
    live: Tracking, handoffs: tuple[Path, Path]
) -> None:
    deployed(2)
    end_test(State.LIVE)
    register(*handoffs, tracking=live, holdout_last=HOLDOUT_LAST)
    assert deployed(3)[-1] == "Version 3 passed all gates and is queued until the watch of version 2 ends."
    assert live.aliases() == {"champion": 2, "previous": 1}
    assert deployed(3) == ["Version 3 is queued until the watch of version 2 ends; nothing was changed."]


@pytest.mark.slow
def test_queued_version_starts_its_test_when_free(live: Tracking, handoffs: tuple[Path, Path]) -> None:
    deployed(2)
    register(*handoffs, tracking=live, holdout_last=HOLDOUT_LAST)
    deployed(3)
    end_test(State.FAILED_TEST)
    seen: list[str] = []
    deployed(3, counted(QUICK, seen))
    assert seen == []  # it passed before
    assert live.aliases() == {"champion": 1, "challenger": 3}


@pytest.mark.usefixtures("live")
def test_deploying_live_or_testing_version_changes_nothing(run: Run) -> None:
    assert run("deploy", 1).out == "Version 1 is live already; nothing was changed.\n"
    deployed(2)
    output = run("deploy", "latest")
    assert (output.status, output.out) == (0, "Version 2 is already being tested; nothing was changed.\n")


def test_shadow_mode_is_written_to_the_tag(live: Tracking, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(
        params.read_text(encoding="utf-8").replace("mode: ab", "mode: shadow"), encoding="utf-8"
    )
    assert "its shadow test against version 1 starts" in deployed(2)[-1]
    split = traffic_split(live, "champion")
    assert split is not None
    assert (split.role, split.share) == ("shadow", 0.0)


# ---- interrupted


KILLED = """
import os, sys
from tests.test_deploy import QUICK, deployed
from dataclasses import replace
gates = list(QUICK)
gates[{at}] = replace(gates[{at}], judge=lambda case: os._exit(9))
deployed(2, gates)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 3])
def test_a_deployment_that_was_killed_goes_on_where_it_was(live: Tracking, at: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(at=at)], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 9
    assert current_deployment(2).state is State.VALIDATING
    passed = [each for each in current_deployment(2).gates if each["passed"]]
    assert len(passed) == at
    cut_off = current_deployment(2).id
    seen: list[str] = []
    output = deployed(2, counted(QUICK, seen))
    assert seen == [gate.id for gate in QUICK[at:]]
    assert all(line.endswith("(passed before)") for line in output[:at])
    row = current_deployment(2)
    assert row.id == cut_off
    assert gates_of(2) == {gate.id: True for gate in QUICK}
    assert row.gates[:at] == passed
    assert live.aliases() == {"champion": 1, "challenger": 2}
    assert "not reached" not in page(2)


def interrupted() -> None:
    """A deployment of version 2 that ended after all gates but before anything was decided."""

    def ends(_: GateContext) -> GateResult:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deployed(2, [*QUICK, Gate("last", "Last", ends)])
    assert current_deployment(2).state is State.VALIDATING


@pytest.mark.slow
def test_deploy_latest_does_not_retry_decided_version(live: Tracking) -> None:
    deployed(2)
    end_test(State.FAILED_TEST)
    before = current_deployment(2).id
    output: list[str] = []
    deploy(load_settings(), "latest", None, output.append, QUICK)
    assert output == [
        "Version 2 was deployed before: failed test; nothing was changed"
        " (to try it again: python -m bike_demand deploy 2)."
    ]
    assert live.aliases() == {"champion": 1}
    assert current_deployment(2).id == before
    deployed(2)  # somebody who names it means it
    assert live.aliases() == {"champion": 1, "challenger": 2}


@pytest.mark.slow
def test_deploy_latest_does_not_retry_a_version_that_was_replaced(live: Tracking) -> None:
    deployed(2)
    end_test(State.LIVE)
    assert live.aliases()["champion"] == 2
    released(1, [Gate("last", "Last", is_candidate)])
    output: list[str] = []
    deploy(load_settings(), "latest", None, output.append, QUICK)
    assert "nothing was changed" in output[0]
    assert live.aliases()["champion"] == 1
    assert current_deployment(2).state is State.RETIRED


@pytest.mark.slow
def test_resumed_deployment_reruns_comparison_with_new_champion(
    live: Tracking, handoffs: tuple[Path, Path]
) -> None:
    interrupted()
    live.set_alias("champion", register(*handoffs, tracking=live, holdout_last=HOLDOUT_LAST).number)
    seen: list[str] = []
    deployed(2, counted(QUICK, seen))
    assert seen == ["error", "slices"]
    assert current_deployment(2).against == 3


@pytest.mark.slow
def test_a_champion_that_changes_meanwhile_is_noticed(live: Tracking, handoffs: tuple[Path, Path]) -> None:
    other = register(*handoffs, tracking=live, holdout_last=HOLDOUT_LAST).number

    def meanwhile(_: GateContext) -> GateResult:
        live.set_alias("champion", other)
        return GateResult(True, "nothing to see")

    with pytest.raises(UserError, match="version 3 went live in the meantime; deploy again"):
        deployed(2, [*QUICK, Gate("long", "It takes long", meanwhile)])
    assert live.aliases() == {"champion": 3, "previous": 1}  # out of band, so it is watched
    with open_deployments(load_settings(), None, print) as deployments:
        row = deployments.live()
        assert row is not None
        deployments.end_watch(row, "its watch ended")
    deployed(2)
    assert live.aliases() == {"champion": 3, "challenger": 2}


def test_steps_that_are_repeated_start_one_test_and_queue_once(
    live: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(constant(Path("three"), 50.0), tracking=live)
    waited: list[Deployments] = []

    def rollout(deployments: Deployments) -> str:
        waited.append(deployments)
        return "Live."

    monkeypatch.setattr(Deployments, "rollout", rollout)
    output: list[str] = []
    for number in ("2", "3"):
        deploy(load_settings(), number, None, output.append, (), twice)
    assert output[0].startswith("Version 2 passed all gates; its A/B test against version 1 starts")
    assert output[-1] == "Version 3 passed all gates and is queued until the test of version 2 ends."
    assert len(waited) == 2  # for the test only, as it was started twice
    assert live.aliases() == {"champion": 1, "challenger": 2}
    assert [current_deployment(each).state for each in (2, 3)] == [State.TESTING, State.QUEUED]


@pytest.mark.slow
def test_unreachable_store_is_not_a_gate_failure(live: Tracking) -> None:
    store = Path("state/mlflow.db")

    def away(case: GateContext) -> GateResult:
        store.rename("elsewhere.db")
        return GateResult(True, case.tracking.version(2).digest)

    with pytest.raises(UnreachableError):
        deployed(2, [*QUICK[:2], Gate("away", "It is there", away)])
    Path("elsewhere.db").rename(store)
    assert current_deployment(2).state is State.VALIDATING
    assert gates_of(2) == {"blocked": True, "artifact": True, "away": None}
    deployed(2)
    assert live.aliases()["challenger"] == 2


def test_concurrent_deployment_is_refused(live: Tracking) -> None:
    with (
        FileLock("state/.production.db.deployment"),
        pytest.raises(UserError, match="another deployment is running"),
    ):
        deployed(2)
    assert live.aliases() == {"champion": 1}


def test_deployment_with_patience_waits_for_another_one(live: Tracking) -> None:
    running, output = FileLock("state/.production.db.deployment", thread_local=False), list[str]()
    running.acquire()
    threading.Timer(0.3, running.release).start()
    deploy(load_settings(), "2", None, output.append, (), patience=30)
    assert live.aliases() == {"champion": 1, "challenger": 2}


def test_a_change_found_after_a_training_is_adopted_at_the_time_of_the_training(live: Tracking) -> None:
    live.set_alias("champion", 2)
    at, output = datetime(2011, 3, 20), list[str]()
    assert "is live already" in str(earlier_decision(load_settings(), "2", at, output.append))
    assert "out of band" in output[0]
    assert current_deployment(2).changed_at == at


# ---- emergency release


def released(number: int, gates: Sequence[Gate] = QUICK) -> list[str]:
    output: list[str] = []
    release(load_settings(), str(number), "nobody gets a number", None, output.append, gates)
    return output


def test_a_person_releases_past_the_ab_test_with_a_reason(live: Tracking) -> None:
    assert released(2)[-1].startswith("Version 2 is live.")
    assert live.aliases() == {"champion": 2, "previous": 1}
    assert (current_deployment(2).skip_reason, current_deployment(2).state) == (
        "nobody gets a number",
        State.LIVE,
    )
    assert list(gates_of(2)) == [gate.id for gate in QUICK]
    split = traffic_split(live, "champion")
    assert split is not None
    assert split.other is not None
    assert (split.other.number, split.role, split.share) == (1, "previous", 0.0)


def test_no_person_releases_past_a_gate(live: Tracking) -> None:
    with pytest.raises(UserError, match="refused by gate colour"):
        released(2, [*QUICK, Gate("colour", "It is blue", stops)])
    assert live.aliases() == {"champion": 1}


@pytest.mark.slow
def test_a_version_that_a_person_may_not_release_stays_in_its_test(live: Tracking) -> None:
    deployed(2)
    before = live.version(2)
    with pytest.raises(UserError, match="refused by gate colour"):
        released(2, [Gate("colour", "It is blue", stops)])
    assert live.version(2) == before
    assert live.aliases() == {"champion": 1, "challenger": 2}
    assert current_deployment(2).state is State.TESTING


@pytest.mark.slow
def test_a_release_ends_the_test_of_another_version(live: Tracking, handoffs: tuple[Path, Path]) -> None:
    deployed(2)
    register(*handoffs, tracking=live, holdout_last=HOLDOUT_LAST)
    released(3)
    assert live.aliases() == {"champion": 3, "previous": 1}
    assert (current_deployment(2).state, current_deployment(2).reason) == (
        State.SUPERSEDED,
        "version 3 was released without an A/B test",
    )


@pytest.mark.slow
def test_a_release_of_the_version_under_test_ends_its_test(live: Tracking) -> None:
    deployed(2)
    test = current_deployment(2).id
    released(2)
    assert live.aliases() == {"champion": 2, "previous": 1}
    assert current_deployment(2).state is State.LIVE
    with open_deployments(load_settings(), None, print) as deployments:
        (ended,) = deployments.all(State.SUPERSEDED)
    assert ended.id == test != current_deployment(2).id


def test_check_runs_all_gates_and_stores_nothing(live: Tracking) -> None:
    output: list[str] = []
    seen: list[str] = []
    gates = counted([Gate("colour", "It is blue", stops), *QUICK], seen)
    with pytest.raises(UserError, match="refused by gate colour"):
        check(load_settings(), "2", None, output.append, gates)
    assert seen == ["colour", *(gate.id for gate in QUICK)]
    check(load_settings(), "2", None, output.append, QUICK)
    assert output[-1] == "Version 2 passes all gates; nothing was changed."
    check(load_settings(), "champion", None, output.append, QUICK)
    assert output[-1] == "Version 1 passes all gates; nothing was changed."
    check(load_settings(), "2", None, output.append, [Gate("moves", "It is the candidate", is_candidate)])
    assert live.aliases() == {"champion": 1}
    live.set_alias("candidate", 1)
    check(load_settings(), "2", None, output.append, [Gate("moves", "It is the candidate", is_candidate)])
    assert live.aliases() == {"champion": 1, "candidate": 1}
    with open_deployments(load_settings(), None, print) as deployments:
        assert [each.version for each in deployments.all()] == [1]


# ---- the command line


@pytest.mark.slow
def test_by_the_command_a_version_passes_all_gates_and_a_bad_one_does_not(
    live: Tracking, run: Run, handoffs: tuple[Path, Path]
) -> None:
    output = run("deploy", "latest", "--as-of", "2011-04-01")
    assert (output.status, output.err) == (0, "")
    lines = output.out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [gate.id for gate in GATES]
    assert f"starts (planned: {load_settings().ab.days} days)" in lines[-1]
    assert live.aliases() == {"champion": 1, "challenger": 2, "candidate": 2}
    bad = register(constant(Path("ninety"), 90.0), handoffs[1], tracking=live, holdout_last=HOLDOUT_LAST)
    output = run("deploy", bad.number)
    assert output.status == 1
    assert output.err.startswith(
        f"error: version {bad.number} is refused by gate test-environment: Small machines"
    )
    assert output.err.count("\n") == 1
    assert live.aliases() == {"champion": 1, "challenger": 2, "candidate": 3}


@pytest.mark.usefixtures("live")
def test_what_cannot_be_done_is_reported_in_one_line(run: Run) -> None:
    for argv, fragment in (
        (("deploy", "3"), "version 3: "),
        (("deploy", "newest"), "give its number, latest or champion"),
        (("deploy",), "VERSION"),
        (("release",), "VERSION"),
        (("release", "2"), "--reason"),
        (("release", "2", "--reason", " "), "--reason"),
        (("release", "3", "--check"), "version 3: "),
        (("rollback",), "no earlier champion can be restored"),
    ):
        output = run(*argv)
        assert output.status != 0, argv
        assert fragment in output.err, argv
        assert output.err.count("\n") == 1, argv
    assert Tracking(load_settings()).aliases() == {"champion": 1}


@pytest.mark.usefixtures("stored")
def test_before_the_first_training_it_says_what_to_do(run: Run) -> None:
    assert "no version is registered yet" in run("deploy", "latest").refusal()


@pytest.mark.slow
def test_the_gates_see_only_what_had_happened_by_then(live: Tracking) -> None:
    ends: list[datetime] = []

    def look(case: GateContext) -> GateResult:
        ends.append(time_range(case.rows)[1])
        return GateResult(True, "seen")

    output: list[str] = []
    deploy(load_settings(), "2", datetime(2011, 3, 28), output.append, [Gate("look", "It looks", look)])
    assert ends == [datetime(2011, 3, 27)]  # a row a day
    assert json.loads(live.version(2).tags["ab"])["began"] == "2011-03-28T00:00:00"
