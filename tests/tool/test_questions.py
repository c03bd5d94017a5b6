"""Three questions about an old answer: what is tried for real, and what counts as an answer."""

import hashlib
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from ladder import UserError, runbook, workcopy
from ladder.compare.questions import ask, asked_about
from ladder.compare.results import Answer, RecordedPrediction
from ladder.levels import level, levels
from ladder.runbook import Procedure, Runbook
from ladder.steps import run_command
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import read_feed, write_feed
from tests.tool.made import day, story

RECORDED = RecordedPrediction(date(2011, 3, 15), "7", "id-of-it")


@pytest.fixture(autouse=True)
def _nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADDER_HOME", str(tmp_path / "home"))


def project(number: int, until: str, folder: Path) -> Path:
    """A working copy with the feed until a date, ingested."""
    made = workcopy.make(level(number), folder)
    feed = read_feed(COMMITTED_FEED)
    write_feed(feed[feed["timestamp"] < pd.Timestamp(until)], made / "feed")
    run_command("python -m bike_demand ingest", made)
    return made


def answers(procedure: dict[str, Procedure], prints: Callable[[str], str], folder: Path) -> list[Answer]:
    book = Runbook.model_validate({"release": (), "questions": procedure})
    return ask(book, folder, RECORDED, lambda command, _: prints(command), folder / "copy")


def test_the_answer_asked_about_is_of_the_last_march_or_from_the_middle() -> None:
    assert asked_about(story(500)) == date(2013, 3, 15)
    assert asked_about(story(100)) == date(2012, 3, 15)
    assert asked_about(story(21)) == day(10)


def test_every_level_has_something_to_say_to_each_question() -> None:
    for each in levels():
        assert set(runbook.load(each.folder).questions) == {"reproduce", "training_data", "released_by"}


def test_what_the_answer_carried_is_put_into_the_command_and_the_lines_that_count_are_reported(
    tmp_path: Path,
) -> None:
    procedure = {
        "reproduce": Procedure.model_validate(
            {"command": "make {version} of {day}", "output_patterns": ["^identical"]}
        )
    }
    reproduce, training_data, released_by = answers(
        procedure, lambda command: f"wait\nidentical:   {command}\n", tmp_path
    )
    assert reproduce.asks == "Can you reproduce the model of March 2011?"
    assert (reproduce.answered, reproduce.command) == (True, "make 7 of 2011-03-15")
    assert reproduce.says == "identical: make 7 of 2011-03-15"
    assert reproduce.seconds is not None
    assert (training_data.answered, released_by.answered) == (False, False)
    assert (training_data.command, training_data.seconds) == (None, None)


def test_a_command_that_prints_but_half_of_it_is_no_answer(tmp_path: Path) -> None:
    procedure = {
        "released_by": Procedure.model_validate(
            {"command": "trace", "output_patterns": ["^by .", "^reason ."]}
        )
    }
    *_, released_by = answers(procedure, lambda _: "by Ada\nreason\n", tmp_path)
    assert (released_by.answered, released_by.says) == (False, "The output does not contain the answer.")


def test_a_command_that_fails_is_no_answer_and_says_why(tmp_path: Path) -> None:
    def fails(_: str) -> str:
        raise UserError("the data are gone")

    procedure = {"reproduce": Procedure.model_validate({"command": "make", "output_patterns": ["."]})}
    reproduce, *_ = answers(procedure, fails, tmp_path)
    assert (reproduce.answered, reproduce.says) == (False, "the data are gone")


def test_what_the_answer_did_not_carry_cannot_be_looked_up(tmp_path: Path) -> None:
    procedure = Procedure.model_validate({"command": "trace {prediction}", "output_patterns": ["."]})
    book = Runbook.model_validate({"release": (), "questions": {"released_by": procedure}})
    bare = RecordedPrediction(RECORDED.on, None, None)

    def refuses(command: str, _: Path) -> str:
        raise UserError(f"{command}: no such prediction")

    *_, released_by = ask(book, tmp_path, bare, refuses, tmp_path / "copy")
    assert (released_by.answered, released_by.command) == (False, "trace ?")
    assert released_by.says == "trace ?: no such prediction"


def test_a_command_for_two_questions_is_run_once(tmp_path: Path) -> None:
    procedure = Procedure.model_validate({"command": "make", "output_patterns": ["."]})
    done: list[str] = []

    def prints(command: str) -> str:
        done.append(command)
        return "x"

    assert [
        each.answered
        for each in answers(dict.fromkeys(("reproduce", "training_data"), procedure), prints, tmp_path)
    ] == [
        True,
        True,
        False,
    ]
    assert done == ["make"]


