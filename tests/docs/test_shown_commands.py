"""Each command that a page shows is run as it stands there, in a fresh project or clone, or listed here."""

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from rich.console import Console

from ladder import ROOT, runbook, workcopy
from ladder.assess.answers import parse
from ladder.assess.rules import rules
from ladder.git import git
from ladder.levels import level, levels
from ladder.starter.new import new
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import read_feed
from ladder.world.scenario import load_scenario
from tests.docs.terminal import PAGES, Block, Terminal, blocks, prediction
from tests.feed.test_real_data import as_uci
from tests.tool.starters import commit

SHELL = {"", "bash", "sh", "shell", "console", "powershell"}  # languages of blocks; "" is indented
PACKAGE = r"python -m bike_demand"

# ---- where the blocks are run


def clone(place: Path) -> Path:
    """A clone of this repository as it stands in the working tree."""
    folder = place / "mlops-ladder"
    for name in workcopy.own_files(ROOT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder)
    return folder


def starter(number: int, folder: Path) -> Path:
    new(level(number), folder, Console(quiet=True))
    return folder


def reader(place: Path) -> Path:
    """A clone, with the files that a reader of the front page brings along."""
    folder = clone(place)
    rows = [f"{number % 60},{number % 7},{int(number % 60 < 20)}" for number in range(400)]
    (folder / "customers.csv").write_text("\n".join(["months,calls,left", *rows, ""]), encoding="utf-8")
    as_uci(read_feed(COMMITTED_FEED)).to_csv(folder / "hour.csv", index=False, lineterminator="\n")
    return folder


def table(place: Path) -> Path:
    """A starter with a table of one's own."""
    folder = starter(2, place / "project")
    months = [f"{2021 + at // 12}-{at % 12 + 1:02}-01" for at in range(36)]
    rows = []
    for at, month in enumerate(months):
        for key in range(30):
            calls = (5 * key + 3 * at) % 10
            rows.append(f"{month},{key},{calls},{int((calls > 6) != ((key + at) % 9 == 0))}")
    (folder / "churn.csv").write_text("\n".join(["Month,Customer,Calls,Churn", *rows, ""]), encoding="utf-8")
    return folder


def changed(place: Path) -> Path:
    """A starter next to a clone, with a change of its problem."""
    clone(place)
    folder = starter(2, place / "project")
    with (folder / "bike_demand" / "problem" / "schema.py").open("a", encoding="utf-8") as file:
        file.write("# our own\n")
    return folder


def assessed(place: Path) -> Path:
    """A clone next to a project with a tag, and next to a repository with a project in a folder."""
    project = starter(2, place / "taxi-demand")
    git(project, "tag", "v1.4.0")
    workcopy.make(level(1), place / "platform" / "services" / "demand")
    return clone(place)


def spreadsheet(place: Path) -> Path:
    (place / "IN.csv").write_text("Größe;Menge\n1,5;2\n", encoding="cp1252")
    return place


def beside_a_starter(place: Path) -> Path:
    """A clone whose lab 12 is solved."""
    folder = clone(place)
    with Terminal(folder, place / "before") as terminal:
        terminal.run("python3 -m ladder lab 12 --solve --yes")
    return folder


class Scene(NamedTuple):
    """A page whose blocks are run in the folder that `make` makes: those whose first line has `first`."""

    page: str
    make: Callable[[Path], Path]
    first: str = ""


def of(number: int) -> Callable[[Path], Path]:
    return lambda place: starter(number, place / "project")


SCENES = (
    *(Scene(f"{each.folder.name}/README.md", of(each.number)) for each in levels()),
    Scene("README.md", reader),
    Scene("docs/assess.md", assessed),
    Scene("docs/starters.md", clone),
    Scene("docs/troubleshooting.md", spreadsheet),
    Scene("docs/workshop/half-day.md", clone),
    Scene("docs/workshop/index.md", clone),
    Scene("docs/workshop/two-days.md", beside_a_starter),
    Scene("docs/your-own-problem.md", table, "problem draft"),
    Scene("docs/your-own-problem.md", clone, "ladder new"),
    Scene("docs/your-own-problem.md", changed, "problem check|git apply"),
    Scene("problems/customer-churn/README.md", clone),
    Scene("problems/energy-load/README.md", clone),
)

