"""Releasing a version: what is shown, what is refused, and what is kept of it."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from bike_demand.__main__ import main
from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA, load_settings
from bike_demand.data.ingested import read_rows
from bike_demand.release import gate
from bike_demand.store.tracking import Tracking, Version
from tests.conftest import CommandResult, Run, project_in
from tests.registry import register
from tests.tiny import constant

HOLDOUT_LAST = (
    "2011-03-24T00:00:00"  # what the trained holdout model learned from; the feed ends a week later
)


@pytest.fixture
def ingested_project(stored: Path, run: Run) -> Path:
    """A project whose feed was ingested."""
    assert run("ingest").status == 0
    return stored


@pytest.fixture(scope="module")
def registered_template(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, handoffs: tuple[Path, Path]
) -> Path:
    folder = tmp_path_factory.mktemp("registered")
    with project_in(folder, empty_store):
        assert main(["ingest"]) == 0
        tracking = Tracking(load_settings())
        register(constant(folder / "fifty", 50.0), tracking=tracking, holdout_last=HOLDOUT_LAST)
        register(*handoffs, tracking=tracking, holdout_last=HOLDOUT_LAST)
        tracking.set_alias("champion", 1)
    return folder


@pytest.fixture
def registry(project: Path, registered_template: Path) -> Tracking:
    """Version 1 always answers 50 pieces and is live; version 2 is a trained one. The feed was ingested."""
    shutil.copytree(registered_template / "state", project / "state")
    return Tracking(load_settings())


def live(tracking: Tracking) -> int | None:
    champion = tracking.champion()
    return champion.number if champion else None


def refused(output: CommandResult) -> str:
    assert output.status == 1, output
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    return output.err


def error_of(answer: float, after: str) -> tuple[int, float]:
    rows = read_rows(DATA)
    rows = rows[rows["begins"] > after]
    return len(rows), float((rows["amount"] - answer).abs().mean())


def test_a_better_version_is_compared_with_the_live_one_and_goes_live(registry: Tracking, run: Run) -> None:
    output = run("release", 2, "--yes")
    assert (output.status, output.err) == (0, "")
    rows, error = error_of(50.0, HOLDOUT_LAST)
    assert f"On {rows} rows that neither holdout model was trained on, 2011-03-25T00:00:00 to" in output.out
    assert f"version 1     live       {error:7.1f}" in output.out
    assert "version 2     candidate" in output.out
    assert "checks: passed" in output.out
    assert "Version 2 is live. Services poll the registry every 1 s and switch to it." in output.out
    assert live(registry) == 2
    tags = registry.version(2).tags
    assert tags["release.instead_of"] == "1"
    assert tags["release.rows"] == str(rows)
    assert tags["release.champion_error"] == f"{error:.6g}"
    assert float(tags["release.error"]) < error
    assert "release.override" not in tags


def test_both_are_compared_only_on_rows_after_what_either_holdout_model_saw(ingested_project: Path) -> None:
    tracking = Tracking(load_settings())
    later = "2011-03-28T00:00:00"
    for champion_last, candidate_last in ((later, HOLDOUT_LAST), (HOLDOUT_LAST, later)):
        champion = register(
            constant(ingested_project / "c", 50.0), tracking=tracking, holdout_last=champion_last
        )
        candidate = register(
            constant(ingested_project / "d", 70.0), tracking=tracking, holdout_last=candidate_last
        )
        tracking.set_alias("champion", champion.number)
        found = gate.propose(tracking, candidate, read_rows(DATA), load_settings().release).comparison
        assert found is not None
        assert (found.first, found.last) == ("2011-03-29T00:00:00", "2011-03-31T00:00:00")
        assert (found.rows, found.candidate) == pytest.approx(error_of(70.0, later))
        assert found.champion == pytest.approx(error_of(50.0, later)[1])


def test_the_holdout_models_are_compared_and_not_the_models_that_saw_the_rows(
    ingested_project: Path, handoffs: tuple[Path, Path]
) -> None:
    tracking = Tracking(load_settings())
    candidate = register(
        handoffs[0], constant(ingested_project / "c", 70.0), tracking=tracking, holdout_last=HOLDOUT_LAST
    )
    found = gate.propose(tracking, candidate, read_rows(DATA), load_settings().release).comparison
    assert found is not None
    assert found.candidate == pytest.approx(error_of(70.0, HOLDOUT_LAST)[1])


def test_the_first_release_has_nothing_to_beat(
    ingested_project: Path, run: Run, handoffs: tuple[Path, Path]
) -> None:
    assert ingested_project
    register(*handoffs, holdout_last=HOLDOUT_LAST)
    output = run("release", "latest", "--yes")
    assert output.status == 0
    assert "Nothing is live yet." in output.out
    assert live(Tracking(load_settings())) == 1


def test_a_worse_version_is_refused_unless_a_person_says_why(
    registry: Tracking, run: Run, project: Path, handoffs: tuple[Path, Path]
) -> None:
    register(handoffs[0], constant(project / "c", 90.0), tracking=registry, holdout_last=HOLDOUT_LAST)
    output = refused(run("release", 3, "--yes"))
    assert "version 3 is refused: it is worse than the live version" in output
    assert "--override REASON" in output
    assert live(registry) == 1
    refused(run("release", 3, "--yes", "--override", " "))
    assert live(registry) == 1
    assert run("release", 3, "--yes", "--override", "the plant moved").status == 0
    assert live(registry) == 3
    kept = registry.version(3).tags["release.override"]
    assert kept.startswith("the plant moved (against: it is worse than")


def test_candidate_within_tolerance_is_accepted(registry: Tracking, project: Path) -> None:
    _, error = error_of(50.0, HOLDOUT_LAST)
    rows = read_rows(DATA)
    limit = 1 + load_settings().release.tolerance
    for factor, worse in ((limit - 0.01, False), (limit + 0.01, True)):
        amounts = rows.loc[rows["begins"] > HOLDOUT_LAST, "amount"].to_numpy()
        answers = np.arange(50, 200, 0.05)
        errors = np.abs(np.subtract.outer(answers, amounts)).mean(axis=1)
        answer = float(answers[errors >= error * factor][0])
        version = register(constant(project / "c", answer), tracking=registry, holdout_last=HOLDOUT_LAST)
        proposal = gate.propose(registry, version, rows, load_settings().release)
        assert any("worse" in output for output in proposal.objections) == worse


def test_a_version_that_fails_its_integration_test_is_refused(
    registry: Tracking, run: Run, project: Path, handoffs: tuple[Path, Path]
) -> None:
    register(constant(project / "c", 90.0), handoffs[1], tracking=registry, holdout_last=HOLDOUT_LAST)
    output = run("release", 3, "--yes")
    assert "its integration test fails: Small machines make few pieces. 90.0 pieces by m03" in refused(output)
    assert "checks: failed" in output.out
    assert live(registry) == 1


@pytest.mark.parametrize("kind", ["model", "holdout"])
def test_a_version_that_cannot_be_read_is_refused(registry: Tracking, run: Run, kind: str) -> None:
    version = registry.version(2)
    run_id = version.run_id if kind == "model" else version.holdout_run_id
    (kept,) = Path("state").glob(f"artifacts/*/{run_id}/artifacts/handoff/model.onnx")
    kept.write_bytes(b"half")
    output = refused(run("release", 2, "--yes"))
    assert "checksum mismatch" in output
    assert live(registry) == 1


def test_a_version_whose_files_are_gone_is_refused(registry: Tracking, run: Run) -> None:
    for folder in Path("state").glob("artifacts/*/*/artifacts/handoff"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert "it has no handoff" in refused(run("release", 2, "--yes"))
    assert live(registry) == 1


def test_without_fresh_rows_there_is_nothing_to_judge_by(
    registry: Tracking, run: Run, handoffs: tuple[Path, Path]
) -> None:
    register(*handoffs, tracking=registry, holdout_last="2011-03-31T00:00:00")
    assert "only 0 fresh rows" in refused(run("release", 3, "--yes"))
    assert live(registry) == 1


@pytest.mark.parametrize(("answer", "number"), [("y\n", 2), ("n\n", 1), ("\n", 1), ("", 1)])
def test_release_asks_for_confirmation(
    registry: Tracking, run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, number: int
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    output = run("release", 2)
    assert "Release version 2? [y/N]" in output.out
    assert output.status == (0 if number == 2 else 1)
    if number == 1:
        assert "nothing was changed" in output.err
    assert live(registry) == number


def test_check_changes_nothing(registry: Tracking, run: Run) -> None:
    output = run("release", 2, "--check")
    assert output.status == 0
    assert "Version 2 may be released; nothing was changed." in output.out
    assert live(registry) == 1
    assert registry.version(2).tags == {}


@pytest.mark.parametrize("option", [("--check",), ("--override", "the plant moved")])
def test_back_is_not_combined_with_other_options(
    registry: Tracking, run: Run, option: tuple[str, ...]
) -> None:
    run("release", 2, "--yes")
    assert "--back alone" in refused(run("release", "--back", *option))
    assert live(registry) == 2


def test_an_undone_release_makes_the_version_before_live_again(registry: Tracking, run: Run) -> None:
    run("release", 2, "--yes")
    output = run("release", "--back")
    assert output.status == 0
    assert "Version 1 is live again, instead of version 2." in output.out
    assert live(registry) == 1
    assert "no earlier release" in refused(run("release", "--back"))


def test_a_version_before_that_cannot_be_loaded_does_not_go_live_again(registry: Tracking, run: Run) -> None:
    run("release", 2, "--yes")
    (kept,) = Path("state").glob(f"artifacts/*/{registry.version(1).run_id}/artifacts/handoff/model.onnx")
    kept.write_bytes(b"half")
    output = refused(run("release", "--back"))
    assert "version 1 cannot be loaded, so nothing was changed" in output
    assert "checksum mismatch" in output
    assert live(registry) == 2


def test_releasing_live_version_is_a_no_op(registry: Tracking, run: Run) -> None:
    output = run("release", 1, "--yes")
    assert (output.status, output.out) == (0, "Version 1 is live already; nothing was changed.\n")
    assert live(registry) == 1


def test_a_release_by_somebody_else_in_the_meantime_is_noticed(registry: Tracking, handoff: Path) -> None:
    proposal = gate.propose(registry, registry.version(2), read_rows(DATA), load_settings().release)
    other: Version = register(handoff, tracking=registry, holdout_last=HOLDOUT_LAST)
    registry.set_alias("champion", other.number)
    with pytest.raises(UserError, match="version 3 went live in the meantime"):
        gate.release(registry, proposal, None)
    assert live(registry) == 3


@pytest.mark.usefixtures("ingested_project")
@pytest.mark.parametrize(
    ("argv", "fragment"),
    [
        (("latest",), "no version is registered yet"),
        (("3",), "version 3: "),
        (("newest",), "give its number, or latest"),
        (("-1",), ""),
        ((), "give a version to release, or --back"),
        (("1", "--back"), "give a version to release, or --back"),
        (("--back",), "no earlier release"),
    ],
)
def test_a_wrong_version_is_reported_in_one_line(run: Run, argv: tuple[str, ...], fragment: str) -> None:
    output = run("release", *argv)
    assert output.status != 0
    assert fragment in output.err
    assert output.err.count("\n") == 1
