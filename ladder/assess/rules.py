"""The rules as typed values: `rules.yaml` and `tools.yaml`, validated on reading."""

import re
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, RootModel

from ladder.assess.facts import Kind, Role
from ladder.source import Strict, read_yaml

Strength = Literal["hint", "evidence", "proof"]
RANK: dict[str, int] = {"": 0, "hint": 1, "evidence": 2, "proof": 3}
HERE = Path(__file__).parent


class Tool(Strict):
    """How a tool is recognised; see tools.yaml."""

    packages: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """The module names of its packages, as far as they follow from the package names."""
        names = {each.replace("-", "_") for each in self.packages} | {
            each.replace("-", ".") for each in self.packages
        }
        names |= set(self.imports) | {
            each.split(".")[0] for each in self.calls if not each.startswith((".", "*"))
        }
        return tuple(sorted(names - {"google", "azure"}))

    @cached_property
    def patterns(self) -> dict[Kind, re.Pattern[str]]:
        """Patterns for its calls, commands, steps, files and keys."""
        made: dict[Kind, re.Pattern[str]] = {}
        own = [each for each in self.calls if not each.startswith(".")]
        if own:
            made["call"] = re.compile("|".join(f"^{_glob(each)}$" for each in own))
        for kind, listed in (
            ("run", self.commands),
            ("step", self.steps),
            ("file", self.files),
            ("key", self.keys),
        ):
            if listed:
                made[kind] = re.compile("|".join(f"(?:{each})" for each in listed))  # type: ignore[index]
        return made

    @cached_property
    def methods(self) -> re.Pattern[str] | None:
        """Its calls that may be methods of anything."""
        found = [each for each in self.calls if each.startswith(".")]
        return re.compile("|".join(f"{_glob(each)}$" for each in found)) if found else None


def _glob(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", ".*")


class Signal(Strict):
    """A kind of fact that is a sign of a practice."""

    kind: Kind
    pattern: re.Pattern[str]  # of the fact's name
    strength: Strength
    roles: tuple[Role, ...] = ()
    when: tuple[str, ...] = ()
    min_distinct: int = 1  # names
    exclude: re.Pattern[str] | None = None  # names that do not count


class Practice(Strict):
    """Something that projects do, and how it is recognised."""

    id: str
    title: str
    needs: Literal["evidence", "proof", "answer"]
    remedy: str
    done: tuple[str, ...] = Field(min_length=1)
    deliverable: str
    days: int = Field(gt=0)
    asks: str = ""
    signals: tuple[Signal, ...] = ()
    tools: tuple[str, ...] = ()  # practices in tools.yaml whose tools count; default: its own
    roles: tuple[Role, ...] = ()  # of calls and names; any but tests if none are given
    within: str = ""  # regular expression of the files in which calls count
    live: tuple[str, ...] = ()  # counts only if started by one of these
    strict: bool = False  # anything without effect here is a gap, whatever else is seen


class Rules(Strict):
    """All of it."""

    ml_packages: frozenset[str]
    fit_calls: re.Pattern[str]
    start_calls: re.Pattern[str]
    schedules: re.Pattern[str]
    prefilter: tuple[str, ...]
    too_common: tuple[str, ...]
    other_ci: dict[str, re.Pattern[str]]
    practices: tuple[Practice, ...]
    rows: dict[str, tuple[str, ...]]
    success: dict[int, str]

    def practice(self, name: str) -> Practice:
        """The practice of that id. Raises KeyError."""
        return next(each for each in self.practices if each.id == name)

    def names(self, row: str) -> tuple[str, ...]:
        """The ids of all practices that may hold a row."""
        return tuple(one for each in self.rows[row] for one in each.split("|"))


class _Tools(RootModel[dict[str, dict[str, Tool]]]):
    pass


@cache
def rules() -> Rules:
    """Those of rules.yaml."""
    return read_yaml(Rules, HERE / "rules.yaml")


@cache
def tools() -> dict[str, dict[str, Tool]]:
    """Those of tools.yaml, by practice and name."""
    return read_yaml(_Tools, HERE / "tools.yaml").root


def _every_tool() -> list[Tool]:
    return [tool for listed in tools().values() for tool in listed.values()]


# Prefixes that many of the words share, but few modules contain.
PARTS = ("_model", "_artifact", "_endpoint", "put_", "read_")


@cache
def wanted() -> tuple[dict[str, frozenset[str]], dict[str, list[str]]]:
    """The conditions under which a module is worth parsing for its calls.

    It imports a package and contains one of the words listed for it (an empty word matches any module), or it
    contains one of the general words, listed by prefix because searching for that first is faster.
    """
    methods: set[str] = set()
    packages = {"pyspark": {""}, "prefect": {""}}
    for call in (each for tool in _every_tool() for each in tool.calls if not each.startswith("*")):
        if call.startswith("."):
            methods.add(re.split(r"[*(]", call)[0].strip("."))
        else:
            name = package(call)
            rest = call.removeprefix(name).strip(".*()")
            if call == f"{name}.{rest}" and rest.isidentifier():
                words = {call, f"{name} as ", f"from {name} import"}
            else:
                words = {re.split(r"[.*()]+", rest)[-1]}
            packages.setdefault(name, set()).update(words)
    texts: dict[str, list[str]] = {}
    for each in sorted((methods - set(rules().too_common)) | set(rules().prefilter)):
        # An address is a string, or follows a value in one.
        part = next((part for part in PARTS if part in each), each[:5])
        starts = ['"/', "'/", "}/"] if each.startswith("/") else [part]
        for start in starts:
            texts.setdefault(start, []).append(each)
    return {name: frozenset({""} if "" in needed else needed) for name, needed in packages.items()}, texts


@cache
def arguments() -> frozenset[str]:
    """The keyword arguments that rules refer to, such as `traffic`."""
    return frozenset(
        one for tool in _every_tool() for call in tool.calls for one in re.findall(r"\((\w+)\)", call)
    )


@cache
def telling() -> frozenset[str]:
    """The packages whose import is evidence."""
    return rules().ml_packages | {package(module) for tool in _every_tool() for module in tool.modules}


def package(dotted: str) -> str:
    """The package of a name: its first part, or the first two for vendors with many packages."""
    parts = dotted.split(".")
    return ".".join(parts[: 2 if parts[0] in ("azure", "google") else 1])


@cache
def pattern(kind: Kind) -> re.Pattern[str]:
    """The facts of a kind that some rule needs."""
    found = {one.pattern.pattern for each in rules().practices for one in each.signals if one.kind == kind}
    for tool in _every_tool():
        found |= {tool.patterns[kind].pattern} if kind in tool.patterns else set()
        found |= {tool.methods.pattern} if kind == "call" and tool.methods is not None else set()
    if kind == "call":
        found |= {each.pattern for each in (rules().fit_calls, rules().start_calls, rules().schedules)}
    flags = re.IGNORECASE if any("(?i)" in each for each in found) else 0
    return re.compile("|".join(f"(?:{each.replace('(?i)', '')})" for each in sorted(found)), flags)


@cache
def is_relevant(kind: Kind, name: str) -> bool:
    """Whether a rule refers to such a fact."""
    return bool(pattern(kind).search(name))