# ---- what is not run here, by page and pattern, with the test that does it or the reason

LOCK = "tests/tool/test_new.py::test_with_its_own_lock_and_nothing_else_its_tests_pass"
DEMO = "tests/tool/test_demo.py::test_the_demo_replays_every_level_and_reports_what_users_got"
STORY = "tests/tool/test_cycle.py::test_a_story_is_played_by_the_flows_of_a_prefect_server_until_ctrl_c"
SERVERS = "tests/test_production.py::test_level_4_lives_on_postgresql_an_mlflow_server_and_a_prefect_server"
LAB = "tests/lab/test_labs.py::test_the_steps_of_a_lab_lead_from_an_open_check_to_a_passed_one"
BUNDLE = "tests/tool/test_bundle.py::test_a_bundle_installs_and_runs_with_the_network_off"
WHEEL = "tests/tool/test_packaging.py::test_projects_are_made_and_climb_without_a_checkout"
SNIPPETS = "tests/tool/test_snippets.py::test_each_snippet_of_the_page_is_run"
NO_DOCKER = "needs Docker; its files: tests/test_workflows.py::test_a_dockerfile_follows_good_practice"

LINES_ELSEWHERE = {
    ("*", r"python -m pip install .* requirements\.lock$"): LOCK,
    ("*", r"python -m pytest -n 2"): LOCK,
    ("*", r"python3 -m ladder demo( --scenario growth)?$"): DEMO,
    ("*", r"python3 -m ladder test$"): "tests/tool/test_testing.py::test_one_level_alone_is_tested_whole",
    ("*", r"python3 -m ladder compare$"): (
        "tests/tool/test_compare.py::test_a_part_of_a_story_is_compared_and_the_numbers_are_printed"
    ),
    ("*", r"python3 -m ladder bundle "): BUNDLE,
    ("*", r"python3 -m ladder up 4 --story$"): STORY,
    ("*", r"python3 -m ladder run 3$"): (
        "tests/tool/test_cycle.py::test_run_shows_each_step_with_who_does_it_and_its_command"
    ),
    ("*", r"pipx run "): WHEEL,
    ("level1_devops/README.md", r"docker "): NO_DOCKER,
}
# By their first lines.
BLOCKS_ELSEWHERE = {
    ("docs/production.md", r"docker (compose|run) "): SERVERS,
    ("docs/starters.md", r"cp -r level2"): (
        "tests/tool/test_new.py::test_any_level_that_was_copied_by_hand_gives_predictions"
    ),
    ("docs/workshop/half-day.md", r"python -m bike_demand rollback"): LAB,
    ("docs/workshop/index.md", r"\.venv/bin/python -m mkdocs build"): (
        "tests/docs/test_site.py::test_no_page_fetches_anything_from_elsewhere"
    ),
}
NO_COMMANDS = {
    ("level*/README.md", r"bike_demand/problem/ "): "a list of folders",
    ("docs/workshop/index.md", r"You need Python"): "an email",
    ("docs/assess.md", r"by: Ann"): "answers, read by a test below",
    ("data/README.md", r"title = "): "a scenario, read by a test below",
}
LANGUAGES = {
    ("docs/*", "mermaid"): "tests/docs/test_site.py::test_a_diagram_without_its_picture_is_refused",
    ("docs/your-own-problem.md", "python"): SNIPPETS,
    ("problems/*", "json"): (
        "tests/tool/test_problems.py::test_the_readme_is_about_the_problem_and_its_request_is_the_example"
    ),
}

# ---- what happens between two lines, and what a placeholder stands for


def export(terminal: Terminal) -> None:
    """What the page lists as step 1."""
    runbook.paste(terminal.folder, runbook.Move.model_validate({"from": "feed/*.csv", "to": "export.csv"}))


def next_month(terminal: Terminal) -> None:
    """The operator publishes another month."""
    published = {path.name for path in (terminal.folder / "feed").iterdir()}
    month = next(path for path in sorted(COMMITTED_FEED.glob("2*.csv")) if path.name not in published)
    shutil.copy(month, terminal.folder / "feed")


