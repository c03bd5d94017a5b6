"""`ladder climb`: what people changed stays, what the next level brings comes, nothing is lost on the way."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ladder import ROOT, UserError, workcopy
from ladder.git import git, run_unchecked
from ladder.levels import Level, level
from ladder.starter.climb import climb
from ladder.starter.plan import Merged, merge_locks
from ladder.starter.rename import PACKAGE
from tests.tool.conftest import Ladder
from tests.tool.starters import NAME, WHO, commit, edits, replace, run, settle, tracked
from tests.tool.test_new import everything, fresh_environment, made

QUIET = Console(quiet=True)
# Where the ten edits cannot but meet what the next level changes. All else merges by itself.
CONFLICTS = {
    0: {".gitignore", "day.csv", "demand.ipynb", "handoff/README.txt", "score.py"},
    1: {".github/CODEOWNERS", "params.yaml", "pyproject.toml", f"{NAME}/core/settings.py"},
    2: {".github/CODEOWNERS"},
    3: {".github/CODEOWNERS"},
}
BRANCHES = ("climb-to-devops", "climb-to-auto-training", "climb-to-auto-deploy", "climb-to-auto-retrain")


def lived_in(number: int, folder: Path) -> Path:
    """A project of that level with the ten changes that people make, and with what git does not know."""
    project = made(number, folder)
    for edit in edits(number):
        edit.make(project)
        edit.kept(project)
    commit(project)
    (project / "feed" / "2011-07.csv").write_text("a month of our own\n", encoding="utf-8")
    if number:
        (project / "state").mkdir()
        (project / "state" / "kept").write_text("what was ingested", encoding="utf-8")
    return project


def unmerged(project: Path) -> set[str]:
    return {line.split("\t")[1] for line in git(project, "ls-files", "--unmerged").splitlines()}


def climbed(number: int, folder: Path) -> Path:
    """The project a level higher, with what could not be merged settled as the advice says."""
    project = lived_in(number, folder)
    main = git(project, "rev-parse", "main")
    assert climb(project, QUIET) == (not CONFLICTS[number])
    assert git(project, "symbolic-ref", "--short", "HEAD").strip() == BRANCHES[number]
    assert git(project, "rev-parse", "main") == main
    assert unmerged(project) == CONFLICTS[number]
    settle(project)
    commit(project, "Climb")
    return project


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2, 3))]
)
def test_ten_changes_are_there_after_a_climb_and_so_is_the_next_level(number: int, tmp_path: Path) -> None:
    project = climbed(number, tmp_path / "project")
    for edit in edits(number):
        edit.kept(project)
    assert (project / "feed" / "2011-07.csv").read_text(encoding="utf-8") == "a month of our own\n"
    above = set(tracked(made(number + 1, tmp_path / "above")))
    deleted = {"tests/test_ingest_remote.py", ".github/CODEOWNERS"} if number else set()
    assert above - set(tracked(project)) == deleted
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "log", "-1", "--format=%p").count(" ") == 1  # a merge
    # It works: imports, style, its settings with ours among them, and what is ours of the tests.
    assert f"level = {number + 1}\n" in (project / ".starter.toml").read_text(encoding="utf-8")
    own = [NAME, "tests", "worst.py"] if number == 0 else ["."]
    run(project, "-m", "ruff", "check", "--quiet", "--no-cache", *own)
    if number:
        assert (project / "state" / "kept").exists()
        # Without what the other tests share: that brings libraries in that take seconds to import.
        chosen = ["--noconftest", "tests/problem/test_own.py", "tests/problem/test_bikes.py"]
        run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen)
    else:
        run(project, "-m", NAME, "--help")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("number", range(4))
def test_all_tests_of_the_next_level_pass_after_a_climb_with_ten_changes(number: int, tmp_path: Path) -> None:
    project = climbed(number, tmp_path / "project")
    (project / "feed" / "2011-07.csv").unlink()
    python = fresh_environment(project, tmp_path / "environment")
    around = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    around["PATH"] = os.pathsep.join([str(python.parent), around["PATH"]])
    for command in (["pytest", "-q", "-n", "2", "--dist", "loadfile"], [NAME, "ingest"], [NAME, "train"]):
        done = subprocess.run(
            [python, "-m", *command],
            cwd=project,
            env=around,
            capture_output=True,
            text=True,
            timeout=1400,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-3000:]
    if number:
        assert ("busiest" in "".join(path.read_text() for path in project.glob("state/run/busy.json"))) == (
            number > 1
        )


@pytest.mark.slow
def test_from_the_bottom_to_the_top_without_a_change_it_is_what_is_made_there(tmp_path: Path) -> None:
    project = made(0, tmp_path / "project", PACKAGE)
    for branch in BRANCHES:
        assert climb(project, QUIET)
        git(project, "switch", "--quiet", "main")
        git(project, "merge", "--quiet", branch)
    git(project, "diff", "--exit-code", "main", "template")
    assert tracked(project) == tracked(made(4, tmp_path / "top", PACKAGE))
    with pytest.raises(UserError, match="already at the top level; --same-level"):
        climb(project, QUIET)


def test_conflicts_are_marked_as_git_marks_them_and_listed_with_what_to_do(
    ladder: Ladder, tmp_path: Path
) -> None:
    project = lived_in(1, tmp_path / "project")
    done = ladder("climb", project)
    assert (done.returncode, done.stderr) == (1, "")
    for name in CONFLICTS[1]:
        assert re.search(rf"^ +{re.escape(name)}( \(.*\))?: \w+", done.stdout, re.MULTILINE), name
    assert "params.yaml: keep your values" in done.stdout
    assert "git rm .github/CODEOWNERS" in done.stdout
    assert "requirements.lock: the new lock with your fastjsonschema; " in done.stdout
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert "<<<<<<< HEAD\n" in text
    assert ">>>>>>> template\n" in text
    git(project, "merge", "--abort")
    git(project, "switch", "--quiet", "main")
    for edit in edits(1):
        edit.kept(project)


def test_a_new_file_in_a_folder_that_was_renamed_is_to_be_added(ladder: Ladder, tmp_path: Path) -> None:
    project = made(1, tmp_path / "project", PACKAGE)
    git(project, "mv", f"{PACKAGE}/data", f"{PACKAGE}/tables")
    commit(project)
    done = ladder("climb", project, "--dry-run")
    assert "deleted by you" not in done.stdout
    (new,) = {line for line in done.stdout.splitlines() if "new in the template" in line}
    assert re.search(rf"{PACKAGE}/tables/(\w+\.py) .*`git add {PACKAGE}/tables/\1`", new)


def test_a_dry_run_shows_what_would_change_and_changes_nothing(ladder: Ladder, tmp_path: Path) -> None:
    project = lived_in(2, tmp_path / "project")
    os.utime(project / "README.md", (0, 0))  # git would note in its index that this is nothing
    before = everything(project)
    done = ladder("climb", project, "--dry-run")
    assert (done.returncode, done.stderr) == (1, "")  # one file is left to be settled
    new, changed, gone, left = re.split(
        r"(?m)^ +\d+ (?:new|changed|gone|conflicts to resolve)\n", done.stdout
    )[1:]
    assert f"{NAME}/serving/keys.py\n" in new
    assert f"{NAME}/training/record.py\n" in changed
    assert f"{NAME}/release/gate.py\n" in gone
    assert ".github/CODEOWNERS" in left
    assert everything(project) == before


@pytest.mark.slow
def test_what_a_dry_run_shows_is_what_comes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = lived_in(3, tmp_path / "project")
    counts = []
    for dry_run in (True, False):
        climb(project, Console(width=200), dry_run=dry_run)
        counts.append(re.findall(r"(?m)^ +(\d+) (new|changed|gone|to be)", capsys.readouterr().out))
    assert counts[0] == counts[1]
    settle(project)
    commit(project)
    found = git(project, "diff", "--name-status", "--no-renames", "main", "HEAD").splitlines()
    kinds = [line[0] for line in found if not line.endswith("requirements.lock")]
    assert [
        (str(kinds.count(each)), word) for each, word in (("A", "new"), ("M", "changed"), ("D", "gone"))
    ] == counts[0][:3]


def a_change(project: Path) -> None:
    replace(project / "README.md", "Describe here", "Describe")


def staged(project: Path) -> None:
    a_change(project)
    git(project, "add", "--all")


def merging(project: Path) -> None:
    git(project, "switch", "--quiet", "--create", "other")
    a_change(project)
    commit(project)
    git(project, "switch", "--quiet", "main")
    git(project, *WHO, "merge", "--quiet", "--no-ff", "--no-commit", "other")


def in_the_way(project: Path) -> None:
    with (project / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.write("dvc.yaml\n")  # git would overwrite what it ignores
    (project / "dvc.yaml").write_text("mine\n", encoding="utf-8")


def ignored(project: Path) -> None:
    git(project, "rm", "--quiet", "--cached", "params.yaml")
    with (project / ".gitignore").open("a", encoding="utf-8") as file:
        file.write("/params.yaml\n")
    git(project, "add", ".gitignore")
    git(project, *WHO, "commit", "--quiet", "--message", "Keep the settings to ourselves")


def of_another_user(project: Path) -> None:
    if sys.platform == "win32" or os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(project, 12345, 12345)
    os.chown(project / ".git", 12345, 12345)


def broken_mark(project: Path) -> None:
    (project / ".starter.toml").write_text("level = 9\n", encoding="utf-8")
    commit(project)


def renamed_only(project: Path) -> None:
    git(project, "mv", PACKAGE, "cabs")
    commit(project)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "not a starter": (lambda project: (project / ".starter.toml").unlink(), "no .starter.toml here"),
    "no repository": (lambda project: shutil.rmtree(project / ".git"), "not the root of a git repository"),
    "uncommitted": (a_change, "uncommitted changes in README.md; commit or stash them first"),
    "staged": (staged, "uncommitted changes in README.md"),
    "a merge under way": (merging, "a merge or rebase is in progress"),
    "no template": (
        lambda project: git(project, "branch", "-D", "template"),
        "the branch `template` is missing",
    ),
    "on the template": (
        lambda project: git(project, "switch", "template"),
        "template is checked out; switch to yours",
    ),
    "on no branch": (lambda project: git(project, "switch", "--detach"), "no branch is checked out"),
    "branch is there": (lambda project: git(project, "branch", BRANCHES[1]), "already exists"),
    "in the way": (in_the_way, "untracked dvc.yaml would be overwritten"),
    "settings that git ignores": (ignored, "untracked params.yaml would be overwritten"),
    "of another user": (of_another_user, "safe.directory"),
    "not as written": (broken_mark, ".starter.toml: level is invalid"),
    "renamed, but not in the file": (renamed_only, f"package {PACKAGE} not found"),
    "the newest": (lambda _: None, "already up to date with the template of its level"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_project_that_cannot_climb_is_reported_so_in_one_line_and_left_alone(
    case: str, tmp_path: Path
) -> None:
    spoil, says = REFUSED[case]
    project = made(1, tmp_path / "project", PACKAGE)
    spoil(project)
    before = {
        name: each for name, each in everything(project).items() if not name.startswith(".git/objects/")
    }
    with pytest.raises(UserError, match=re.escape(says)) as refusal:
        climb(project, QUIET, same_level=case == "the newest")
    assert "\n" not in str(refusal.value)
    after = {name: each for name, each in everything(project).items() if not name.startswith(".git/objects/")}
    assert after == before


def zipped(project: Path, there: Path) -> None:
    """What GitHub packs: the files that git knows, without a history."""
    git(project, "archive", "--format=zip", "--output", str(there.with_suffix(".zip")), "HEAD")
    shutil.unpack_archive(there.with_suffix(".zip"), there)


def shallow(project: Path, there: Path) -> None:
    git(project, "clone", "--quiet", "--depth", "1", project.as_uri(), str(there))


def shallow_with_template(project: Path, there: Path) -> None:
    git(project, "clone", "--quiet", "--depth", "1", "--no-single-branch", project.as_uri(), str(there))


def clone(project: Path, there: Path) -> None:
    git(project, "clone", "--quiet", project.as_uri(), str(there))


def fork(project: Path, there: Path) -> None:
    """GitHub copies the default branch only."""
    git(project, "clone", "--quiet", "--bare", "--single-branch", project.as_uri(), str(there) + ".git")
    git(project, "clone", "--quiet", f"{there.as_uri()}.git", str(there))


def from_github_template(project: Path, there: Path) -> None:
    """ "Use this template" makes one commit of all files."""
    zipped(project, there)
    git(there, "init", "--quiet", "--initial-branch", "main")
    commit(there)


@pytest.mark.parametrize(
    ("way", "climbed_before"),
    [
        pytest.param(zipped, False, marks=pytest.mark.slow),
        pytest.param(zipped, True, marks=pytest.mark.slow),
        (shallow, False),
        pytest.param(shallow_with_template, True, marks=pytest.mark.slow),
        (clone, False),
        (fork, True),
        pytest.param(from_github_template, False, marks=pytest.mark.slow),
    ],
)
def test_however_a_project_got_there_what_climb_says_makes_it_climb(
    way: Callable[[Path, Path], None], climbed_before: bool, tmp_path: Path
) -> None:
    origin = made(1, tmp_path / "origin", PACKAGE)
    replace(origin / "params.yaml", "port: 8000", "port: 8123")
    commit(origin)
    if climbed_before:
        assert climb(origin, QUIET)
        git(origin, "switch", "--quiet", "main")
        git(origin, "merge", "--quiet", BRANCHES[1])
    project = tmp_path / "project"
    way(origin, project)
    who = {f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    ladder = shlex.join([sys.executable, "-m", "ladder"])
    for _ in range(3):
        try:
            assert climb(project, QUIET)
            break
        except UserError as refusal:
            (output,) = re.findall("`((?:git|ladder) .*)`", str(refusal).replace("`template`", ""))
        command = re.sub(r"^ladder\b", lambda _: ladder, output)
        env = os.environ | who | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, shell=True, cwd=project, env=env, capture_output=True, text=True)
        assert done.returncode == 0, output + done.stderr
    assert (project / "prefect.yaml").is_file()
    assert "port: 8123" in (project / "params.yaml").read_text(encoding="utf-8")
    level_now = 3 if climbed_before else 2
    assert f"level = {level_now}\n" in (project / ".starter.toml").read_text(encoding="utf-8")
    assert git(project, "log", "-1", "--format=%p").count(" ") == 1  # a merge


def test_a_climb_says_what_the_problem_lacks_and_what_to_run_next(ladder: Ladder, tmp_path: Path) -> None:
    project = made(2, tmp_path / "project", PACKAGE)
    replace(project / PACKAGE / "problem" / "__init__.py", "    label_delay=", "    # label_delay=")
    schema = project / PACKAGE / "problem" / "schema.py"
    schema.write_text(schema.read_text(encoding="utf-8") + "# synthetic_time\n", encoding="utf-8")
    commit(project)
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(tmp_path / "an older Python")
    done = ladder("climb", project)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    (times,) = [line for line in lines if "synthetic_time" in line]
    assert "--label-delay" in times
    (lacks,) = [line for line in lines if "does not fit the new level" in line]
    assert "label_delay" in lacks  # by the new level's own check
    assert f"python -m {PACKAGE} problem check" in done.stdout


def test_a_climb_that_is_interrupted_after_the_merge_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ladder.starter.climb.show_lacks", interrupted)
    project = made(1, tmp_path / "project", PACKAGE)
    with pytest.raises(KeyboardInterrupt):
        climb(project, Console(width=200))
    assert f"git branch -D {BRANCHES[1]}" in capsys.readouterr().out


def test_without_a_feed_the_problem_is_not_blamed(ladder: Ladder, tmp_path: Path) -> None:
    project = made(1, tmp_path / "project", PACKAGE)
    shutil.rmtree(project / "feed", ignore_errors=True)
    params = project / "params.yaml"  # the default of `feed` is this folder
    params.write_text(params.read_text(encoding="utf-8").replace("feed: feed/\n", ""), encoding="utf-8")
    commit(project)
    output = ladder("climb", project).stdout
    assert "was not run: there is no feed" in output
    assert "does not fit" not in output


@pytest.mark.slow
def test_a_climb_runs_the_check_where_the_packages_are_installed(ladder: Ladder, tmp_path: Path) -> None:
    project = made(2, tmp_path / "project", PACKAGE)
    assert "`problem check` passes" in ladder("climb", project).stdout
    git(project, "switch", "--quiet", "main")
    git(project, "branch", "--quiet", "-D", BRANCHES[2])
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True)
    output = ladder("climb", project).stdout
    assert "`problem check` passes" not in output
    assert "does not fit" not in output
    assert f"python -m {PACKAGE} problem check" in output


def test_it_climbs_from_within_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = made(2, tmp_path / "project", NAME)
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    assert climb(Path(), QUIET, dry_run=True)


def test_without_git_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = made(1, tmp_path / "project", PACKAGE)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git was not found"):
        climb(project, QUIET)


@pytest.mark.slow
def test_a_package_that_was_renamed_by_hand_is_followed(tmp_path: Path) -> None:
    project = made(1, tmp_path / "project")
    git(project, "mv", NAME, "cabs")
    for name in tracked(project):
        content = (project / name).read_bytes()
        (project / name).write_bytes(content.replace(NAME.encode(), b"cabs"))
    run(project, "-m", "ruff", "check", "--quiet", "--no-cache", "--select", "I", "--fix")
    run(project, "-m", "ruff", "format", "--quiet", "--no-cache")
    commit(project)
    assert climb(project, QUIET)
    assert (project / "cabs" / "stages.py").is_file()
    assert not (project / NAME).exists()
    assert run_unchecked(project, "grep", "--quiet", "--word-regexp", NAME).returncode == 1
    run(project, "-m", "cabs", "--help")


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A newer template of level 1: one file is new, one says something else."""
    folder = tmp_path / level(1).folder.name
    for name in workcopy.own_files(level(1).folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(level(1).folder / name, folder / name)
    replace(folder / "params.yaml", "port: 8000", "port: 8080")
    (folder / "bike_demand" / "fresh.py").write_text('"""New."""\n', encoding="utf-8")
    monkeypatch.setattr("ladder.starter.climb.level", lambda number: Level(number, "As before", folder))
    return folder


@pytest.mark.usefixtures("newer")
def test_a_newer_template_of_the_same_level_comes_without_losing_what_was_changed(tmp_path: Path) -> None:
    project = lived_in(1, tmp_path / "project")
    assert climb(project, QUIET, same_level=True)
    assert git(project, "symbolic-ref", "--short", "HEAD").startswith("newer-template-")
    for edit in edits(1):
        edit.kept(project)
    assert "port: 8080" in (project / "params.yaml").read_text(encoding="utf-8")
    assert (project / NAME / "fresh.py").is_file()
    assert "level = 1\n" in (project / ".starter.toml").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="already up to date with the template of its level"):
        climb(project, QUIET, same_level=True)


