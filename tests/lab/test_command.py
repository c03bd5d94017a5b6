"""`ladder lab`: the list, the statuses of a check, hints, solution, reset, and the file with the progress."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from ladder import ROOT, workcopy
from ladder.lab import definition, progress, work
from ladder.lab.checks import Finding, check
from ladder.lab.definition import Criterion, lab_of
from ladder.lab.machine import unprepared_labs
from ladder.lab.work import activation_commands, begin, folder_of
from tests.lab.conftest import Ladder

SMALL = """
number: 3
title: A small one
level: 0
minutes: 5
scenario: It hurts.
goal: Colours agree.
start:
  actions:
    - edits: [{file: answer.yaml, new: "colour:\\n"}]
steps:
  - says: Say which.
    edits: [{file: answer.yaml, old: "colour:", new: "colour: Green"}]
  - {says: Look at it., run: python -m json.tool numbers.json, fails: true}
criteria:
  - {id: colour, says: The colour is right, tip: Look at the leaves, file: answer.yaml, at: colour, is: green}
hints: [First, Second, Third]
discussion: {question: Why, answer: Because}
"""


@pytest.fixture
def small(labs_at: Path) -> Path:
    path = labs_at / "03-small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def answer(text: str) -> None:
    (folder_of(lab_of(3)) / "answer.yaml").write_text(text, encoding="utf-8")


def criterion(**given: object) -> Criterion:
    return Criterion.model_validate({"id": "it", "says": "It", "tip": "Do it", **given})


def passed(folder: Path, **given: object) -> bool | None:
    lab = lab_of(3)
    (found,) = check(lab.model_copy(update={"criteria": (criterion(**given),)}), folder)
    return found.passed


@pytest.mark.usefixtures("small")
def test_a_check_is_incomplete_with_its_tip_until_it_is_passed(ladder: Ladder, home: Path) -> None:
    assert ladder("3").status == 0
    first = ladder("3", "--check")
    assert first.status == 1
    assert "Incomplete" in first.out
    assert "Look at the leaves" in first.out
    answer("colour: Green\n")
    second = ladder("3", "--check")
    assert second.status == 0
    assert "Look at the leaves" not in second.out
    kept = yaml.safe_load((home / "lab-progress.yaml").read_text(encoding="utf-8"))
    assert kept["labs"][3]["passed"]
    assert "passed" in ladder().out


def test_a_checker_that_fails_is_no_fault_of_the_participant(ladder: Ladder, small: Path) -> None:
    small.write_text(
        SMALL.replace("file: answer.yaml, at: colour, is: green", "python: 1/0"), encoding="utf-8"
    )
    ladder("3")
    done = ladder("3", "--check")
    assert done.status == 2
    assert "checker failed" in done.out
    assert "ZeroDivisionError" in done.out
    assert "Incomplete" not in done.out


@pytest.mark.usefixtures("small")
def test_hints_come_one_by_one_and_the_solution_only_after_passing_or_on_demand(ladder: Ladder) -> None:
    ladder("3")
    shown = [ladder("3", "--hint").out for _ in range(4)]
    assert ["First" in shown[0], "Second" in shown[0], "Second" in shown[1]] == [True, False, True]
    assert "Third" in shown[2]
    assert "Third" in shown[3]
    refused = ladder("3", "--solve")
    assert refused.status == 1
    assert "not passed yet" in refused.err
    solved = ladder("3", "--solve", "--yes")
    assert solved.status == 0
    assert "Because" in solved.out
    assert "solved for you" in ladder().out


@pytest.mark.usefixtures("small")
def test_after_passing_the_solution_needs_no_yes_and_the_pass_is_kept(ladder: Ladder) -> None:
    ladder("3")
    answer("colour: green\n")
    ladder("3", "--check")
    assert ladder("3", "--solve").status == 0
    assert "solved for you" not in ladder().out


def test_a_check_keeps_what_another_lab_recorded_meanwhile(
    ladder: Ladder, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small
    ladder("3")
    answer("colour: green\n")

    def check_slowly(*arguments: Any) -> list[Finding]:
        with progress.change(2) as entry:
            entry.hints = 1
        return check(*arguments)

    monkeypatch.setattr("ladder.lab.command.check", check_slowly)
    assert ladder("3", "--check").status == 0
    assert progress.load().labs[2].hints == 1
    assert progress.load().labs[3].passed


def test_a_solution_that_fails_does_not_lose_the_pass(ladder: Ladder, small: Path) -> None:
    ladder("3")
    answer("colour: green\n")
    ladder("3", "--check")
    small.write_text(SMALL.replace(", fails: true", ""), encoding="utf-8")
    definition.labs.cache_clear()
    assert ladder("3", "--solve").status == 1
    assert "passed" in ladder().out


@pytest.mark.usefixtures("small")
def test_a_reset_gives_a_fresh_copy_and_keeps_what_was_there(ladder: Ladder) -> None:
    ladder("3")
    answer("colour: blue\n")
    assert ladder("3", "--reset").status == 0
    folder = folder_of(lab_of(3))
    assert (folder / "answer.yaml").read_text(encoding="utf-8") == "colour:\n"
    answer("colour: red\n")
    assert "3.old2" in ladder("3", "--reset").out
    for name, kept in (("3.old", "blue"), ("3.old2", "red")):
        assert kept in (folder.with_name(name) / "answer.yaml").read_text(encoding="utf-8")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("arguments", [["--reset"], ["--solve", "--yes"]])
def test_a_fresh_copy_is_entered_by_commands_that_come_last(ladder: Ladder, arguments: list[str]) -> None:
    """A terminal stays in the folder that was renamed, so it has to `cd` again."""
    ladder("3")
    done = ladder("3", *arguments)
    last = [line.strip() for line in done.out.splitlines() if line.strip()][-6:]
    assert f'cd "{folder_of(lab_of(3))}"' in last
    assert "3.old" in done.out


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("arguments", [["--reset"], ["--solve", "--yes"]])
def test_without_an_earlier_copy_none_is_said_to_be_kept(ladder: Ladder, arguments: list[str]) -> None:
    done = ladder("3", *arguments)
    assert done.status == 0
    assert "3.old" not in done.out


@pytest.mark.parametrize("arguments", [["--reset"], ["--solve"], ["--solve", "--yes"]])
def test_a_lab_without_a_folder_is_neither_reset_nor_solved(
    ladder: Ladder, home: Path, arguments: list[str]
) -> None:
    done = ladder("0", *arguments)
    assert (done.status, done.out) == (1, "")
    assert "about this machine" in done.err
    assert not (home / "lab").exists()
    assert "--solve" not in ladder("0", "--hint").out


def test_paths_with_spaces_and_on_other_drives_can_be_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/home/Anna Smith/.venv")
    folder = Path("/home/Anna Smith/lab")
    assert activation_commands(folder, windows=False) == {
        "": ['cd "/home/Anna Smith/lab"', 'source "/home/Anna Smith/.venv/bin/activate"']
    }
    on_windows = activation_commands(folder, windows=True)
    assert on_windows["PowerShell"][1] == '& "/home/Anna Smith/.venv/Scripts/Activate.ps1"'
    assert on_windows["cmd"][0].startswith("cd /d ")


@pytest.mark.usefixtures("small")
def test_where_the_environment_cannot_be_written_the_tool_is_found_by_a_variable(
    ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library").touch()  # not a folder
    monkeypatch.setattr(work, "environment_path", lambda: Path(sys.prefix))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "library"))
    done = ladder("3")
    assert (done.status, done.err) == (0, "")
    assert f'PYTHONPATH="{ROOT}"' in done.out


@pytest.mark.usefixtures("small")
def test_what_is_not_required_is_a_warning(ladder: Ladder, small: Path) -> None:
    extra = "criteria:\n  - {id: size, says: It is big, tip: Grow, file: none.yaml, warns: true}"
    small.write_text(SMALL.replace("criteria:", extra), encoding="utf-8")
    ladder("3")
    answer("colour: green\n")
    done = ladder("3", "--check")
    assert done.status == 0
    assert "warning" in done.out


@pytest.mark.usefixtures("small")
def test_preparing_makes_the_starting_states_once(ladder: Ladder, home: Path) -> None:
    assert unprepared_labs() == [3]
    assert "lab 3 is ready" in ladder("--prepare").out
    assert unprepared_labs() == []
    assert not (home / "lab" / "3").exists()
    assert ladder("--prepare").out == ""
    before = time.time()
    ladder("3")
    assert (home / "lab" / "3" / workcopy.MARKER_FILE).stat().st_mtime >= before - 1


def test_a_start_that_fails_leaves_no_half_made_folder(ladder: Ladder, small: Path, home: Path) -> None:
    small.write_text(
        SMALL.replace("    - edits: [{", "    - run: git nonsense\n    - edits: [{"), encoding="utf-8"
    )
    assert ladder("3").status == 1
    assert not (home / "lab" / "3").exists()


@pytest.mark.usefixtures("small")
def test_a_copy_that_is_interrupted_does_not_count_as_begun(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder("--prepare")

    def interrupted(_: Path, target: Path, **__: object) -> None:
        target.mkdir(exist_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copytree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            begin(lab_of(3), 1)
    assert not folder_of(lab_of(3)).exists()
    assert ladder("3").status == 0
    assert (folder_of(lab_of(3)) / "answer.yaml").is_file()


def test_a_story_that_began_before_lab_10_is_reported(tmp_path: Path) -> None:
    start = next(each for each in lab_of(10).start.actions if each.edits)
    watch = next(each.new for each in start.edits if each.file == "watch.py")
    lab, level4 = tmp_path / "lab" / "10", tmp_path / "up" / "level4"
    for folder in (level4, lab):
        folder.mkdir(parents=True)
        (folder / workcopy.MARKER_FILE).touch()
    os.utime(level4 / workcopy.MARKER_FILE, (1, 1))
    command = [sys.executable, "-u", "-c", watch, "noticed"]
    with subprocess.Popen(command, cwd=lab, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "began before this lab" in process.stdout.readline()
        process.kill()


@pytest.mark.usefixtures("small")
def test_beginning_again_shows_the_lab_and_changes_nothing(ladder: Ladder) -> None:
    ladder("3")
    answer("colour: blue\n")
    assert "Say which" in ladder("3").out
    assert "blue" in (folder_of(lab_of(3)) / "answer.yaml").read_text(encoding="utf-8")


@pytest.mark.usefixtures("small")
def test_the_edits_of_the_solution_are_not_among_the_steps(ladder: Ladder) -> None:
    assert "Green" not in ladder("3").out


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["9"], 1), (["3", "--check"], 1), (["--check"], 2), (["3", "--check", "--hint"], 2)],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    ladder: Ladder, arguments: list[str], status: int
) -> None:
    done = ladder(*arguments)
    assert done.status == status
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("file: answer.yaml, at", "file: answer.yaml, sql: SELECT 1, at"),
        ("tip: Look at the leaves, ", ""),
        ("hints: [", "initially_met: [smell]\nhints: ["),
        ("minutes: 5", "minutes: 500"),
    ],
)
def test_a_lab_that_is_wrongly_defined_is_named(ladder: Ladder, small: Path, old: str, new: str) -> None:
    small.write_text(SMALL.replace(old, new), encoding="utf-8")
    definition.labs.cache_clear()
    done = ladder()
    assert done.status == 1
    assert "03-small.yaml" in done.err


@pytest.mark.usefixtures("small")
def test_values_are_found_in_files_and_tables(tmp_path: Path) -> None:
    (tmp_path / "numbers.json").write_text('{"rows": [{"n": 3}, {"n": 4}]}', encoding="utf-8")
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state" / "production.db")) as database:
        database.execute("CREATE TABLE t (n)")
        database.execute("INSERT INTO t VALUES (7)")
        database.commit()
    assert passed(tmp_path, file="numbers.json", at="rows.1.n", **{"is": 4})
    assert passed(tmp_path, file="numbers.json", at="rows.2.n") is False
    assert passed(tmp_path, file="numbers.json", at="rows.0.n", min=3, max=3)
    assert passed(tmp_path, file="numbers.json", at="rows.0.n", min=4) is False
    assert passed(tmp_path, file="absent.json", **{"is": 4}) is False
    assert passed(tmp_path, sql="SELECT n FROM t", **{"is": 7})
    assert passed(tmp_path, sql="SELECT n FROM t WHERE n > 7") is False
    assert passed(tmp_path, sql="SELECT m FROM t") is None
    assert passed(tmp_path, sql="SELECT 1", database="absent.db") is False


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("given", "expected"), [('"yes"', True), ("yes", True), ('"no"', False), ("no", "no"), ('"2"', 2)]
)
def test_an_answer_may_have_quotation_marks(tmp_path: Path, given: str, expected: object) -> None:
    (tmp_path / "answer.yaml").write_text(f"answer: {given}\n", encoding="utf-8")
    assert passed(tmp_path, file="answer.yaml", at="answer", **{"is": expected})
    assert passed(tmp_path, file="answer.yaml", at="answer", **{"is": "maybe"}) is False


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ("22.9%", {"min": 22, "max": 23}),
        ("30,3 bikes", {"min": 30, "max": 31}),
        ("3,567", {"is": 3567}),
        ("0,1", {"is": 0.1}),
        ("1.0e-5", {"max": 0.01}),
    ],
)
def test_a_number_may_be_written_as_commands_print_it(
    tmp_path: Path, given: str, limits: dict[str, float]
) -> None:
    (tmp_path / "answer.yaml").write_text(f"answer: {given}\n", encoding="utf-8")
    assert passed(tmp_path, file="answer.yaml", at="answer", **limits)
    assert passed(tmp_path, file="answer.yaml", at="answer", min=4000) is False


@pytest.mark.usefixtures("small")
def test_code_runs_in_a_copy(tmp_path: Path) -> None:
    (tmp_path / "code.txt").write_text("1", encoding="utf-8")
    code = "import json; from pathlib import Path; print(json.dumps(Path('code.txt').write_text('2')))"
    assert passed(tmp_path, python=code)
    assert (tmp_path / "code.txt").read_text(encoding="utf-8") == "1"


READ = "import json; from ladder.lab.checks import answers; print(json.dumps(answers()['colour'] == 'green'))"


@pytest.mark.parametrize("place", [{"file": "answers.yaml", "at": "colour"}, {"python": READ}])
@pytest.mark.parametrize(
    ("written", "named"),
    [
        (b"colour:green\n", "a blank after the colon"),
        (b"colour:green\nsize: 3\n", "answers.yaml: not YAML"),
        (b"colour: green\ncolour: red\n", "colour is given twice"),
        ("colour: green\n".encode("utf-16"), ""),
    ],
)
def test_answers_that_cannot_be_read_are_the_participants_to_correct(
    tmp_path: Path, place: dict[str, str], written: bytes, named: str
) -> None:
    (tmp_path / "answers.yaml").write_bytes(written)
    lab = lab_of(0).model_copy(update={"criteria": (criterion(**place),)})
    (found,) = check(lab, tmp_path)
    assert found.passed is (not named)
    assert named in found.found


def test_lab_0_names_what_this_machine_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("LADDER_GIVEN_NO_PROXY", "intranet")
    lab = lab_of(0)
    state = {each.criterion.id: each.passed for each in check(lab, tmp_path)}
    assert {name for name in ("git-name", "proxy") if not state[name]} == {"git-name", "proxy"}
    assert state["git"]
    assert not state["prepared"]
    (tmp_path / ".gitconfig").write_text("[user]\nname = A\nemail = a@localhost\n", encoding="utf-8")
    monkeypatch.setenv("LADDER_GIVEN_NO_PROXY", "intranet, 127.0.0.1")
    state = {each.criterion.id: each.passed for each in check(lab, tmp_path)}
    assert (state["git-name"], state["proxy"]) == (True, True)