def another_version(terminal: Terminal) -> None:
    next_month(terminal)
    terminal.run("python -m bike_demand train")


def registered_model(terminal: Terminal) -> None:
    code = 'MlflowClient("sqlite:///state/mlflow.db").create_registered_model("bike-demand")'
    terminal.run(f"python -c 'from mlflow import MlflowClient; {code}'")


def predicted(terminal: Terminal) -> str:
    """The id of a prediction."""
    row = {"timestamp": "2012-06-13T17:00:00", "holiday": 0, "workingday": 1, "weather": 1}
    more = {"temp_c": 24.6, "feels_like_c": 26.1, "humidity": 0.55, "windspeed_kmh": 13}
    return str(httpx.post(f"{terminal.url(8000)}/predict", json=row | more, timeout=30).json()["id"])


BEFORE: dict[tuple[str, str], Callable[[Terminal], None]] = {
    ("level0*", r"jupyter execute"): export,
    ("level2*", r"dvc metrics diff"): another_version,
    ("level3*", rf"{PACKAGE} ab step"): another_version,
    ("level4*", rf"{PACKAGE} retrain"): next_month,
    ("docs/troubleshooting.md", r"python -c 'from mlflow"): registered_model,
}
PLACEHOLDERS: dict[tuple[str, str], Callable[[Terminal], str]] = {
    ("level[34]*", r"(?<=trace )ID\b"): predicted,
    ("level[34]*", r"(?<=release )7\b"): lambda _: "2",
    ("level3*", r"(?<=--to )URI\b"): lambda terminal: f"sqlite:///{terminal.home.parent}/next.db",
    ("docs/workshop/half-day.md", r"(?<=assess )PATH\b"): lambda _: "level1_devops",
}

# ---- what has to come of a line, as the page says


def prints(text: str) -> Callable[[Terminal, str], None]:
    def check(_: Terminal, output: str) -> None:
        assert re.search(text, output), output

    return check


def writes(name: str) -> Callable[[Terminal, str], None]:
    def check(terminal: Terminal, _: str) -> None:
        assert (terminal.folder / name).exists()

    return check


def responds(port: int, path: str, text: str) -> Callable[[Terminal, str], None]:
    def check(terminal: Terminal, _: str) -> None:
        assert text in httpx.get(terminal.url(port) + path, timeout=30).raise_for_status().text

    return check


def is_ready(terminal: Terminal, _: str) -> None:
    """The service has a model within seconds."""
    give_up = time.monotonic() + 60
    while not httpx.get(f"{terminal.url(8000)}/ready").is_success:
        assert time.monotonic() < give_up, "no model"
        time.sleep(0.2)
    responds(8000, "/docs", "swagger")(terminal, "")


def predicts(_: Terminal, output: str) -> None:
    assert prediction(output) > 0


def scores(terminal: Terminal, _: str) -> None:
    """MLflow's server of a model takes the request that the version stores."""
    (request, *_rest) = sorted(terminal.folder.glob("state/**/serving_input_example.json"))
    response = httpx.post(
        f"{terminal.url(5001)}/invocations", json=json.loads(request.read_text(encoding="utf-8")), timeout=30
    )
    assert response.raise_for_status().json()["predictions"]["prediction"][0][0] > 0


def rehearses(terminal: Terminal, _: str) -> None:
    """The rest of the climb, which the page has in its sentences: in the starter, and in the repository."""
    page = (ROOT / "docs" / "workshop" / "two-days.md").read_text(encoding="utf-8")
    steps = page.partition("Type this in the")[2].partition("What goes wrong")[0]
    found = re.findall(r"`((?:python -m shop|git (?:switch|merge)|python3 -m ladder assess) ?[^`]*)`", steps)
    assert len(found) == 5
    for line in found:
        inside = not line.startswith("python3")
        terminal.folder = terminal.home / ".ladder" / "lab" / "12" / "shop" if inside else terminal.home
        output = terminal.run(line)
        if line.endswith("train"):
            assert "out of band" in output, output


