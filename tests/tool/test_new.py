"""`ladder new`: what is made works at once, is a whole project, and shows nothing of where it came from."""

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from ladder import ROOT, UserError, workcopy
from ladder.git import git
from ladder.levels import level, levels
from ladder.starter import new as starter
from ladder.starter.climb import climb
from ladder.starter.new import SAMPLE, new
from ladder.starter.rename import PACKAGE, check_name
from ladder.starter.template import FILE, MESSAGE, README, read_origin
from ladder.world import COMMITTED_FEED
from tests.tool.conftest import Ladder
from tests.tool.starters import NAME, run, text_of, trace, tracked

Ready = Callable[[int], Path]
LEVELS = range(5)
PACKAGED = range(1, 5)
LONG = "rides_of_all_our_taxis_in_the_whole_town"
NAMED = (PACKAGE, "bike-demand", "BIKE_")  # package; image, distribution, registered model; variables
OWN = {".gitattributes", ".starter.toml"}  # what a starter has and its level has not


def made(number: int, folder: Path, package: str = NAME, feed: Path | None = None) -> Path:
    """A project of that level in the folder."""
    new(level(number), folder, Console(quiet=True), package, feed)
    return folder


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Gives a project of a level. It is shared: look at it only."""
    folder = tmp_path_factory.mktemp("ready")

    def of(number: int) -> Path:
        place = folder / f"project-{number}"
        return place if place.exists() else made(number, place)

    return of


def everything(folder: Path) -> dict[str, bytes]:
    """All files, also git's own, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("number", LEVELS)
def test_a_project_has_the_files_of_its_level_and_a_few_of_its_own(number: int, ready: Ready) -> None:
    project = ready(number)
    of_level = {path.as_posix() for path in workcopy.own_files(level(number).folder)}
    expected = {name.replace(f"{PACKAGE}/", f"{NAME}/") for name in of_level} | OWN
    if number:
        expected |= {"docs/handbook.md"}
        assert {
            "requirements.lock",
            ".github/workflows/application.yml",
            f"{NAME}/problem/features.py",
        } <= expected
    assert set(tracked(project)) == expected
    lying = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    lying = {name for name in lying if not name.startswith(".git/")}
    assert lying - expected == {f"feed/{month}.csv" for month in SAMPLE}
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("number", LEVELS)
def test_no_file_tells_where_it_came_from(number: int, ready: Ready) -> None:
    project = ready(number)
    names = [name for name in tracked(project) if name != ".starter.toml"]
    traces = {name: found for name in names if (found := trace(text_of(project / name)) or trace(name))}
    assert traces == {}
    assert not trace(git(project, "log", "--all", "--format=%an %ae %s %b"))


def test_what_is_looked_for_as_a_trace_would_be_found() -> None:
    for texts in ("mlops-ladder", "`ladder up`", "at level 3", "level4_auto_retrain", "LEVEL-2"):
        assert trace(texts)
    assert not trace("the log level; from the level of the days before")


def test_main_and_template_begin_with_the_same_commit(ready: Ready) -> None:
    project = ready(2)
    assert git(project, "symbolic-ref", "--short", "HEAD").strip() == "main"
    heads = git(project, "for-each-ref", "--format=%(refname:short) %(subject)", "refs/heads").splitlines()
    assert heads == [f"main {MESSAGE}", f"template {MESSAGE}"]
    assert git(project, "rev-parse", "main") == git(project, "rev-parse", "template")
    assert (project / ".starter.toml").read_text(encoding="utf-8").splitlines()[-3:] == [
        "level = 2",
        f'package = "{NAME}"',
        'version = "0.1.0"',
    ]


def test_without_another_name_the_level_is_taken_to_the_byte(tmp_path: Path) -> None:
    project = made(3, tmp_path / "project", PACKAGE)
    own = {".gitignore", "README.md"}
    for name in workcopy.own_files(level(3).folder):
        if name.as_posix() not in own:
            assert (project / name).read_bytes() == (level(3).folder / name).read_bytes(), name


