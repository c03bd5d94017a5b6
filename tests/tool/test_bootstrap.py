"""Set-up with nothing but Python and git: what it does, and what it says when it cannot."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ladder import ROOT, bootstrap

BLANK = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the set-up needs of a fresh clone."""
    for name in ("ladder", "data", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    return tmp_path


def ladder(
    folder: Path, *arguments: str, python: str = sys.executable, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "ladder", *arguments],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def bare_python(folder: Path) -> str:
    """An interpreter without any package: what a new machine has."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "bare"], check=True)
    places = [folder / "bare" / "bin" / "python", folder / "bare" / "Scripts" / "python.exe"]
    return str(next(path for path in places if path.exists()))


def test_an_environment_that_satisfies_the_lock_is_used_as_it_is(clone: Path) -> None:
    done = ladder(clone, "--help")
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("package", ["rich", "no-such-package"])
def test_an_environment_with_another_version_or_without_a_package_is_not_used(
    tmp_path: Path, package: str
) -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert bootstrap._lock_is_satisfied(ROOT / "requirements.lock")
    lock = tmp_path / "requirements.lock"
    lock.write_text(re.sub(r"(?m)^rich==\S+", f"{package}==0.0.1", text), encoding="utf-8")
    assert not bootstrap._lock_is_satisfied(lock)


def test_an_environment_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    """Its scripts name its Python by path."""
    here, there = tmp_path / "here" / ".venv", tmp_path / "there" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", here], check=True)
    (here / "requirements.lock.sha256").write_text(bootstrap._digest(bootstrap.LOCK), encoding="utf-8")
    assert bootstrap._is_complete(here)
    here.parent.rename(there.parent)
    assert not bootstrap._is_complete(there)
    assert not bootstrap._works(there)


def test_an_environment_in_use_is_not_deleted_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / ".venv" / "kept"
    kept.parent.mkdir()
    kept.touch()
    monkeypatch.setattr(bootstrap, "os", SimpleNamespace(**vars(os) | {"name": "nt"}))
    monkeypatch.setattr(sys, "prefix", str(kept.parent))
    with pytest.raises(bootstrap.SetupError, match="outside"):
        bootstrap._make_venv(kept.parent)
    assert kept.exists()


@pytest.mark.slow
def test_without_a_network_one_line_says_so_and_nothing_counts_as_set_up(clone: Path) -> None:
    python = bare_python(clone)
    for _ in range(2):  # the second time it is taken up again, not believed to be there
        done = ladder(clone, "demo", python=python, PIP_INDEX_URL="http://127.0.0.1:9/simple", **BLANK)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(
            "error: the packages could not be fetched: is there a network?"
        )
        assert "Traceback" not in done.stderr
        assert not (clone / ".venv" / "requirements.lock.sha256").exists()


def wheel(folder: Path, name: str, **modules: str) -> str:
    """A wheel of that name in the folder; its entry of a lock."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for module, code in modules.items():
            archive.writestr(f"{name}/{module}.py", code)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}==1.0 \\\n    --hash=sha256:{digest}\n"


@pytest.mark.parametrize(
    ("conf", "given"),
    [
        pytest.param("user = true", {"PIP_TARGET": "elsewhere"}, marks=pytest.mark.slow),
        pytest.param("target = elsewhere", {"PIP_USER": "1", "PIP_PREFIX": "x"}, marks=pytest.mark.slow),
    ],
)
def test_packages_go_into_its_environment_wherever_pip_is_told_to_put_them(
    clone: Path, tmp_path_factory: pytest.TempPathFactory, conf: str, given: dict[str, str]
) -> None:
    """And the environment lies in LADDER_HOME: nothing is written into the checkout."""
    home, wheels = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("wheels")
    entries = [
        wheel(wheels, "uv", __init__="", __main__="raise SystemExit('no network')")
    ]  # then pip does it
    command_line = "print('it runs in', __import__('sys').prefix); raise SystemExit(0)"
    entries.append(wheel(wheels, "typer", __init__=command_line))
    (clone / "requirements.lock").write_text("".join(entries), encoding="utf-8")
    (wheels / "pip.conf").write_text(f"[install]\n{conf}\n", encoding="utf-8")
    before = sorted(path.name for path in clone.iterdir())
    environment = {"LADDER_HOME": str(home), "PIP_CONFIG_FILE": str(wheels / "pip.conf"), "PIP_NO_INDEX": "1"}
    environment |= {"PIP_FIND_LINKS": str(wheels), "PYTHONDONTWRITEBYTECODE": "1"} | given
    done = ladder(clone, "--help", python=bare_python(wheels), **environment)
    assert (done.returncode, done.stdout) == (0, f"it runs in {home / '.venv'}\n"), done.stderr
    assert sorted(path.name for path in clone.iterdir()) == before
    assert {path.name for path in home.iterdir()} == {".venv", ".venv.lock"}


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 14, 0), (3, 6, 1)])
def test_another_version_of_python_is_named_with_what_to_do(version: tuple[int, int, int]) -> None:
    script = (
        f"import runpy, sys; sys.version_info = {version}; runpy.run_module('ladder', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: Python 3.11, 3.12 or 3.13 is needed, this is {version[0]}.{version[1]} ("
    )
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_new_machine_is_set_up_once_and_then_used(clone: Path) -> None:
    python = bare_python(clone)
    first = ladder(clone, "--help", python=python)
    assert first.returncode == 0, first.stderr
    assert "Set up in" in first.stderr
    second = ladder(clone, "--help", python=python)
    assert (second.returncode, second.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_package_that_does_not_match_its_hash_is_not_installed(clone: Path) -> None:
    lock = clone / "requirements.lock"
    head, uv, rest = re.split(r"(?ms)(^uv==.*?)(?=^[^\s])", lock.read_text(encoding="utf-8"), maxsplit=1)
    lock.write_text(head + re.sub(r"sha256:[0-9a-f]+", "sha256:" + "0" * 64, uv) + rest, encoding="utf-8")
    done = ladder(clone, "--help", python=bare_python(clone))
    assert done.returncode == 1
    assert "does not match its hash" in done.stderr