MODEL = "/ajax-api/2.0/mlflow/registered-models/get?name=bike-demand"
AFTER: dict[tuple[str, str], Callable[[Terminal, str], None]] = {
    ("level0*", r"python score\.py"): writes("predictions.csv"),
    ("level[1-4]*", r"curl"): predicts,
    ("level[1-4]*", rf"{PACKAGE} serve"): is_ready,
    ("docs/your-own-problem.md", rf"{PACKAGE} serve"): responds(8000, "/docs", "swagger"),
    ("level[12]*", rf"{PACKAGE} predict"): writes("predictions.csv"),
    ("level1*", rf"{PACKAGE} train"): prints(r"error: [\d.]+ bikes"),
    ("level2*", rf"{PACKAGE} reproduce"): prints("identical"),
    ("level[2-4]*", r"dvc exp show"): prints(r"\[version-1\]"),
    ("level2*", r"dvc metrics diff"): prints("version-1 +version-2"),
    ("level2*", r"dvc get"): writes("data/2011-01.parquet"),
    ("level[2-4]*", r"mlflow ui"): responds(5000, MODEL, "bike-demand"),
    ("level[2-4]*", r".*mlflow models serve"): scores,
    ("level4*", r"evidently ui"): responds(8001, "/", "Evidently"),
    ("docs/assess.md", r".* --html"): writes("assessment.html"),
    ("docs/assess.md", r".* --json"): writes("then.json"),
    ("docs/workshop/half-day.md", r".* --html"): writes("assessment.html"),
    ("docs/troubleshooting.md", r"python -c"): writes("OUT.csv"),
    ("docs/workshop/two-days.md", r".*/shop$"): rehearses,
    ("docs/workshop/index.md", r".*lab 1$"): writes(".ladder/lab/1"),
    ("README.md", r".*feed import"): writes(".ladder/feeds/uci"),
}
# A status other than 0 that the page announces.
STATUS = {
    ("docs/assess.md", r".* --min-level 2"): 1,
    ("docs/workshop/index.md", r".* --check$"): 1,
}

TABLES: tuple[dict[tuple[str, str], Any], ...] = (
    LINES_ELSEWHERE, BLOCKS_ELSEWHERE, NO_COMMANDS, LANGUAGES, BEFORE, PLACEHOLDERS, AFTER, STATUS,
)  # fmt: skip


def entry(known: dict[tuple[str, str], Any], page: str, text: str) -> Any:
    """The value in a table for a line of a page; None without one."""
    return next(
        (value for (pages, line), value in known.items() if fnmatch(page, pages) and re.match(line, text)),
        None,
    )


@cache
def shown(page: str) -> tuple[Block, ...]:
    return tuple(blocks((ROOT / page).read_text(encoding="utf-8")))


def is_run(page: str, block: Block) -> bool:
    """Whether a block has to be run by a scene."""
    if block.language not in SHELL or not block.lines:
        return False
    return entry(BLOCKS_ELSEWHERE, page, block.lines[0]) is entry(NO_COMMANDS, page, block.lines[0]) is None


def type_lines(terminal: Terminal, page: str, found: Sequence[Block]) -> None:
    """Type all lines of these blocks that are not run elsewhere; each block begins in the first folder."""
    for block in found:
        terminal.folder = terminal.home
        for line in block.lines:
            if entry(LINES_ELSEWHERE, page, re.sub(r"\s+# .*", "", line)) is not None:
                continue
            if prepare := entry(BEFORE, page, line):
                prepare(terminal)
            typed = line
            for (pages, pattern), value in PLACEHOLDERS.items():
                if fnmatch(page, pages) and re.search(pattern, line):
                    typed = re.sub(pattern, value(terminal), typed)
            try:
                output = terminal.type(typed, entry(STATUS, page, line) or 0)
                if check := entry(AFTER, page, line):
                    check(terminal, output)
            except AssertionError as error:
                raise AssertionError(f"{page}, line {block.number} and on: {line}\n{error}") from error


# ---- the tables and the pages


