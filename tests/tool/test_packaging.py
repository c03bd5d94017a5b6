"""The tool starts wherever it is installed, and whatever else is importable."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from ladder import ROOT
from ladder.git import git
from ladder.levels import level
from ladder.starter.new import SAMPLE, new
from ladder.starter.rename import FORMAT
from ladder.starter.template import FILE, read_origin
from ladder.workcopy import own_files


def run(python: Path | str, *arguments: str, folder: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def needed(requirement: str) -> set[str]:
    """The distributions that are installed with one, by name, and its own."""
    found, todo = set[str](), [Requirement(requirement)]
    while todo:
        each = todo.pop()
        if each.name not in found and (each.marker is None or each.marker.evaluate({"extra": ""})):
            found.add(each.name)
            todo += map(Requirement, metadata.distribution(each.name).requires or ())
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the files that git knows, or would."""
    place = tmp_path_factory.mktemp("wheel")
    for name in own_files(ROOT):
        (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place / "source" / name)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = run(sys.executable, *build, "--wheel-dir", str(place), str(place / "source"), folder=place)
    assert done.returncode == 0, done.stderr
    (found,) = place.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The scripts of an environment outside the repository: the wheel and what it requires, no more."""
    scripts = environment(wheel.parent / "light")
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--quiet"]
    done = run(*pip, "--no-compile", "--no-deps", "--no-index", str(wheel), folder=wheel.parent)
    assert done.returncode == 0, done.stderr
    target = libraries(scripts.parent)
    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    for name in set[str]().union(*map(needed, required)):
        for file in metadata.distribution(name).files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target / file)
    return scripts


def environment(place: Path) -> Path:
    """The scripts of a new environment without any package."""
    venv.create(place, symlinks=os.name == "posix")
    return place / ("Scripts" if os.name == "nt" else "bin")


def libraries(place: Path) -> Path:
    """Where an environment has its packages."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))


@pytest.fixture
def complete(installed: Path) -> Iterator[Path]:
    """The light environment, for one test with what the extra `all` brings."""
    more = libraries(installed.parent) / "libraries.pth"
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    more.write_text("\n".join(sorted(ours)), encoding="utf-8")
    yield installed
    more.unlink()


def try_it(scripts: Path, folder: Path, numbers: Sequence[int]) -> None:
    """Make projects of these levels in an empty folder, as the checkout does, and climb from level 1."""
    ours = Console(quiet=True)
    for number in numbers:
        place = folder / str(number)
        done = run(scripts / "mlops-ladder", "new", str(number), str(place), folder=folder)
        assert done.returncode == 0, done.stderr
        new(level(number), folder / f"ours-{number}", ours)
        trees = (git(at, "rev-parse", "main^{tree}") for at in (place, folder / f"ours-{number}"))
        assert len(set(trees)) == 1
        assert len(list((place / "feed").glob("*.csv"))) == len(SAMPLE)
    done = run(scripts / "ladder", "climb", "1", folder=folder)
    assert done.returncode == 0, done.stderr
    assert read_origin((folder / "1" / FILE).read_text(encoding="utf-8")).level == 2


def test_a_wheel_has_all_packages_and_templates(complete: Path, tmp_path: Path) -> None:
    script = (
        "import importlib, pkgutil, ladder, ladder.page; print(ladder.__file__);"
        "[importlib.import_module(each.name) for each in pkgutil.walk_packages(ladder.__path__, 'ladder.')"
        " if each.name not in ('ladder.__main__', 'ladder.workflows')];"
        "assert ladder.page.environment().list_templates(); assert ladder.page.text('code.css');"
        "assert ladder.page.words.words().measures; assert ladder.starter.template.README.is_file();"
        "assert ladder.starter.advice.advice('a', 'both', 'b')"
    )
    done = run(complete / "python", "-c", script, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(complete.parent) in done.stdout
    done = run(complete / "ladder", "test", folder=tmp_path)
    assert done.returncode == 1
    assert "clone" in done.stderr


def test_projects_are_made_and_climb_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    try_it(installed, tmp_path, [1])
    done = run(installed / "ladder", "diff", "2", "3", "params.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_renamed_project_is_to_be_formatted_where_there_is_no_ruff(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "ladder", "new", "1", "churn", "--package", "churn", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert FORMAT in done.stdout
    for command in FORMAT.split(" && "):
        assert run(sys.executable, "-m", *command.split(), folder=tmp_path / "churn").returncode == 0
    new(level(1), tmp_path / "ours", Console(quiet=True), "churn")
    for path in own_files(tmp_path / "ours"):
        if ".git" not in path.parts:
            assert (tmp_path / "churn" / path).read_bytes() == (tmp_path / "ours" / path).read_bytes()


@pytest.mark.parametrize("command", [["demo"], ["run", "1"], ["feed", "simulate"]])
def test_what_the_light_install_lacks_is_one_line_with_the_command(
    installed: Path, tmp_path: Path, command: list[str]
) -> None:
    done = run(installed / "ladder", *command, folder=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "-py3-none-any.whl[all]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_light_install_is_small(installed: Path) -> None:
    target = libraries(installed.parent)
    others = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}
    sizes = [
        path.stat().st_size
        for path in target.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.relative_to(target).parts[0] not in others
    ]
    assert sum(sizes) < 30e6
    assert not any((target / name).exists() for name in ("pandas", "numpy", "ruff", "mlflow"))


@pytest.mark.slow
def test_pip_installs_the_wheel_with_what_it_requires(wheel: Path, tmp_path: Path) -> None:
    scripts = environment(tmp_path / "env")
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--quiet"]
    done = run(*pip, str(wheel), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (libraries(tmp_path / "env") / "pandas").exists()
    try_it(scripts, tmp_path, range(5))


@pytest.mark.slow
def test_a_level_runs_from_the_wheel(complete: Path, tmp_path: Path) -> None:
    done = run(complete / "ladder", "run", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".ladder").is_dir()


def test_packages_of_common_names_on_the_path_are_left_alone(tmp_path: Path) -> None:
    for name in ("data", "tests", "benchmarks", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a package of somebody else')\n")
    simulate = ["feed", "simulate", "--months", "1", "--out", str(tmp_path / "feed")]
    for command in (simulate, ["diff", "1", "2"]):
        done = run(sys.executable, "-m", "ladder", *command, folder=ROOT, PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stderr
