"""Facts from files that are neither Python nor CI: packages, keys and commands."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from ladder.assess import commands
from ladder.assess.automation import GITHUB, GITLAB
from ladder.assess.facts import Fact
from ladder.assess.nodes import Items, Map, Text, documents, texts, walk

PIN = re.compile(r"^\s*([A-Za-z][\w.-]*)\s*(\[[^\]]*\])?\s*(==|>=|<=|~=|!=|<|>|@|;|$)")
INSTALL = re.compile(r"\bpip3?\s+install\s+(.*)")
REQUIREMENTS = re.compile(r"(^|/)(requirements[^/]*|constraints[^/]*|[^/]*requirements)\.(txt|in|lock)$")
SHORT = 80


def read(files: Mapping[str, str]) -> Iterator[Fact]:
    """The facts of all such files."""
    for name, text in files.items():
        last = name.rsplit("/", 1)[-1]
        low = last.lower()
        if REQUIREMENTS.search(name):
            yield from _requirements(name, text)
        elif low == "pyproject.toml":
            yield from _pyproject(name, text)
        elif low in ("poetry.lock", "uv.lock", "pdm.lock", "pylock.toml"):
            yield from _toml_lock(name, text)
        elif low in ("environment.yml", "environment.yaml", "conda.yaml", "conda.yml"):
            yield from _conda(name, text)
        elif re.search(r"dockerfile|containerfile", low) and not low.endswith("ignore"):
            yield from _dockerfile(name, text)
        elif low in ("makefile", "justfile"):
            for target, (_, recipe) in commands.targets(text).items():
                for line, command, off in recipe:
                    yield Fact("run", command, name, line, "recipe", (), off, target)
        elif low.endswith((".sh", ".bash")):
            for line, command, off in commands.lines(text):
                yield Fact("run", command, name, line, "recipe", (), off)
        elif low == "crontab":
            for line, command, _ in commands.lines(text):
                yield Fact("run", command, name, line, "flow", ("schedule",))
        elif low.endswith((".yml", ".yaml")) and not GITHUB.match(name) and not GITLAB.match(name):
            yield from _yaml(name, text)
        elif low.endswith((".cfg", ".ini")) and low in ("setup.cfg", "tox.ini"):
            yield from _requirements(name, text)


def _package(name: str, file: str, line: int) -> Fact:
    return Fact("package", re.sub(r"[-_.]+", "-", name).lower(), file, line)


def _requirements(file: str, text: str) -> Iterator[Fact]:
    for number, line in enumerate(text.split("\n"), 1):
        if match := PIN.match(line):
            if file.endswith((".cfg", ".ini")) and not line.startswith((" ", "\t")):
                continue
            yield _package(match.group(1), file, number)


def _pyproject(file: str, text: str) -> Iterator[Fact]:
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    lines = text.split("\n")
    project, tools = _table(content, "project"), _table(content, "tool")
    wanted = _listed(project.get("dependencies"))
    for named in (_table(project, "optional-dependencies"), _table(content, "dependency-groups")):
        wanted += [each for listed in named.values() for each in _listed(listed)]
    poetry = _table(tools, "poetry")
    groups = _table(poetry, "group")
    for table in (poetry, *(_table(groups, name) for name in groups)):
        wanted += list(_table(table, "dependencies"))
    for each in wanted:
        if match := re.match(r"[A-Za-z][\w.-]*", each):
            name = match.group(0)
            line = next(
                (at for at, line in enumerate(lines, 1) if re.search(rf"\b{re.escape(name)}\b", line)), 1
            )
            yield _package(name, file, line)
    for tool in tools:
        line = next((at for at, line in enumerate(lines, 1) if line.startswith(f"[tool.{tool}")), 1)
        yield Fact("key", f"tool.{tool}", file, line)


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    """The table of that name; empty if there is none, or something else."""
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _listed(content: Any) -> list[str]:
    return [each for each in content if isinstance(each, str)] if isinstance(content, list) else []


def _toml_lock(file: str, text: str) -> Iterator[Fact]:
    for number, line in enumerate(text.split("\n"), 1):
        if match := re.match(r'^name = "([^"]+)"', line):
            yield _package(match.group(1), file, number)


def _conda(file: str, text: str) -> Iterator[Fact]:
    for document in documents(text):
        for each in texts(Items(value for _, _, value in walk(document) if isinstance(value, Items))):
            if match := re.match(r"(?:[\w-]+::)?([A-Za-z][\w.-]*)", each):
                yield _package(match.group(1), file, each.line)


def _dockerfile(file: str, text: str) -> Iterator[Fact]:
    for line, command, off in commands.lines(text):
        word, _, rest = command.partition(" ")
        if word.upper() == "FROM":
            yield Fact("key", f"from={rest.strip()}", file, line, "recipe")
        elif word.upper() in ("CMD", "ENTRYPOINT", "RUN"):
            plain = re.sub(r'[\[\]",]+', " ", rest) if rest.lstrip().startswith("[") else rest
            yield Fact("run", f"{word.lower()} {' '.join(plain.split())}", file, line, "recipe", (), off)
            if found := INSTALL.search(plain):
                for each in found.group(1).split():
                    if (match := PIN.match(each)) and not each.startswith("-"):
                        yield _package(match.group(1), file, line)
        elif word.upper() == "HEALTHCHECK":
            yield Fact("key", "healthcheck", file, line, "recipe")


def _yaml(file: str, text: str) -> Iterator[Fact]:
    if len(text) > 400_000:  # data
        return
    for document in documents(text):
        for path, line, value in walk(document):
            shown = (
                f"={value}" if isinstance(value, Text) and len(value) <= SHORT and "\n" not in value else ""
            )
            yield Fact("key", f"{path}{shown}", file, line)
            if (
                path.endswith(("command", "entrypoint"))
                and isinstance(document, Map)
                and "services" in document
            ):
                yield Fact("run", " ".join(texts(value)), file, line, "recipe")