@pytest.mark.slow
def test_cut_off_in_the_merge_everything_is_as_it_was_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = lived_in(2, tmp_path / "project")
    before = {name: each for name, each in everything(project).items() if not name.startswith(".git/")}

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ladder.starter.climb._settle", cut_off)
        with pytest.raises(KeyboardInterrupt):
            climb(project, QUIET)
    assert {
        name: each for name, each in everything(project).items() if not name.startswith(".git/")
    } == before
    assert git(project, "branch", "--format=%(refname:short)").split() == ["main", "template"]
    assert git(project, "status", "--porcelain") == ""
    climb(project, QUIET)
    assert git(project, "rev-list", "--count", "template").strip() == "2"  # not a second time


def test_killed_in_the_merge_main_is_untouched_and_git_gives_it_back(tmp_path: Path) -> None:
    project = lived_in(2, tmp_path / "project")
    program = (
        "import sys, time; import ladder.starter.climb as c; from pathlib import Path\n"
        "from rich.console import Console\n"
        "c._settle = lambda *_: (print('there', flush=True), time.sleep(60))\n"
        "c.climb(Path(sys.argv[1]), Console())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(project)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        process.kill()
    with pytest.raises(
        UserError, match="a merge or rebase is in progress; finish it, or `git merge --abort`"
    ):
        climb(project, QUIET)
    git(project, "merge", "--abort")
    git(project, "switch", "--quiet", "main")
    for edit in edits(2):
        edit.kept(project)
    with pytest.raises(UserError, match="continue on it, or delete it: git branch -D climb-to-auto-deploy"):
        climb(project, QUIET)
    git(project, "branch", "--quiet", "-D", "climb-to-auto-deploy")
    climb(project, QUIET)
    assert unmerged(project) == CONFLICTS[2]


@pytest.mark.slow
def test_a_climb_that_was_squashed_is_recognised_and_can_be_recorded_in_git(tmp_path: Path) -> None:
    project = made(1, tmp_path / "project", PACKAGE)
    climb(project, QUIET)
    git(project, "switch", "--quiet", "main")
    git(project, "merge", "--quiet", "--squash", BRANCHES[1])
    commit(project)
    with pytest.raises(UserError, match="the last climb was squashed") as refusal:
        climb(project, QUIET)
    words = str(refusal.value).partition("git merge ")[2].split()
    git(project, *WHO, "merge", "--quiet", *words, "-m", "Recorded")
    assert climb(project, QUIET)
    git(project, "diff", "--exit-code", "HEAD", "template")


@pytest.mark.slow
def test_a_clone_of_a_squashed_climb_does_not_take_up_the_template_of_the_level_before(
    tmp_path: Path,
) -> None:
    origin, project = made(1, tmp_path / "origin", PACKAGE), tmp_path / "project"
    climb(origin, QUIET)
    git(origin, "switch", "--quiet", "main")
    git(origin, "merge", "--quiet", "--squash", BRANCHES[1])
    commit(origin)
    fork(origin, project)
    with pytest.raises(UserError, match="`ladder new 2 "):
        climb(project, QUIET)


@pytest.mark.slow
def test_after_an_aborted_climb_there_is_no_newer_template_of_the_same_level(tmp_path: Path) -> None:
    project = made(1, tmp_path / "project", PACKAGE)
    climb(project, QUIET)
    git(project, "switch", "--quiet", "main")
    git(project, "branch", "--quiet", "-D", BRANCHES[1])
    with pytest.raises(UserError, match="already up to date"):
        climb(project, QUIET, same_level=True)
    assert climb(project, QUIET)


def entry(name: str, version: str) -> str:
    return f"{name}=={version} \\\n    --hash=sha256:{name}{version}\n"


def test_locks_are_merged_package_by_package() -> None:
    """attrs is not needed above any more; pandas was changed on both sides."""
    base = entry("attrs", "25") + entry("numpy", "2.0") + entry("pandas", "3.0") + entry("scipy", "1.16")
    ours = (
        entry("attrs", "26")
        + entry("lxml", "6.0")
        + entry("numpy", "2.1")
        + entry("pandas", "3.1")
        + entry("scipy", "1.16")
    )
    theirs = entry("mlflow", "3.17") + entry("numpy", "2.0") + entry("pandas", "3.2") + entry("scipy", "1.17")
    merged = merge_locks(base, ours, theirs)
    assert merged.text == (
        entry("lxml", "6.0") + entry("mlflow", "3.17") + entry("numpy", "2.1") + entry("pandas", "3.2")
        + entry("scipy", "1.17")
    )  # fmt: skip
    assert (merged.kept, merged.gave_way) == (("lxml", "numpy"), ("pandas",))
    fork = "mlflow @ https://wheels.example/mlflow-3.17-py3-none-any.whl\n"
    own = "--index-url https://wheels.example/simple\n" + fork
    assert merge_locks(entry("mlflow", "3.1"), own, entry("mlflow", "3.1")).text == own
    forked = entry("numpy", "2.0") + entry("numpy", "2.4")
    assert merge_locks(forked, forked, forked) == Merged(forked, (), ())
