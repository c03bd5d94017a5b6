"""The event and the fault of each other problem, result through by level 4's commands, as the page says."""

from pathlib import Path

import pytest

from docs.problems import PLANS, replay, table, written
from ladder.world import other_problems


def test_the_page_has_a_row_for_each_problem() -> None:
    rows = written().splitlines()
    assert rows[:2] == table([]).splitlines()
    assert [row.split("`")[1] for row in rows[2:]] == list(PLANS)
    assert sorted(PLANS) == list(other_problems.names())


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", PLANS)
def test_the_event_is_learned_and_promoted_and_nothing_is_trained_on_the_fault(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LADDER_HOME", str(tmp_path / "home"))
    result = replay(name, tmp_path)
    # Noticed by the error, trained, through the gates and the A/B test.
    assert 0 < result.noticed <= result.trained < result.promoted
    assert result.gates == "8 of 8"
    assert result.before < result.after < result.until
    # Noticed, nothing trained, and what cannot be right was replaced.
    assert result.fault_noticed == 1
    assert result.fault_trainings == 0
    assert result.replaced > 0
    # What the page shows is this.
    assert table([result]).splitlines()[-1] in written().splitlines()
