"""Reads the code blocks of a page and types their lines, as they stand there, into a terminal."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType

import httpx
import psutil
import yaml
from markdown_it import MarkdownIt

from ladder import ROOT
from ladder.levels import levels
from ladder.service import free_port
from ladder.steps import environment

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in chain(
        [ROOT / "README.md", ROOT / "data" / "README.md"],
        (ROOT / "docs").rglob("*.md"),
        (ROOT / "problems").rglob("README.md"),
        (each.folder / "README.md" for each in levels()),
    )
)
SECONDS = 300  # for a command, or until a server responds, on a busy machine
STOP_SECONDS = 90  # until a server ends after Ctrl-C
GRACE = 10.0  # seconds that children have to end after their parent
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
# Who types: git needs a name for its commits.
WHO = {f"GIT_{role}_{what}": "a@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@dataclass(frozen=True)
class Server:
    """A command that runs until Ctrl-C: its default port, and where it responds once it is up.

    Without a port it is up as soon as it has printed `prints`.
    """

    port: int | None
    probe: str = "/"
    prints: str = ""


SERVERS = {
    r"python -m \w+ serve\b": Server(8000, "/live"),
    r"python -m \w+ agent\b(?!.*--once)": Server(None, prints="Version 1 is live"),
    r"mlflow ui\b": Server(5000, "/health"),
    r".*\bmlflow models serve\b": Server(5000, "/ping"),
    r"python3 -m ladder up \d$": Server(None, prints="Ctrl-C stops everything"),
    r"evidently ui\b": Server(8000, "/api/version"),
}


@dataclass(frozen=True)
class Block:
    """A block of code of a page, or the commands of a table; `number` is that of its first line."""

    number: int
    language: str
    text: str

    @property
    def lines(self) -> tuple[str, ...]:
        """Its commands."""
        return tuple(commands(self.text))


def blocks(text: str) -> list[Block]:
    """The blocks as GitHub shows them, and of each table whose first column is `command` its commands."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    found: list[Block] = []
    table: list[str] | None = None
    for token, content in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type in ("code_block", "fence") and token.map is not None:
            found.append(Block(token.map[0] + 1, token.info, token.content))
        elif token.type == "table_open" and token.map is not None:
            table, row, number = None, 0, token.map[0] + 1
        elif token.type == "tr_open":
            row, column = row + 1, 0
        elif token.type in ("th_open", "td_open") and content is not None:
            column += 1
            if row == column == 1 and content.content == "command":
                table = []
            elif table is not None and column == 1:
                table += [each.content for each in content.children or () if each.type == "code_inline"]
        elif token.type == "table_close" and table:
            found.append(Block(number, "", "\n".join(table)))
    return found


def commands(code: str) -> Iterator[str]:
    """The commands of a block, one for each line; text in quotes may go on over several."""
    whole = ""
    for line in code.splitlines():
        whole += f"{line}\n"
        try:
            shlex.split(whole, comments=True)
        except ValueError:  # a quotation mark is open
            continue
        if whole.strip():
            yield whole.strip()
        whole = ""
    if whole:
        yield whole.strip()


class Terminal:
    """A terminal in a folder, with the environment's Python first on the path.

    A context manager: on exit it presses Ctrl-C for each server and fails if a process is left.
    """

    def __init__(self, folder: Path, log: Path, more: Mapping[str, str] | None = None) -> None:
        self.home = self.folder = folder
        self.ports: dict[int, int] = {}  # by the port on the page the free one that is used instead
        self._log = log
        log.mkdir()
        self._mark = uuid.uuid4().hex
        own = {"SHOWN_COMMANDS": self._mark, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"}
        self._env = environment() | WHO | own | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        self._env |= more or {}
        self._env.pop("LADDER_HOME", None)
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        for _, process in self._running:
            if process.poll() is None:  # a terminal sends the signal to its children, too
                os.killpg(process.pid, signal.SIGINT)
        stuck = [line for line, process in self._running if not _ended(process)]
        ours = [each for each in psutil.process_iter() if self._is_ours(each)]
        _, left = psutil.wait_procs(ours, timeout=GRACE)
        names = [each.name() for each in left]
        for each in left:
            each.kill()
        if kind is None:
            assert not stuck, f"not ended by Ctrl-C: {stuck}"
            assert not names, f"left running: {names}"

    def url(self, port: int) -> str:
        """The address of the server that has this port on the page."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def type(self, line: str, status: int = 0) -> str:
        """Type a line. Returns what it printed on standard output; fails if it ends with another status."""
        for pattern, server in SERVERS.items():
            if re.match(pattern, line):
                self._serve(line, server)
                return ""
        return self.run(ADDRESS.sub(lambda found: self.url(int(found[1])), line), status)

    def run(self, line: str, status: int = 0) -> str:
        """Run a line in bash. The folder that it changes to is kept."""
        where = self._log / "folder"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{line}\npwd > {shlex.quote(str(where))}"],
            cwd=self.folder,
            env=self._env,
            input="y\n",  # to whatever asks
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
        ended = f"`{line}`: status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        assert done.returncode == status, ended
        if status == 0:
            self.folder = Path(where.read_text(encoding="utf-8").strip())
        return done.stdout

    def _serve(self, line: str, server: Server) -> None:
        command = re.sub(r"\s+# .*$", "", line)
        if server.port is not None:
            command = self._moved(line, command, server.port)
        log = self._log / f"server{len(self._running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", command if "=" in command.split()[0] else f"exec {command}"],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # In the background of a script, and so in whatever it starts, Ctrl-C is ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self._running.append((line, process))
        give_up = time.monotonic() + SECONDS
        while not self._is_up(command, server, log):
            printed = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            assert process.poll() is None, f"`{line}` ended\n{printed}"
            assert time.monotonic() < give_up, f"`{line}` does not respond\n{printed}"
            time.sleep(0.2)

    def _moved(self, line: str, command: str, default: int) -> str:
        """The command with a free port. This is the one place where a line is not run as it stands.

        Fails where the page names another address than the command's, or has two servers at one.
        """
        given = re.search(r" --port (\d+)", command)
        port = int(given[1]) if given else default
        named = {int(each) for each in ADDRESS.findall(line)}
        assert named <= {port}, f"`{line}`: its port is {port}"
        assert port not in self.ports, f"`{line}`: another server of the page has port {port}"
        settings = self.folder / "params.yaml"
        if not given and " serve" in command and " models " not in command:
            assert yaml.safe_load(settings.read_text(encoding="utf-8"))["serving"]["port"] == port
        self.ports[port] = free_port()
        return f"{command.replace(given[0], '') if given else command} --port {self.ports[port]}"

    def _is_up(self, command: str, server: Server, log: Path) -> bool:
        if server.port is None:
            return server.prints in log.read_text(encoding="utf-8", errors="replace")
        try:
            port = command.rpartition(" ")[2]
            return httpx.get(f"http://127.0.0.1:{port}{server.probe}", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("SHOWN_COMMANDS") == self._mark
        except psutil.Error:
            return False


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether the process ends in time; else it is killed with its children."""
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def prediction(output: str) -> float:
    """The prediction in the service's response to one row."""
    return float(json.loads(output)["prediction"])
