"""`ladder bundle`: this repository and all packages in one folder, for rooms without a network.

The packages are in `wheels/`, which the set-up prefers to any index (ladder/bootstrap.py).
"""

import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console

from ladder import PACKAGED_FILES, ROOT, UserError, git
from ladder.locks import entries
from ladder.output import listed

GLIBC = (5, 12, 17, 24, 26, 27, 28, 31, 34)  # minor versions that wheels are built for; 2.34 is from 2021
MARKERS = ("os_name", "sys_platform", "platform_system", "platform_machine")
# Their values for each system, and its tags of wheels.
SYSTEMS: Mapping[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "linux": (
        dict(zip(MARKERS, ("posix", "linux", "Linux", "x86_64"), strict=True)),
        ("linux_x86_64", "manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in GLIBC)),
    ),
    "macos": (
        dict(zip(MARKERS, ("posix", "darwin", "Darwin", "arm64"), strict=True)),
        ("macosx_14_0_arm64", "macosx_14_0_universal2"),
    ),
    "windows": (dict(zip(MARKERS, ("nt", "win32", "Windows", "AMD64"), strict=True)), ("win_amd64",)),
}
PYTHONS = ("3.11", "3.12", "3.13")
# Of a version of Python: some packages are locked differently for the newest and the first.
PATCH_RELEASES = (99, 0)
# Published only as source, so they are built on installation, with BUILDERS.
SOURCE_ONLY = ("antlr4-python3-runtime",)
BUILDERS = ("setuptools", "wheel", "pip")


@dataclass(frozen=True)
class Target:
    """A kind of laptop: operating system and Python version."""

    system: str
    python: str

    def environment(self, release: int) -> dict[str, str]:
        """The environment in which a lock's markers are evaluated, for that patch release of Python."""
        return SYSTEMS[self.system][0] | {
            "python_version": self.python,
            "python_full_version": f"{self.python}.{release}",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }

    def options(self, release: int) -> list[str]:
        """The options of `pip download` for it."""
        platforms = [part for tag in SYSTEMS[self.system][1] for part in ("--platform", tag)]
        return ["--only-binary=:all:", "--python-version", f"{self.python}.{release}", *platforms]


def targets(systems: Sequence[str] = (), pythons: Sequence[str] = ()) -> tuple[Target, ...]:
    """The laptops of these systems with these versions of Python, by default this machine's.

    Raises UserError for an unknown one.
    """
    if unknown := {*systems, *pythons} - {*SYSTEMS, *PYTHONS}:
        raise UserError(f"unknown {min(unknown)}: choose from {', '.join((*SYSTEMS, *PYTHONS))}")
    here = {"sys_platform": sys.platform, "platform_machine": platform.machine()}
    own = [name for name, (where, _) in SYSTEMS.items() if here.items() <= where.items()]
    if not (systems or own):
        known = [f"{name} ({where['platform_machine']})" for name, (where, _) in SYSTEMS.items()]
        raise UserError(f"no packages for {' '.join(here.values())}: give --for {listed(known, 'or')}")
    versions = pythons or [f"{sys.version_info[0]}.{sys.version_info[1]}"]
    return tuple(Target(system, python) for system in systems or own for python in versions)


def bundle(place: Path, wanted: Sequence[Target], console: Console) -> None:
    """Create the folder `place`: the last commit of this repository, and packages for each target.

    Raises UserError if the folder is not new or empty, this is not a clone, or a package cannot be fetched;
    then nothing is left behind.
    """
    place = place.expanduser().absolute()
    if ROOT == PACKAGED_FILES or not (ROOT / ".git").exists():
        raise UserError("only a git clone can be bundled: clone the repository and run this there")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"{place}: choose a folder that is new or empty")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as scratch:
        made = Path(scratch, "bundle")
        git.git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(made))
        git.git(made, "remote", "remove", "origin")  # it is a path of this machine
        wheels = made / "wheels"
        for number, target in enumerate(wanted, 1):
            with console.status(
                f"{number}/{len(wanted)}: packages for {target.system}, Python {target.python}"
            ):
                fetch(made / "requirements.lock", target, wheels)
            count = sum(1 for _ in wheels.iterdir())
            size = sum(path.stat().st_size for path in wheels.iterdir()) / 1e6
            console.print(f"{target.system}, Python {target.python}: {count} packages, {size:.0f} MB")
        if place.exists():
            place.rmdir()
        made.replace(place)
    console.print(
        f"\n{place}: copy it to each laptop; then, in the copy, `python3 -m ladder demo` needs no network."
    )


def fetch(lock: Path, target: Target, wheels: Path) -> None:
    """Download the packages of a lock for a target into `wheels`, verifying hashes. Raises UserError."""
    found = list(without_markers(lock.read_text(encoding="utf-8")))
    done: set[str] = set()
    for release in PATCH_RELEASES:
        here = target.environment(release)
        fitting = {
            entry: requirement.name in SOURCE_ONLY
            for requirement, entry in found
            if requirement.marker is None or requirement.marker.evaluate(here)
        }
        new = fitting.keys() - done
        done |= new
        binary = sorted(entry for entry in new if not fitting[entry])
        source = sorted(entry for entry in new if fitting[entry])
        _download(binary, ["--require-hashes", *target.options(release)], wheels)
        if source:
            _download(source, ["--require-hashes", "--no-binary=:all:", "--no-build-isolation"], wheels)
            _download(BUILDERS, target.options(release), wheels)


def without_markers(lock: str) -> Iterator[tuple[Requirement, str]]:
    """The packages of a lock, each with its version and hashes in one line."""
    for head, lines in entries(lock):
        requirement = Requirement(head)
        hashes = re.findall(r"--hash=\S+", lines)
        yield requirement, " ".join([f"{requirement.name}{requirement.specifier}", *hashes])


def _download(requirements: Sequence[str], options: Sequence[str], wheels: Path) -> None:
    if not requirements:
        return
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "requirements.txt")
        file.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
        command += ["--quiet", "--no-deps", "--dest", str(wheels), *options, "--requirement", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(
            (errors or done.stderr.splitlines() or ["pip download failed"])[-1].removeprefix("ERROR: ")
        )