@pytest.mark.parametrize(
    ("command", "same", "says"),
    [
        (
            "python -c \"open('made', 'w').write('a model')\"",
            True,
            "made is byte-identical to the live of 2012-01-01.",
        ),
        (
            "python -c \"open('made', 'w').write('another')\"",
            False,
            "The result differs from live of 2012-01-01",
        ),
        ("python --version", False, "made was not created."),  # what lay there before was not made again
        ("python -c \"raise SystemExit('no room')\"", False, "no room"),
    ],
)
def test_a_model_is_made_again_where_the_same_bytes_come_of_it(
    tmp_path: Path, command: str, same: bool, says: str
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("live", "made"):
        (folder / name).write_bytes(b"a model")
    recorded = RecordedPrediction(day(0), None, None, {"live": hashlib.sha256(b"a model").hexdigest()})
    procedure = Procedure.model_validate(
        {"command": command, "output_file": "made", "digest_files": ["live"]}
    )
    book = Runbook.model_validate({"release": (), "questions": {"reproduce": procedure}})
    reproduce, *_ = ask(book, folder, recorded, run_command, tmp_path / "copy")
    assert reproduce.answered == same
    assert says in reproduce.says
    assert (folder / "made").read_bytes() == b"a model"
    assert not (tmp_path / "copy").exists()


@pytest.mark.slow
def test_at_level_1_nobody_knows_what_the_model_of_then_had_learned_until(tmp_path: Path) -> None:
    folder = project(1, "2011-03-20", tmp_path / "project")
    book = runbook.load(folder)
    (kept,) = book.digest_files
    run_command("python -m bike_demand train --as-of 2011-03-07", folder)
    shutil.move(folder / "state" / "handoff", folder / "state" / "model")
    digest = hashlib.sha256((folder / kept).read_bytes()).hexdigest()
    recorded = RecordedPrediction(date(2011, 3, 15), "0a1b2c3d4e5f", None, {kept: digest})
    reproduce, training_data, released_by = ask(book, folder, recorded, run_command, tmp_path / "copy")
    assert [each.answered for each in (reproduce, training_data, released_by)] == [False, False, False]
    assert reproduce.command == "python -m bike_demand train --as-of 2011-03-15"
    assert reproduce.says.startswith("No.")
    assert "0a1b2c3d4e5f" in training_data.says
    assert not (folder / "state" / "handoff").exists()  # it was tried in a copy


@pytest.mark.parametrize(
    "procedure",
    [
        "{}",
        "{command: make}",
        "{command: make, output_file: a, output_patterns: [b], digest_files: [c]}",
        "{answer: x, output_patterns: ['(']}",
    ],
)
def test_a_runbook_whose_questions_cannot_be_meant_is_refused(tmp_path: Path, procedure: str) -> None:
    text = f"release: []\nquestions:\n  reproduce: {procedure}\n"
    (tmp_path / "runbook.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"runbook\.yaml: questions\.reproduce"):
        runbook.load(tmp_path)


@pytest.mark.slow
def test_at_level_0_the_notebook_makes_another_model_of_the_same_export(
    tmp_path: Path,
) -> None:
    folder = workcopy.make(level(0), tmp_path / "project")
    feed = read_feed(COMMITTED_FEED)
    write_feed(feed[feed["timestamp"] < pd.Timestamp("2011-04-01")], folder / "feed")
    book = runbook.load(folder)
    runbook.paste(folder, runbook.Move.model_validate({"from": "feed/*.csv", "to": "export.csv"}))
    run_command("jupyter execute demand.ipynb", folder)
    digests = {"live/model.pkl": hashlib.sha256((folder / "handoff" / "model.pkl").read_bytes()).hexdigest()}
    recorded = RecordedPrediction(date(2011, 3, 15), None, None, digests)
    found = ask(book, folder, recorded, run_command, tmp_path / "copy")
    assert [each.answered for each in found] == [False, False, False]
    assert found[0].seconds is not None


@pytest.mark.slow
def test_at_level_2_model_and_data_are_on_record_and_who_released_it_is_not(
    tmp_path: Path,
) -> None:
    folder = project(2, "2011-03-07", tmp_path / "project")
    run_command("python -m bike_demand train", folder)
    run_command("python -m bike_demand release latest --yes", folder)
    recorded = RecordedPrediction(date(2011, 3, 15), "1", None)
    reproduce, training_data, released_by = ask(
        runbook.load(folder), folder, recorded, run_command, tmp_path / "copy"
    )
    assert (reproduce.answered, training_data.answered, released_by.answered) == (True, True, False)
    assert "identical: model" in reproduce.says
    assert "rows, 2011-01-01T00:00:00 to 2011-03-06T23:00:00 (data digest" in training_data.says
    assert "version 1" in released_by.says
