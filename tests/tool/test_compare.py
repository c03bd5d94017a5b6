"""`ladder compare` through its command line: what it writes and prints, and what it refuses."""

import json
import re
from datetime import date
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ladder.cli import main
from ladder.compare import command, results
from ladder.compare.terminal import Live, show
from ladder.runbook import PEOPLE
from ladder.workers import Progress, Task
from tests.tool.comparisons import seeded
from tests.tool.conftest import Ladder


def test_the_table_reads_at_80_columns() -> None:
    shown = StringIO()
    show(seeded(), Console(file=shown, width=80))
    table = shown.getvalue().partition("retrained daily")[0]
    assert "4 automated operations" in table
    assert "…" not in table


def test_with_json_standard_output_holds_the_numbers_and_nothing_else(
    ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare(options: command.Options, console: Console) -> None:
        (options.out / "compare.json").write_text('{"levels": {}}', encoding="utf-8")
        console.print(f"levels {options.levels} from {options.start} on")

    monkeypatch.setattr(command, "compare", compare)
    done = ladder("compare", "--levels", "0,3", "--from", "2011-11-03", "--out", tmp_path, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"levels": {}})
    assert done.stderr == "levels (0, 3) from 2011-11-03 on\n"


@pytest.mark.slow
def test_a_part_of_a_story_is_compared_and_the_numbers_are_printed(
    run_ladder: Ladder, week: Path, tmp_path: Path
) -> None:
    period = ("--from", "2011-10-27", "--to", "2011-11-05")
    options = ("--levels", "0", "--out", tmp_path, "--json")
    done = run_ladder("compare", "--scenario", week, *period, *options)
    assert done.returncode == 0, done.stderr
    found = results.Comparison.model_validate_json(done.stdout)
    assert found == results.Comparison.model_validate_json((tmp_path / "compare.json").read_bytes())
    assert (str(found.story.start), str(found.story.end)) == ("2011-10-27", "2011-11-05")
    assert [each.kind for each in found.story.incidents] == ["units"]
    assert "without growth of 2011-11-08: outside the period" in done.stderr
    assert list(found.levels) == ["0"]
    assert found.same_dates is not None
    # On the first of November a release is begun that is not live before the story ends: nothing changes.
    assert found.same_dates["0"].released_on == found.levels["0"].released_on
    assert "<html" in (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "\x1b" not in done.stdout + done.stderr, "control characters where there is no terminal"


def people(tmp_path: Path, before: str, after: str) -> Path:
    text = PEOPLE.read_text(encoding="utf-8")
    assert before in text
    path = tmp_path / "people.yaml"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--levels", "0,x"], "--levels: 'x' is not a level: give numbers like 0,3,4"),
        (["--levels", "0,"], "--levels: '' is not a level"),
        (["--levels", "7"], "there is no level 7: choose one of 0, 1, 2, 3, 4"),
        (["--scenario", "no-such"], "no scenario no-such"),
        (["--from", "2012-06-01", "--to", "2012-01-01"], "--to 2012-01-01 is before --from 2012-06-01"),
        (["--from", "2011-01-10"], "the feed runs from 2011-01-01"),
        (["--from", "yesterday"], "--from"),
        (["--people", "no-such.yaml"], "no-such.yaml: no such file"),
        (["--feed", "no-such"], "no-such: no such folder"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LADDER_HOME", str(tmp_path / "ladder"))
    assert main(["compare", *arguments, "--out", str(tmp_path / "reports")]) != 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            "explore: {days: 5,",
            "explore: {days: five,",
            "levels.0.days.explore.days: Input should be a valid",
        ),
        (
            'days: 5, why: "One data',
            'days: 5, because: "One data',
            "levels.0.days.explore.why: Field required",
        ),
        ("      explore:", "      explain:", "level 0: steps differ from its runbook.yaml: explain, explore"),
        (
            "same_dates: {months: [1, 2,",
            "same_dates: {months: [13, 2,",
            "same_dates.months.0: Input should",
        ),
        ("  4:\n", "  5:\n", "levels.4 is missing; add it"),
    ],
)
def test_an_assumption_about_people_that_cannot_be_meant_is_refused_with_its_key(
    before: str,
    after: str,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LADDER_HOME", str(tmp_path / "ladder"))
    path = people(tmp_path, before, after)
    assert main(["compare", "--people", str(path), "--out", str(tmp_path / "reports")]) == 1
    printed = capsys.readouterr()
    assert says in printed.err
    assert "people.yaml" in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "reports").exists()


def watched(console: Console) -> None:
    """Two tasks of which one is not yet started."""
    tasks = {
        "4": Task("level 4", 730, lambda _: None),
        "again": Task("level 4, same dates", 730, lambda _: None),
    }
    with Live(tasks, console) as live:
        live.progressed(
            "4",
            Progress(date(2012, 12, 31), 500, 142.7, 137, "refused: release: it is worse than the live one"),
        )


def test_progress_in_a_narrow_terminal_has_a_line_for_each_replay() -> None:
    shown = StringIO()
    watched(Console(file=shown, force_terminal=True, width=80, color_system=None, legacy_windows=False))
    *_, first, second = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue()).rstrip().splitlines()
    assert len(first) <= 80 >= len(second)
    for part in ("level 4 ", "2012-12-31", "error 143", "137 released", "refused"):
        assert part in first
    assert "level 4, same dates" in second


def test_without_a_terminal_there_are_plain_lines() -> None:
    shown = StringIO()
    task = Task("level 4", 730, lambda _: None)
    with Live({"4": task}, Console(file=shown, width=80)) as live:
        live.finished("4")
    assert shown.getvalue() == "0:00:00  level 4: done\n"


@pytest.mark.slow
def test_with_the_same_dates_every_level_begins_a_release_on_them(
    run_ladder: Ladder, week: Path, tmp_path: Path
) -> None:
    done = run_ladder("compare", "--scenario", week, "--levels", "3,4", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    once = report["same_dates"]
    assert once["3"]["trainings"] == once["4"]["trainings"] == 2  # on 25 October and 1 November
    assert report["levels"]["3"]["trainings"] == 3  # by its own dates on the 15th, too
    assert report["levels"]["4"]["trainings"] > 2, "left to itself the loop answers to the step"


@pytest.mark.slow
def test_what_a_gate_refused_people_have_corrected_and_the_machine_releases(
    run_ladder: Ladder, tmp_path: Path
) -> None:
    story = tmp_path / "fahrenheit.toml"
    story.write_text(
        'title = "Fahrenheit"\nsays = "Three days before a training."\nstart = 2011-10-25\nend = 2011-11-12\n'
        '[[fault]]\nkind = "units"\nfrom = 2011-10-28\nto = 2011-10-30\n',
        encoding="utf-8",
    )
    done = run_ladder("compare", "--scenario", story, "--levels", "3", "--no-same-dates", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (level,) = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))["levels"].values()
    events = [(each["on"], each["kind"], each["says"]) for each in level["events"]]
    assert [(on, kind) for on, kind, _ in events[:3]] == [
        ("2011-10-25", "released"),
        ("2011-11-01", "refused"),
        ("2011-11-08", "acted"),
    ]
    assert "temp_c changes its unit" in events[1][2]
    assert events[2][2] == "The operator corrected 2011-10; the release begins once more."
    assert {kind for _, kind, _ in events[3:]} <= {"released"}  # where its test is decided by then
    assert level["trainings"] == 3
    assert level["manual_steps_of_releases"] == 1