@pytest.mark.parametrize(
    ("number", "package"), [*((number, NAME) for number in PACKAGED), (1, "z"), (4, LONG)]
)
def test_what_is_named_after_the_package_has_its_name(
    number: int, package: str, ready: Ready, tmp_path: Path
) -> None:
    project = ready(number) if package == NAME else made(number, tmp_path / "project", package)
    texts = {name: text_of(project / name) for name in tracked(project)}
    assert {name: word for name, text in texts.items() for word in NAMED if word in text} == {}
    dashed = package.replace("_", "-")
    assert f'name = "{dashed}"' in texts["pyproject.toml"]
    assert f"--tag {dashed} ." in texts["Dockerfile"]
    assert f"`{package.upper()}_FEED`" in texts["README.md"]
    if number >= 3:
        assert f'PREFIX = "{package}_"' in texts[f"{package}/serving/metrics.py"]
    assert f'include = ["{package}*"]' in texts["pyproject.toml"]
    assert f"/{package}/training/" in texts[".github/CODEOWNERS"]
    assert f"COPY {package} ./{package}" in texts["Dockerfile"]
    assert (
        f"python -m {package} ingest"
        in texts["runbook.yaml"] + texts["README.md"] + texts[f"{package}/__main__.py"]
    )
    for command in (["check"], ["format", "--check"]):
        run(project, "-m", "ruff", *command, "--quiet", "--no-cache")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("taxi-rides", "ASCII letters"),
        ("7up", "ASCII letters"),
        ("größe", "ASCII letters"),
        ("", "ASCII letters"),
        ("class", "a Python keyword"),
        ("json", "Python's standard library"),
        ("numpy", "an installed package"),
        ("Build", "the project has a folder of that name"),
        ("integrity", "the name is already used in its code"),
        ("x" * 41, "more than 40 characters"),
    ],
)
def test_a_name_that_is_none_or_taken_is_refused(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says) as refusal:
        made(1, tmp_path / "project", name)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_nobody_gave_is_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2024_churn: use ASCII letters.*; give another with --package"):
        new(level(1), tmp_path / "2024-churn", Console(quiet=True), draft=["table.csv", "--label", "left"])


