"""The tool starts wherever it is installed, and whatever else is importable."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from ladder import ROOT


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


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment in which the wheel is installed, with the libraries that run this."""
    place = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    source = place / "source"
    shutil.copytree(ROOT / "ladder", source / "ladder", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    done = run(sys.executable, *build, "--wheel-dir", str(place), str(source), folder=place)
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    venv.create(place / "env", symlinks=os.name == "posix")
    scripts = place / "env" / ("Scripts" if os.name == "nt" else "bin")
    target = Path(
        sysconfig.get_path("purelib", vars={"base": str(place / "env"), "platbase": str(place / "env")})
    )
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python")]
    done = run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel), folder=place)
    assert done.returncode == 0, done.stderr
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (target / "libraries.pth").write_text("\n".join(sorted(libraries)), encoding="utf-8")
    return scripts


def test_a_wheel_has_all_packages_and_templates(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "ladder", "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    script = (
        "import importlib, pkgutil, ladder, ladder.page; print(ladder.__file__);"
        "[importlib.import_module(each.name) for each in pkgutil.walk_packages(ladder.__path__, 'ladder.')"
        " if each.name not in ('ladder.__main__', 'ladder.workflows')];"
        "assert ladder.page.environment().list_templates(); assert ladder.page.text('code.css');"
        "assert ladder.page.words.words().measures; assert ladder.starter.template.README.is_file();"
        "assert ladder.starter.advice.advice('a', 'both', 'b')"
    )
    done = run(installed / "python", "-c", script, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(installed.parent) in done.stdout


@pytest.mark.parametrize("command", [["demo"], ["run", "1"], ["diff", "2", "3"]])
def test_without_a_checkout_one_line_says_so(installed: Path, tmp_path: Path, command: list[str]) -> None:
    done = run(installed / "ladder", *command, folder=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "checkout" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_packages_of_common_names_on_the_path_are_left_alone(tmp_path: Path) -> None:
    for name in ("data", "tests", "benchmarks", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a package of somebody else')\n")
    simulate = ["feed", "simulate", "--months", "1", "--out", str(tmp_path / "feed")]
    for command in (simulate, ["diff", "1", "2"]):
        done = run(sys.executable, "-m", "ladder", *command, folder=ROOT, PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stderr
