"""Whole projects: hard ones to judge, answers, what is written, and how long it takes."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ladder import UserError, cli, output
from ladder.assess import python, report
from ladder.assess.answers import ask, parse, save
from ladder.assess.backlog import backlog, compare
from ladder.assess.command import questions
from ladder.assess.judge import Assessment
from ladder.assess.rules import rules
from ladder.assess.tree import read_tree
from ladder.levels import Level, levels
from ladder.page.assessment import markdown
from tests.assess.projects import TESTS, TRAIN, assessed, make, workflow

CI = ".github/workflows/ci.yml"
HALF = {  # the application is tested, built and released; nothing else
    "app/__init__.py": "",
    "app/service.py": "from fastapi import FastAPI\n\napp = FastAPI()\n",
    "app/ingest.py": "import requests\n\n\ndef fetch():\n    return requests.get('http://a')\n",
    "tests/integration/test_model.py": "from app.service import app\n\n\n" + TESTS,
    "train.py": TRAIN,
    "Dockerfile": "FROM python:3.12\n",
    CI: workflow("pytest", "docker build -t app .", "docker push app"),
}
ANSWERS = "by: Ann\non: 2026-01-31\nanswers:\n  hand-over: yes\n"


def state(found: Assessment, row: str) -> str:
    return next(each.state for each in found.rows if each.row.id == row)


def test_an_empty_folder_is_level_0_and_says_so(tmp_path: Path) -> None:
    found = assessed(tmp_path)
    assert found.level == 0
    assert found.notes
    assert {each.state for each in found.rows} == {"lack", "missing", "unknown", "seen"}  # L1-C2 always holds


def test_a_library_without_a_model_is_level_0_with_a_note(tmp_path: Path) -> None:
    files = {
        "lib/__init__.py": "def f():\n    return 1\n",
        "tests/test_f.py": TESTS,
        CI: workflow("pytest", "python -m build"),
    }
    found = assessed(tmp_path, files)
    assert found.level == 0
    assert found.practices["tests"].seen
    assert any("No training" in each for each in found.notes)


def test_a_repository_that_distributes_pipelines_is_not_taken_for_one(tmp_path: Path) -> None:
    inner = {f"templates/{{{{cookiecutter.name}}}}/{name}": text for name, text in HALF.items()}
    found = assessed(tmp_path, {"README.md": "", "hooks/post.py": "print(1)\n", **inner})
    assert not any(each.seen for each in found.practices.values() if each.practice.id != "version-control")
    assert any("templates/" in each for each in found.notes)


@pytest.mark.parametrize("name", ["Jenkinsfile", ".circleci/config.yml", ".travis.yml"])
def test_a_ci_system_that_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    assert any("jobs are not analysed" in each for each in assessed(tmp_path, {name: "test:\n"}).notes)


def test_tutorials_inside_are_not_read(tmp_path: Path) -> None:
    found = assessed(
        tmp_path,
        {
            "lib/__init__.py": "",
            "examples/mlops/train.py": TRAIN,
            "docs/mlflow.py": "import mlflow\nmlflow.start_run()\n",
        },
    )
    assert not found.practices["tracking"].seen
    assert not found.practices["training"].findings


def test_a_monorepo_is_noted_and_a_part_of_it_is_assessed_by_its_path(tmp_path: Path) -> None:
    files = {
        "one/pyproject.toml": "",
        "two/pyproject.toml": "",
        "two/work.py": "import mlflow\nmlflow.start_run()\n",
    }
    whole = assessed(tmp_path, files)
    assert any("--path" in each for each in whole.notes)
    assert not assessed(tmp_path, sub="one").practices["tracking"].seen
    assert assessed(tmp_path, sub="two").practices["tracking"].seen


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CI, workflow("pytest one", job="    defaults: {run: {working-directory: one}}\n")),
        (CI, workflow("cd ./one && pytest tests", "ls two.txt one-two/two-three")),
        (".gitlab/ci/test.yml", "a: {script: [pytest one]}\nb: {script: [ls two]}\n"),
        (
            "azure-pipelines.yml",
            "jobs:\n- {job: a, steps: [script: pytest one]}\n- {job: b, steps: [script: ls two]}\n",
        ),
    ],
)
def test_the_outer_ci_counts_for_a_part_only_where_it_names_it(tmp_path: Path, name: str, text: str) -> None:
    git(tmp_path, "init", "--quiet")
    make(tmp_path, {name: text, "one/test_a.py": TESTS, "two/test_a.py": TESTS})
    one = assessed(tmp_path, sub="one").practices["tests"]
    assert one.seen
    assert any(each.fact.file == f"../{name}" for each in one.findings)
    assert not assessed(tmp_path, sub="two").practices["tests"].seen


def test_a_folder_that_an_outer_repository_ignores_is_read(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    make(tmp_path, {".gitignore": "*\n", "work/train.py": TRAIN})
    assert set(read_tree(tmp_path / "work").files) == {"train.py"}


def test_a_project_half_way_up_stands_where_all_rows_hold(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    found = assessed(tmp_path, HALF)
    assert found.level == 0
    assert [each.row.id for each in found.caps()] == ["L1-R3"]
    assert state(found, "L1-R3") == "unknown"
    found = assessed(tmp_path, {"maturity-answers.yaml": ANSWERS})
    assert found.level == 1
    assert state(found, "L1-R3") == "answered"
    assert found.level_of("people") == 0
    assert found.level_of("application_integration") > 1  # teams stand on several levels at once


def test_marks_on_rows(tmp_path: Path) -> None:
    answers = (
        ANSWERS + "rows:\n  L1-T1: {answer: not supported, because: no time}\n"
        "  L1-A1: {answer: not applicable, because: there is no application}\n"
        "  L2-P1: {answer: not detected, because: nobody knows}\n  L1-C1: yes\n"
    )
    found = assessed(tmp_path, {**HALF, "maturity-answers.yaml": answers})
    states = {row: state(found, row) for row in ("L1-T1", "L1-A1", "L2-P1", "L1-C1")}
    assert states == {
        "L1-T1": "not supported",
        "L1-A1": "not applicable",
        "L2-P1": "not detected",
        "L1-C1": "answered",
    }
    assert "L1-T1" in {each.row.id for each in found.caps()}
    assert "L1-A1" not in {each.row.id for each in found.caps()}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("answers: [", "not YAML"),
        (ANSWERS.partition("answers:")[0] + "answers: {L1-A1: yes}", "answers: unknown L1-A1"),
        (ANSWERS.partition("answers:")[0] + "rows: {hand-over: yes}", "rows: unknown hand-over"),
        ("by: Ann\nby: Bob", "given twice"),
        ("answers: {hand-over: yes}", "`by`"),
        ("by: a\non: soon\nanswers: {hand-over: yes}", "on: "),
        ("by: a\non: 2026-01-01\nanswers: {hand-ver: yes}", "hand-ver"),
        ("by: a\non: 2026-01-01\nanswers: {hand-over: maybe}", "hand-over"),
        ("by: a\non: 2026-01-01\nrows: {L1-A1: not applicable}", "reason"),
        ("by: a\non: 2026-01-01\nanswers: {hand-over: not detected}", "reason"),
        (ANSWERS.replace("yes", "{answer: not applicable, because: so}"), "hand-over: .* row"),
        ("by: a\nwho: b", "who"),
    ],
)
def test_a_mistake_in_the_answers_is_one_line(text: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as raised:
        parse(text, "maturity-answers.yaml", rules())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("written", "read"), [("Yes", "yes"), ("FALSE", "no"), ("true", "yes")])
def test_yes_and_no_are_read_as_people_write_them(written: str, read: str) -> None:
    text = f"by: Ann\non: 2026-01-31\nanswers: {{hand-over: {written}}}\n"
    assert parse(text, "", rules()).practices["hand-over"].says == read


def test_the_file_that_is_printed_is_accepted_while_questions_are_unknown() -> None:
    out = StringIO()
    questions(Console(file=out))
    assert parse(out.getvalue(), "", rules()).practices == {}
    filled_in = out.getvalue().replace("hand-over: unknown", "hand-over: yes")
    assert list(parse(filled_in, "", rules()).practices) == ["hand-over"]


def test_questions_that_are_asked_are_kept_with_who_and_when(tmp_path: Path) -> None:
    path = tmp_path / "maturity-answers.yaml"
    path.write_text("answers:\n", encoding="utf-8")
    replies = iter(["", "y", "the wiki", "n", "", ""])
    practices = [rules().practice(each) for each in ("hand-over", "data-team", "incidents")]
    new = ask(practices, parse("", "", rules()), "Ann", "2026-01-31", lambda _: next(replies))
    save(path, new)
    kept = parse(path.read_text(encoding="utf-8"), "", rules()).practices
    assert {name: each.says for name, each in kept.items()} == {"hand-over": "yes", "data-team": "no"}
    assert (kept["hand-over"].by, kept["hand-over"].on, kept["hand-over"].because) == (
        "Ann",
        "2026-01-31",
        "the wiki",
    )
    assert (
        ask(
            practices[:2],
            parse(path.read_text(encoding="utf-8"), "", rules()),
            "B",
            "2026-02-01",
            lambda _: "y",
        )
        == {}
    )


def test_answers_given_on_a_terminal_are_saved_or_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "Begin")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    replies = iter(["Ann", "y", "the wiki"])

    def read(*_: object, **__: object) -> str:
        for reply in replies:
            return reply
        raise EOFError

    monkeypatch.setattr(Console, "input", read)
    arguments = ["assess", str(tmp_path), "--rev", "HEAD", "--ask"]
    assert cli.main(arguments) == 1
    assert "--answers" in capsys.readouterr().err
    assert cli.main([*arguments, "--answers", str(tmp_path / "new.yaml")]) == 0
    assert "the wiki" in (tmp_path / "new.yaml").read_text(encoding="utf-8")


def test_files_in_an_unusual_form_are_read_or_left_out(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "source": "import sklearn\rimport mlflow\r", "metadata": {}, "outputs": []}
    files = {
        "train.ipynb": json.dumps({"cells": [cell], "nbformat": 4}),
        "pyproject.toml": 'project = "x"\n[dependency-groups]\ndev = "pytest"\n[tool]\npoetry = 3\n',
        "one/pyproject.toml": '[project]\noptional-dependencies = ["a"]\ndependencies = "mlflow"\n',
        "two/pyproject.toml": '[project]\ndependencies = ["evidently"]\n',
    }
    assert report.as_json(assessed(tmp_path, files), None, None)["project"]["read"] == len(files)


def test_a_page_with_a_file_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    output.save("tr\udce4in.py", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "tr?in.py"


def test_the_end_of_the_input_keeps_what_was_answered() -> None:
    replies = iter(["Bob", "y", "the wiki", "n"])

    def read(_: str) -> str:
        for reply in replies:
            return reply
        raise EOFError

    new = ask(
        [each for each in rules().practices if each.asks], parse("", "", rules()), "Ann", "2026-01-31", read
    )
    assert [(each.says, each.by) for each in new.values()] == [("yes", "Bob"), ("no", "Bob")]


# ---- what is read


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_commit_is_read_as_it_was_and_gives_the_same_again(tmp_path: Path) -> None:
    make(
        tmp_path,
        {"work.py": "import mlflow\nmlflow.start_run()\n", "sub/a.py": "import wandb\nwandb.init()\n"},
    )
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    (tmp_path / "work.py").unlink()
    old = read_tree(tmp_path, rev="HEAD")
    assert set(old.files) == {"work.py", "sub/a.py"}
    assert old.commit == git(tmp_path, "rev-parse", "HEAD")
    assert set(read_tree(tmp_path).files) == {"sub/a.py"}
    assert set(read_tree(tmp_path, "sub", "HEAD").files) == {"a.py"}
    assert set(read_tree(tmp_path / "sub", rev="HEAD").files) == {"a.py"}
    runs = [cli_json(tmp_path, "--rev", "HEAD") for _ in range(2)]
    assert runs[0] == runs[1]
    for rev in ("nowhere", "--output=x"):
        with pytest.raises(UserError, match="rev"):
            read_tree(tmp_path, rev=rev)


def cli_json(folder: Path, *more: str) -> str:
    out = subprocess.run(
        [sys.executable, "-m", "ladder.cli", "assess", str(folder), "--json", *more],
        check=True,
        capture_output=True,
        text=True,
    )
    return out.stdout


def test_no_link_is_followed_and_nothing_outside_is_read(tmp_path: Path) -> None:
    make(tmp_path, {"outside/secret.py": "import mlflow\nmlflow.start_run()\n", "project/a.py": ""})
    project = tmp_path / "project"
    (project / "link.py").symlink_to(tmp_path / "outside" / "secret.py")
    (project / "linked").symlink_to(tmp_path / "outside")
    (project / "loop").symlink_to(project)
    assert set(read_tree(project).files) == {"a.py"}
    git(project, "init", "--quiet")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "one")
    assert set(read_tree(project).files) == {"a.py"}
    assert set(read_tree(project, rev="HEAD").files) == {"a.py"}
    with pytest.raises(UserError, match="--path"):
        read_tree(project, "../outside")


def test_nothing_is_run(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    ran = tmp_path / "ran"
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n", encoding="utf-8")
    hook.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(hook))
    assessed(
        tmp_path, {"setup.py": f"open({str(ran)!r}, 'w')\n", "conftest.py": f"open({str(ran)!r}, 'w')\n"}
    )
    assert not ran.exists()


def test_files_that_cannot_be_read_do_no_harm(tmp_path: Path) -> None:
    make(
        tmp_path,
        {"a.py": "def (:\n", "b.ipynb": "{", CI: "on: [\n", "pyproject.toml": "[", "c.yaml": "a: &a [*a]\n"},
    )
    (tmp_path / "d.py").write_bytes(b"\xff\xfe\x00\x01import mlflow")
    (tmp_path / "e.py").write_bytes(b"# \xff\r\nimport mlflow\r\nmlflow.start_run()\r\n")
    found = assessed(tmp_path)
    assert [each.fact.place for each in found.practices["tracking"].findings] == ["e.py:3"]


@pytest.mark.parametrize("level", levels()[2:], ids=lambda each: str(each.number))
def test_what_several_processes_read_is_the_same(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    files = read_tree(level.folder).files
    in_one_process = list(python.read(files, set()))
    monkeypatch.setattr(python, "MANY", 1)
    monkeypatch.setattr(python, "CHUNK", 7)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert list(python.read(files, set())) == in_one_process


def test_a_module_that_has_nothing_rules_ask_for_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python, "parsed", lambda text: pytest.fail(text))
    plain = "import os\nimport scipy.linalg\n\n\ndef aggregate(x):\n    return os.fspath(x)\n"
    assert {each.kind for each in python.read({"a.py": plain}, set())} <= {"import"}


def test_a_test_with_many_blank_lines_is_read_at_once() -> None:
    text = f"def test_a():\n{chr(10) * 400}    assert f()\n"
    assert not next(python.tests("test_a.py", text)).off
    assert next(python.tests("test_a.py", text.replace("assert f()", "pass"))).off


# ---- what is written


def test_json_has_its_keys_and_shows_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "a", HALF)
    assert cli.main(["assess", str(tmp_path / "a"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content)[:5] == ["version", "level", "name", "areas", "rows"]
    row = next(each for each in content["rows"] if each["id"] == "L1-T2")
    assert row["state"] == "seen"
    assert row["findings"][0]["place"].startswith(f"{CI}:")
    make(
        tmp_path / "a",
        {"maturity-answers.yaml": ANSWERS.replace("answers:", "answers:\n  version-control: yes")},
    )
    (tmp_path / "old.json").write_text(json.dumps(content), encoding="utf-8")
    found = assessed(tmp_path / "a")
    changes = {each.id: (each.before, each.now, each.better) for each in compare(content, found)}
    assert changes["overall"] == ("level 0", "level 1", True)
    assert changes["L1-R3"] == ("unknown", "answered", True)
    assert cli.main(["assess", str(tmp_path / "a"), "--compare", str(tmp_path / "old.json")]) == 0
    assert "level 0 -> level 1" in capsys.readouterr().out


def test_files_that_powershell_wrote_in_utf_16_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make(tmp_path / "a", {CI: workflow("pytest")})
    (project / "requirements.txt").write_text("mlflow==3.1.0\r\n", encoding="utf-16")
    assert cli.main(["assess", str(project), "--json"]) == 0
    then = capsys.readouterr().out
    assert "mlflow" in (read_tree(project).files["requirements.txt"])
    (tmp_path / "then.json").write_text(then, encoding="utf-16")
    answers = tmp_path / "answers.yaml"
    answers.write_text(ANSWERS, encoding="utf-16")
    arguments = ["assess", str(project), "--compare", str(tmp_path / "then.json"), "--answers", str(answers)]
    assert cli.main(arguments) == 0
    answers.write_bytes(b"by: M\xfcller\n")
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_exit_status_follows_the_level_that_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["assess", str(tmp_path), "--min-level", "0"]) == 0
    assert cli.main(["assess", str(tmp_path), "--min-level", "1"]) == 1
    assert "--min-level 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["/nowhere/at/all"], "no such folder"),
        ([".", "--compare", "/nowhere.json"], "no such file"),
        ([".", "--answers", "/nowhere.yaml"], "no such file"),
        ([".", "--json", "--markdown", "-"], "choose one"),
        ([".", "--ask"], "terminal"),
        ([".", "--ask", "--answers", "new.yaml"], "terminal"),
        (["/", "--rev", "HEAD"], "not in a git repository"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [str(tmp_path) if each == "." else each for each in arguments]
    assert cli.main(["assess", *arguments]) == 1
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


def test_the_backlog_orders_work_by_value_and_names_a_file_to_learn_from(tmp_path: Path) -> None:
    found = assessed(
        tmp_path,
        {**HALF, "maturity-answers.yaml": ANSWERS.replace("answers:", "answers:\n  version-control: yes")},
    )
    made = backlog(found)
    assert made is not None
    assert made.target == 2
    assert {row for item in made.items for row in item.rows} == {each.row.id for each in found.caps()}
    value = [len(item.rows) / item.days for item in made.items]
    assert value == sorted(value, reverse=True)
    assert all(item.acceptance and item.deliverable for item in made.items)
    learned = [item for item in made.items if item.learn_from]
    assert learned
    assert all(
        item.learn_from.startswith("level2_") and item.diff.startswith("ladder diff 1 2 ") for item in learned
    )
    assert any("--min-level 2" in each for each in made.success_criteria)


def test_pages_are_whole_and_escape_what_they_show(tmp_path: Path) -> None:
    evil = "echo '<script>alert(1)</script>' && pytest | cat"
    files = {**HALF, CI: workflow(evil), "maturity-answers.yaml": ANSWERS.replace("Ann", "<b>Ann</b>")}
    make(tmp_path / "a", files)
    page, markdown = tmp_path / "page.html", tmp_path / "report.md"
    assert cli.main(["assess", str(tmp_path / "a"), "--html", str(page), "--markdown", str(markdown)]) == 0
    html = page.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "<b>Ann</b>" not in html
    assert "<code>echo &#39;&lt;script&gt;" in html
    assert "&lt;code" not in html
    assert "http" not in html.replace("http://www.w3.org", "")
    assert all(
        each.id in html
        for each in (row.row for row in assessed(tmp_path / "a").rows)
        if each.level and not each.absent
    )
    assert markdown.read_text(encoding="utf-8").startswith("# Level 0, no MLOps: a\n")


def test_a_row_that_only_people_can_tell_asks_for_the_answer(tmp_path: Path) -> None:
    found = assessed(tmp_path, HALF)
    row = next(each for each in found.rows if each.row.id == "L1-R3")
    assert row.state == "unknown"
    assert report.remedy(row).endswith("?")


def test_the_report_says_what_it_does_not_prove(tmp_path: Path) -> None:
    found = assessed(tmp_path, HALF)
    assert report.as_json(found, None, None)["limitations"]
    assert report.LIMITS[0] in markdown(found, None, None)