def test_each_block_of_commands_is_run_by_one_scene_or_listed() -> None:
    for page in PAGES:
        for block in shown(page):
            scenes = [each for each in SCENES if each.page == page and re.search(each.first, block.lines[0])]
            if block.language not in SHELL:
                assert entry(LANGUAGES, page, block.language), f"{page}, line {block.number}"
            elif is_run(page, block):
                lines = [re.sub(r"\s+# .*", "", line) for line in block.lines]
                listed = all(entry(LINES_ELSEWHERE, page, line) for line in lines)
                assert listed or len(scenes) == 1, f"{page}, line {block.number}: run by no scene or several"


def test_all_that_is_listed_is_on_a_page() -> None:
    for known in TABLES:
        for pages, pattern in known:
            lines = [
                line
                for page in PAGES
                if fnmatch(page, pages)
                for block in shown(page)
                for line in ((block.language,) if known is LANGUAGES else block.lines)
            ]
            find = re.search if known is PLACEHOLDERS else re.match
            assert any(find(pattern, re.sub(r"\s+# .*", "", line)) for line in lines), (pages, pattern)


def test_each_test_that_is_named_exists() -> None:
    for reason in chain(*(known.values() for known in (LINES_ELSEWHERE, BLOCKS_ELSEWHERE, LANGUAGES))):
        path, _, name = reason.rpartition(" ")[2].partition("::")
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), reason


def test_the_blocks_of_a_page_are_those_that_a_reader_sees() -> None:
    page = (
        "Text\n\n    python a.py 'x\n      y'  # z\n    b\n\n1. item\n\n    no code\n\n```sh\nc\n```\n\n"
        "| command | does |\n|---|---|\n| `d 1` | e `f` |\n\n| other |\n|---|\n| `g` |\n"
    )
    assert [(each.number, each.lines) for each in blocks(page)] == [
        (3, ("python a.py 'x\n  y'  # z", "b")), (11, ("c",)), (15, ("d 1",)),
    ]  # fmt: skip


def test_the_scenario_that_a_page_shows_can_be_read(tmp_path: Path) -> None:
    (block,) = (each for each in shown("data/README.md") if each.lines[0].startswith("title"))
    (tmp_path / "own.toml").write_text(block.text, encoding="utf-8")
    assert load_scenario(str(tmp_path / "own.toml")).title == "My story"


def test_the_answers_that_a_page_shows_can_be_read() -> None:
    (block,) = (each for each in shown("docs/assess.md") if each.lines[0].startswith("by:"))
    read = parse(block.text, "answers", rules())
    assert (len(read.practices), len(read.rows)) == (2, 1)


posix = pytest.mark.skipif(sys.platform == "win32", reason="the pages' commands are those of a POSIX shell")


@posix
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("    echo 1\n    no-such-program --help\n", "no-such-program"),
        ("    python -m ladder nothing\n", "No such command"),
        ("    cd not-there\n", "not-there"),
        ("    echo $UNKNOWN\n", "UNKNOWN"),
        # Goes on running. A process that has only just started shows no environment to know it by.
        ("    sleep 99 > /dev/null 2>&1 & sleep 1\n", "sleep"),
    ],
)
def test_a_command_that_does_not_work_is_noticed(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.docs.terminal.GRACE", 0.1)
    with pytest.raises(AssertionError, match=says), Terminal(ROOT, tmp_path / "log") as terminal:
        type_lines(terminal, "page.md", blocks(text))


@posix
def test_two_servers_at_one_address_are_noticed(tmp_path: Path) -> None:
    with Terminal(tmp_path, tmp_path / "log") as terminal:
        terminal.ports[5000] = 1
        with pytest.raises(AssertionError, match="another server"):
            terminal.type("mlflow ui")


# ---- the commands


@posix
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scene", SCENES, ids=lambda each: f"{each.page} {each.first}".strip())
def test_what_a_page_shows_works_as_it_stands(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LADDER_HOME", str(tmp_path / "tools"))
    found = [
        block
        for block in shown(scene.page)
        if is_run(scene.page, block) and re.search(scene.first, block.lines[0])
    ]
    assert found
    (tmp_path / "place").mkdir()
    folder = scene.make(tmp_path / "place")
    with Terminal(folder, tmp_path / "log") as terminal:
        type_lines(terminal, scene.page, found)