def test_a_name_is_free_though_the_current_folder_has_something_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m ladder` searches the current folder, where a project's own package may be."""
    (tmp_path / "around" / "shop").mkdir(parents=True)
    (tmp_path / "around" / "shop" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path / "around")
    monkeypatch.syspath_prepend(str(tmp_path / "around"))
    check_name("shop")
    (tmp_path / "around" / "numpy").mkdir()
    with pytest.raises(UserError, match="an installed package"):
        check_name("numpy")


def test_a_folder_that_is_not_empty_is_left_alone(ladder: Ladder, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("1", encoding="utf-8")
    done = ladder("new", "1", tmp_path / "thesis")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "the folder is not empty; choose another one" in done.stderr
    assert everything(tmp_path / "thesis") == {"chapter": b"1"}
    with pytest.raises(UserError, match="a file of that name exists"):
        made(1, tmp_path / "thesis" / "chapter")


def test_an_empty_folder_is_taken_and_a_feed_is_not_forced_on_anybody(ladder: Ladder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = ladder("new", "1", tmp_path / "empty", "--no-feed")
    assert (done.returncode, done.stderr) == (0, "")
    assert "DevOps but no MLOps; no feed; committed on main" in done.stdout
    assert not (tmp_path / "empty" / "feed").exists()


@pytest.mark.parametrize(
    ("feed", "empty", "says"),
    [("not-there", True, "mutually exclusive"), ("not-there", False, "no such folder")],
)
def test_a_feed_that_cannot_be_meant_is_refused_and_nothing_is_made(
    feed: str, empty: bool, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        new(level(1), tmp_path / "project", Console(quiet=True), feed=tmp_path / feed, no_feed=empty)
    assert list(tmp_path.iterdir()) == []


def test_a_hidden_folder_of_somebody_stays(tmp_path: Path) -> None:
    kept = tmp_path / ".project.new-ideas" / "notes"
    kept.parent.mkdir()
    kept.write_text("mine", encoding="utf-8")
    made(0, tmp_path / "project")
    assert kept.read_text(encoding="utf-8") == "mine"


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="would replace the current folder"):
        made(1, Path())


def test_a_feed_of_ones_own_comes_along_and_is_not_committed(tmp_path: Path) -> None:
    feed = tmp_path / "months"
    feed.mkdir()
    for month in ("2012-01", "2012-02"):
        shutil.copy(COMMITTED_FEED / f"{month}.csv", feed)
    project = made(1, tmp_path / "project", feed=feed)
    assert sorted(path.name for path in (project / "feed").iterdir()) == ["2012-01.csv", "2012-02.csv"]
    assert not any(name.startswith("feed/") for name in tracked(project))
    assert git(project, "status", "--porcelain") == ""
    (feed / "2012-02.csv").write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(UserError):
        made(1, tmp_path / "other", feed=feed)
    assert not (tmp_path / "other").exists()


def test_a_project_for_ones_own_table_needs_no_edit(tmp_path: Path) -> None:
    table = tmp_path / "visits.csv"
    days = [(date(2023, 8, 20) + timedelta(days=at)) for at in range(120)]
    lines = [f"{day:%d.%m.%Y};{day.weekday()};{20 + 9 * day.weekday() + day.day % 3}" for day in days]
    table.write_text("Day;Weekday;Visits\n" + "\n".join(lines) + "\n", encoding="utf-8")
    project = tmp_path / "visits"
    draft = [str(table), "--label", "Visits", "--time", "Day", "--label-delay", "1d"]
    new(level(1), project, Console(quiet=True), "visits", draft=draft)
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "diff", "--name-only", "template", "main", "--", "visits").split() == [
        f"visits/problem/{name}.py"
        for name in ("__init__", "behavior", "features", "model", "schema", "target")
    ]
    files = [each for each in project.rglob("*") if each.is_file() and ".git" not in each.parts]
    assert [each for each in files if "bike" in f"{each.name} {text_of(each)}".lower()] == []
    readme = text_of(project / "README.md")
    assert readme.startswith("# Visits\n\nPredicts visits.\n")
    (request,) = re.findall(r"--data '(.*?)'", readme, re.DOTALL)
    assert "day" in json.loads(request)
    assert set(re.findall(r"\d{4}-\d{2}\.csv", readme)) == {"2023-08.csv", "2023-09.csv"}
    run(project, "-m", "visits", "problem", "check")
    run(project, "-m", "pytest", "-q", "-p", "no:xdist", "tests/problem")


@pytest.mark.slow
def test_a_drafted_project_climbs_with_nothing_to_settle(tmp_path: Path) -> None:
    table = tmp_path / "sales.csv"
    days = [date(2023, 1, 1) + timedelta(days=at) for at in range(120)]
    table.write_text(
        "Day,Rain,Visits\n" + "".join(f"{day},{day.day % 7},{day.day}\n" for day in days), "utf-8"
    )
    project = tmp_path / "visits"
    draft = [str(table), "--label", "Visits", "--time", "Day"]
    new(level(2), project, Console(quiet=True), "visits", draft=draft)
    output = io.StringIO()
    assert climb(project, Console(file=output, width=200))
    assert "label_delay" in output.getvalue()  # it was guessed
    readme = text_of(project / "README.md")
    assert readme.startswith("# Sales\n\nPredicts visits.\n")
    assert set(re.findall(r"models:?/([\w-]+)", readme)) == {"sales"}
    assert "python -m visits deploy" in readme
    assert "bike" not in readme


def test_a_table_that_cannot_be_read_makes_no_project(tmp_path: Path) -> None:
    table = tmp_path / "visits.csv"
    table.write_text("Day,Visits\n2023-01-01,1\n2023-01-02,1\n", encoding="utf-8")
    with pytest.raises(UserError, match="one value in all rows"):
        new(level(1), tmp_path / "visits", Console(quiet=True), draft=[str(table), "--label", "Visits"])
    assert list(tmp_path.iterdir()) == [table]


def test_a_kill_leaves_nothing_half_made_and_the_next_one_makes_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; import ladder.starter.new as n; from pathlib import Path\n"
        "n._commit = lambda *_: (print('there', flush=True), time.sleep(60))\n"
        "from ladder.levels import level; from rich.console import Console\n"
        "n.new(level(1), Path(sys.argv[1]), Console())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "project [1]")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "there\n"
        process.kill()
    assert not (tmp_path / "project [1]").exists()
    assert len(list(tmp_path.iterdir())) == 1  # what it was at, under another name
    made(1, tmp_path / "project [1]")
    assert (tmp_path / "project [1]" / ".git").is_dir()


def cut_off(*_: object) -> None:
    raise KeyboardInterrupt


def test_cut_off_it_clears_up_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladder.starter.new._commit", cut_off)
    with pytest.raises(KeyboardInterrupt):
        made(1, tmp_path / "project")
    assert list(tmp_path.iterdir()) == []


def test_of_two_at_once_one_makes_the_project_and_the_other_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = starter._commit

    def meanwhile(project: Path) -> None:
        """Another one begins, and is done first."""
        monkeypatch.setattr(starter, "_commit", commit)
        made(1, tmp_path / "project")
        commit(project)

    monkeypatch.setattr(starter, "_commit", meanwhile)
    with pytest.raises(OSError, match=r"project") as refused:
        made(2, tmp_path / "project")
    assert refused.value.errno == errno.ENOTEMPTY
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    assert git(tmp_path / "project", "status", "--porcelain") == ""
    assert read_origin((tmp_path / "project" / FILE).read_text(encoding="utf-8")).level == 1


def test_one_that_fails_leaves_another_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = starter._commit

    def meanwhile(project: Path) -> None:
        monkeypatch.setattr(starter, "_commit", cut_off)
        with pytest.raises(KeyboardInterrupt):
            made(2, tmp_path / "project")
        commit(project)

    monkeypatch.setattr(starter, "_commit", meanwhile)
    made(1, tmp_path / "project")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    assert git(tmp_path / "project", "status", "--porcelain") == ""
    assert read_origin((tmp_path / "project" / FILE).read_text(encoding="utf-8")).level == 1


@pytest.mark.parametrize("known", ["", "[user]\nemail = a@localhost\n"])
def test_git_that_does_not_know_the_name_of_its_user_makes_one_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / ".gitconfig").write_text(known, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody else")
    project = made(0, tmp_path / "project")
    assert git(project, "log", "--format=%an <%ae>").strip() == "Starter <starter@localhost>"


def predict(project: Path, package: str) -> None:
    """The project's own way from its feed to predictions: one line for each hour of the file."""
    if package:
        run(project, "-m", package, "ingest")
        run(project, "-m", package, "train")
        if (project / "state" / "handoff").exists():
            shutil.copytree(project / "state" / "handoff", project / "state" / "model")
        elif not (project / package / "release" / "gates").exists():
            run(project, "-m", package, "release", "latest", "--yes")
        run(project, "-m", package, "predict", "feed/2011-02.csv", "predictions.csv")
        inputs = project / "feed" / "2011-02.csv"
    else:
        (project / "live").mkdir()
        shutil.copy(project / "handoff" / "model.pkl", project / "live")
        run(project, "score.py", "day.csv", "predictions.csv")
        inputs = project / "day.csv"
    lines = (project / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(inputs.read_text(encoding="utf-8").splitlines())
    left = set(git(project, "status", "--porcelain").splitlines())
    assert left <= {"?? predictions.csv", "?? dvc.lock"}  # the lock is for a person to commit


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_its_own_commands_give_predictions(number: int, tmp_path: Path) -> None:
    predict(made(number, tmp_path / "project"), NAME if number else "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3, 4])
def test_its_own_commands_start(number: int, tmp_path: Path) -> None:
    project = made(number, tmp_path / "project")
    run(project, "-m", NAME, "ingest")
    ingested = sorted((project / "state" / "data").glob("20*"))
    assert len(ingested) == len(SAMPLE)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3, 4])
def test_its_own_commands_train_and_predict(number: int, tmp_path: Path) -> None:
    predict(made(number, tmp_path / "project"), NAME)


posix = pytest.mark.skipif(sys.platform == "win32", reason="the page's commands are those of a POSIX shell")


def copied(number: int, folder: Path) -> Path:
    """A level copied by hand, by the very commands that docs/starters.md shows."""
    page = (ROOT / "docs" / "starters.md").read_text(encoding="utf-8")
    section = page.split("## Or copy the folder\n")[1].split("\n## ")[0]
    commands = "".join(line[4:] + "\n" for line in section.splitlines() if line.startswith("    "))
    assert commands.count("level2_auto_training") == 1
    who = {
        f"GIT_{role}_{what}": "t@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=commands.replace("level2_auto_training", level(number).folder.name).replace(
            "../taxi-demand", str(folder)
        ),
        cwd=ROOT,
        env=os.environ | who,
        text=True,
        capture_output=True,
        check=True,
    )
    return folder


@pytest.mark.slow
@posix
def test_a_level_that_was_copied_by_hand_starts_too(tmp_path: Path) -> None:
    project = copied(1, tmp_path / "copy")
    run(project, "-m", PACKAGE, "ingest")
    assert git(project, "status", "--porcelain") == ""


@posix
@pytest.mark.slow
@pytest.mark.parametrize("number", LEVELS)
def test_any_level_that_was_copied_by_hand_gives_predictions(number: int, tmp_path: Path) -> None:
    predict(copied(number, tmp_path / "copy"), PACKAGE if number else "")


def fresh_environment(project: Path, place: Path) -> Path:
    """An environment with what the project's own lock holds, and nothing else; its Python."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(place)], check=True)
    (python,) = [*place.glob("bin/python"), *place.glob("Scripts/python.exe")]
    subprocess.run(
        [*uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), "requirements.lock"],
        cwd=project,
        check=True,
    )
    return python


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("number", PACKAGED)
def test_with_its_own_lock_and_nothing_else_its_tests_pass(number: int, tmp_path: Path) -> None:
    project = made(number, tmp_path / "project")
    python = fresh_environment(project, tmp_path / "environment")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PATH"] = os.pathsep.join([str(python.parent), environment["PATH"]])
    for command in (
        ["pytest", "-q", "-n", "2", "--dist", "loadfile"],
        ["mypy"],
        [NAME, "ingest"],
        [NAME, "train"],
    ):
        done = subprocess.run(
            [python, "-m", *command],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1400,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_every_place_that_the_readme_names_exists_at_some_level() -> None:
    places = re.findall(r'(?m)^  \("([^"]+)", ', README.read_text(encoding="utf-8"))
    assert len(places) > 10
    for path in places:
        assert any((each.folder / path).exists() for each in levels()), path
