"""Makes `.venv` match `requirements.lock` exactly, using only the standard library."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ladder import locks, process

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
WHEELS = ROOT / "wheels"  # from `ladder bundle`: if present, no index is used
# Other settings that would redirect the installation.
REDIRECTING_VARIABLES = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN")
HOME_HINT = "set LADDER_HOME to a folder that you can write to"


class SetupError(Exception):
    """The environment could not be created; the message has the cause and what to do."""


def main(argv: Sequence[str]) -> int:
    """Run the command line in an environment that satisfies the lock; make that environment first if needed.

    Returns the exit status: the command's own, or 1 with one line on stderr when the set-up failed.
    """
    try:
        if LOCK.is_file() and not _running_in_it():
            _set_up()
            return _exec_in_venv(argv)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; packages installed so far are kept", file=sys.stderr)
        return 130
    from ladder.cli import main as command_line

    return command_line(argv)


def environment_path() -> Path:
    """The environment's path: next to the lock, or below LADDER_HOME if it does not exist there yet."""
    local, given = ROOT / ".venv", os.environ.get("LADDER_HOME")
    return local if not given or _is_complete(local) else Path(given).resolve() / ".venv"


def _is_complete(venv: Path) -> bool:
    stamp = _stamp(venv)
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _digest(LOCK) and _is_in_place(venv)


def _is_in_place(venv: Path) -> bool:
    """Whether it was made there: the scripts of one that was moved or copied name another Python."""
    about = venv / "pyvenv.cfg"  # with the command that made it
    return about.is_file() and f" {venv}\n".casefold() in about.read_text(encoding="utf-8").casefold()


def _running_in_it() -> bool:
    venv = environment_path()
    return _is_complete(venv) if Path(sys.prefix).resolve() == venv.resolve() else _lock_is_satisfied(LOCK)


def _lock_is_satisfied(lock: Path) -> bool:
    """Whether this interpreter has every package that the lock lists for the platform, in that version."""
    if importlib.util.find_spec("packaging") is None:  # it is in the lock itself
        return False
    from packaging.requirements import Requirement

    for head, _ in locks.entries(lock.read_text(encoding="utf-8")):
        wanted = Requirement(head)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        if not wanted.specifier.contains(version, prereleases=True):
            return False
    return True


def _set_up() -> None:
    """Create or repair `.venv`. The next call resumes an interrupted set-up.

    Raises SetupError when Python lacks `venv`, or the packages cannot be fetched or do not match the lock.
    """
    venv = environment_path()
    with _one_at_a_time(venv.with_name(".venv.lock")):
        if _is_complete(venv) and _works(venv):
            return
        stamp = _stamp(venv)
        stamp.unlink(missing_ok=True)
        number = len(locks.entries(LOCK.read_text(encoding="utf-8")))
        _say(f"Setting up .venv with {number} packages (once; one to two minutes) ...")
        start = time.monotonic()
        if not _works(venv):
            _make_venv(venv)
        _install(venv)
        stamp.write_text(_digest(LOCK), encoding="utf-8")
        _say(f"Set up in {time.monotonic() - start:.0f} s.")


def _make_venv(venv: Path) -> None:
    if os.name == "nt" and Path(sys.prefix).resolve() == venv.resolve():  # its files are in use
        raise SetupError(f"{venv} was moved or is damaged; run this with the Python that is outside it")
    status, output = process.run([sys.executable, "-m", "venv", "--clear", str(venv)], _environment())
    if status:
        raise SetupError(
            f"`{sys.executable} -m venv` failed: {_last_line(output)}; on Debian and Ubuntu install the"
            f" package python{sys.version_info[0]}.{sys.version_info[1]}-venv, then run this again"
        )


def _install(venv: Path) -> None:
    """Install the lock with uv (itself from the lock), or with pip alone if uv fails.

    pip knows the mirrors and certificates of a company's pip configuration, which uv does not read.
    """
    python = str(_python(venv))
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    local = ["--no-index", "--find-links", str(WHEELS)] if WHEELS.is_dir() else []
    # The lock is complete. Packages are installed here, whatever pip.conf configures.
    pip += [*local, "--no-deps", "--require-hashes", "--retries", "2"]
    pip += ["--no-user", "--target=", "--prefix", str(venv), "--requirement"]
    only_uv = venv / "uv.lock.txt"
    own = [lines for head, lines in locks.entries(LOCK.read_text("utf-8")) if head.startswith("uv==")]
    only_uv.write_text("".join(own), encoding="utf-8")
    status, output = process.run([*pip, str(only_uv)], _environment())
    if status:
        raise SetupError(_install_error(output))
    _say("  installing and compiling ...")
    uv = [python, "-m", "uv", "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode"]
    uv += local
    status, output = process.run([*uv, "--python", python, str(LOCK)], _environment())
    if status:
        _say("  uv failed; falling back to pip (slower) ...")
        status, output = process.run([*pip, str(LOCK)], _environment())
        if status:
            raise SetupError(_install_error(output))


def _install_error(text: str) -> str:
    if re.search(r"(?i)do not match the hashes", text):
        return "a package does not match its hash in requirements.lock (see docs: troubleshooting, hashes)"
    if re.search(r"(?i)no space left", text):
        return "the disk is full: about 2 GB are needed for .venv"
    if re.search(
        r"(?i)connection|resolve|timed out|timeout|unreachable|proxy|certificate|ssl|retrying|network", text
    ):
        return (
            "the packages could not be fetched: is there a network? (HTTPS_PROXY sets a proxy, pip.conf"
            f" an index); pip says: {_last_line(text)}"
        )
    return f"the packages could not be installed: {_last_line(text)}"


def _exec_in_venv(argv: Sequence[str]) -> int:
    command = [str(_python(environment_path())), "-m", "ladder", *argv]
    if os.name == "posix":
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the console sends it to the child too, which ends by itself
            continue


def _environment() -> dict[str, str]:
    """The environment of the set-up, without redirections, and with a writable cache for uv."""
    env = {name: value for name, value in os.environ.items() if name not in REDIRECTING_VARIABLES}
    cache = environment_path() / "uv-cache"
    return env if os.access(Path.home(), os.W_OK) else {"UV_CACHE_DIR": str(cache)} | env


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock between processes, which is released even if the process is killed.

    SQLite has the only lock in the standard library that works the same on Linux, macOS and Windows.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=0.1, isolation_level=None)
    except (OSError, sqlite3.OperationalError) as error:
        raise SetupError(f"{path}: {error}; {HOME_HINT}") from error
    try:
        announced = False
        while True:
            try:
                connection.execute("BEGIN EXCLUSIVE")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise SetupError(f"{path}: {error}; {HOME_HINT}") from error
                if not announced:
                    _say("Another command is setting up .venv; waiting for it ...")
                    announced = True
                time.sleep(0.5)
        yield
    finally:
        connection.close()


def _works(venv: Path) -> bool:
    python = _python(venv)
    if not (python.exists() and _is_in_place(venv)):
        return False
    check = "import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    return subprocess.run([str(python), "-c", check], capture_output=True, check=False).returncode == 0


def _python(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def _stamp(venv: Path) -> Path:
    return venv / "requirements.lock.sha256"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no output"])[-1]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
