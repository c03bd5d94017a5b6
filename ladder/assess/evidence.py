"""Turns facts into evidence: facts, conclusions from several of them, findings."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ladder.assess import automation, configuration, python
from ladder.assess.facts import Fact, Kind
from ladder.assess.rules import RANK, Practice, Strength, Tool, is_relevant, rules, tools
from ladder.assess.tree import Tree, words

TESTS = re.compile(r"(^|[\s/])(pytest|py\.test|tox|nox)(?![\w.=-])|-m (pytest|unittest)\b|manage\.py test\b")
# Commands that only mention what others do.
SAYS = re.compile(r"\b(echo|printf)\b[^;&|]*")
INSTALLS = re.compile(
    r"\b(pip3?|pipx|uv|poetry|pdm|conda|mamba|apt|apt-get|brew|npm)\s+(-\S+\s+)*(install|add|i)\b[^;&|]*"
)
MODULE = re.compile(r"-m\s+([\w.]+)")
SCRIPT = re.compile(r"([\w./-]+\.py)(?::\w+)?")
INSTALLED = re.compile(r"""^["']?([\w-]+)["']?\s*=\s*["']([\w.]+):\w+["']""", re.MULTILINE)
SERVED = re.compile(r"\b(?:uvicorn|gunicorn|hypercorn|granian)\b.*?\s([\w.]+):\w+")
DESCRIBED: dict[Kind, str] = {
    "test": "the test {}",
    "name": "defines {}",
    "call": "calls {}",
    "text": "the address {}",
    "trigger": "a workflow that starts on {}",
}
DERIVED = {
    "fits": "fits a model",
    "trains": "what this runs fits a model",
    "closes the loop": "starts code that monitors production and retrains",
    "recorded": "runs and versions of data are recorded",
    "tested: most modules": "tests in CI reach most modules",
    "tested: some modules": "tests do not reach this module, and others",
    "tested: scoring": "tests reach the scoring code",
}
STARTED = {
    "push": "on each push",
    "tag": "on a tag",
    "schedule": "on a schedule",
    "manual": "by hand",
    "event": "on an event",
}
MIN_COVERED_SHARE = 0.8  # of the modules, that tests reach
MACHINES = ("ci", "flow")


@dataclass(frozen=True)
class Finding:
    """A fact that is evidence of a practice. `off`: why it has no effect, so that it does not count."""

    practice: str
    strength: Strength
    fact: Fact
    says: str
    off: str = ""


class Facts:
    """All facts of a project, and their meaning."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.modules = python.Modules(tree.files)
        self.own = {
            name.split("/")[-2]
            for name in self.modules.files
            if name.endswith("/__init__.py") and len(name.removeprefix("src/").split("/")) == 2
        }
        self.by_kind: dict[Kind, list[Fact]] = {}
        for each in self._read():
            self.by_kind.setdefault(each.kind, []).append(each)
        self._imported = self._folders()
        self._scripts = self._read_scripts()
        self.by_kind["derived"] = list(self._derived())

    def _read(self) -> list[Fact]:
        files = self.tree.files
        found = list(python.read(files, self.own))
        found += automation.read(files, self.tree.outer, self.tree.prefix)
        found += configuration.read(files)
        found = [each for each in found if each.kind != "key" or is_relevant("key", each.name)]
        found += [
            Fact("file", name, name, int(name in files))
            for name in self.tree.all_names
            if is_relevant("file", name)
        ]
        if self.tree.versioned:
            found.append(Fact("file", ".git", ".git/HEAD", 1))
        found += [
            Fact("run", f"flow {each.file} {each.file}", each.file, each.line, "flow", ("schedule",))
            for each in found
            if each.kind == "call" and each.role == "code" and rules().schedules.search(each.name)
        ]
        return list(dict.fromkeys(found))

    def of(self, kind: Kind) -> list[Fact]:
        """The facts of a kind."""
        return self.by_kind.get(kind, [])

    # ---- which files run which

    def _read_scripts(self) -> dict[str, str]:
        """The commands that the project installs, with the module of each."""
        found: dict[str, str] = {}
        for name, text in self.tree.files.items():
            if name.endswith("pyproject.toml"):
                found |= dict(INSTALLED.findall(text))
        return found

    def entries(self, command: str) -> set[str]:
        """The files of the project that a command starts."""
        found: set[str] = set()
        known = self.modules.by_name
        for name in MODULE.findall(command):
            if file := known.get(f"{name}.__main__") or known.get(name):
                found.add(file)
        for name in SCRIPT.findall(command):
            path = name.removeprefix("./")
            found |= {each for each in self.modules.files if each == path or each.endswith(f"/{path}")}
        if (served := SERVED.search(command)) and (file := self.modules.file(served.group(1))):
            found.add(file)
        for word in command.split()[:3]:
            if word in self._scripts and (file := self.modules.file(self._scripts[word])):
                found.add(file)
        if re.search(r"\bdvc (repro|exp run)\b", command):
            found |= self._stages
        return found

    @cached_property
    def automated(self) -> set[str]:
        """The modules that a machine runs, other than as tests."""
        entries: set[str] = set()
        for each in self.of("run"):
            if (
                each.role in MACHINES
                and not each.off
                and not TESTS.search(each.name)
                and each.when != ("manual",)
            ):
                entries |= self.entries(each.name)
        return self._reached(entries)

    def _reached(self, entries: set[str]) -> set[str]:
        """The files that these import, and those started by DVC stages that one of them runs."""
        found = self.modules.reached(sorted(entries))
        if self._stages and found & self._with_dvc:
            found |= self.modules.reached(sorted(self._stages))
        return found

    @cached_property
    def _stages(self) -> set[str]:
        """The files that stages of DVC start."""
        stages = (each.name for each in self.of("run") if each.name.startswith("stage: "))
        return set[str]().union(*(self.entries(each.removeprefix("stage: ")) for each in stages))

    @cached_property
    def _with_dvc(self) -> set[str]:
        return {
            name
            for name, text in self.modules.files.items()
            if "dvc" in text and any(m.startswith("dvc.repo") for m, _ in python.imports(text))
        }

    @cached_property
    def tested(self) -> set[str]:
        """The modules that tests import, however far."""
        tests = {each.file for each in self.of("test") if not each.off}
        return self.modules.reached(sorted(tests))

    # ---- derived facts

    def _derived(self) -> Iterator[Fact]:
        fits = [
            each
            for each in self.of("call")
            if rules().fit_calls.search(each.name) and (self._learns or each.file.endswith(".ipynb"))
        ]
        yield from (Fact("derived", "fits", each.file, each.line, each.role) for each in fits)
        training = {each.file for each in fits if each.role == "code"}
        drifting = {
            each.fact.file
            for each in self._plain("drift")
            if RANK[each.strength] >= 2 and each.fact.role == "code"
        }
        starting = {each.file for each in self.of("call") if rules().start_calls.search(each.name)}
        for run in self.of("run"):
            if run.role not in MACHINES or TESTS.search(run.name):
                continue
            entries = self.entries(run.name)
            if run.role == "ci":  # a command line can do many things
                entries = {each for each in entries if not each.endswith("__main__.py")}
            if not entries:
                continue
            reached = self._reached(entries)
            trains = bool(reached & training)
            closes = reached & drifting and (trains or reached & drifting & starting)
            started = (run.file, run.line, run.role, run.when, run.off, run.job)
            if trains:
                yield Fact("derived", "trains", *started)
            if closes and set(run.when) & {"schedule", "event"}:
                yield Fact("derived", "closes the loop", *started)
        for each in self._plain("scoring"):
            if each.fact.file in self.tested and not each.off:
                yield Fact("derived", f"tested: scoring ({each.fact.file})", each.fact.file, each.fact.line)
        if self._plain_strength("tracking") >= 2 and self._plain_strength("data-versions") >= 2:
            best = next(each for each in self._plain("data-versions") if RANK[each.strength] >= 2)
            yield Fact("derived", "recorded", best.fact.file, best.fact.line)
        yield from self._coverage()

    def _coverage(self) -> Iterator[Fact]:
        own = [
            name
            for name, text in self.modules.files.items()
            if not python.is_test(name) and not name.endswith("__init__.py") and len(text) > 200
        ]
        if not own or not self.of("test"):
            return
        share = sum(name in self.tested for name in own) / len(own)
        live = [
            each for each in self.of("run") if each.role == "ci" and TESTS.search(each.name) and not each.off
        ]
        untested = sorted(name for name in own if name not in self.tested)
        where = live[0] if live else self.of("test")[0]
        if share >= MIN_COVERED_SHARE and live:
            yield Fact("derived", "tested: most modules", where.file, where.line, "ci", where.when)
        else:
            yield Fact("derived", "tested: some modules", untested[0] if untested else where.file, 1)

    @cached_property
    def _learns(self) -> bool:
        """Whether any module of the project imports a library that learns."""
        return any(each.name.split(".")[0] in rules().ml_packages for each in self.of("import"))

    def _plain(self, practice: str) -> list[Finding]:
        """Findings that need no derived fact."""
        known = rules().practice(practice)
        return [*self._by_tools(known), *self._by_signals(known, False)]

    def _plain_strength(self, practice: str) -> int:
        return max((RANK[each.strength] for each in self._plain(practice) if not each.off), default=0)

    # ---- findings

    def findings(self, practice: Practice) -> Iterator[Finding]:
        """The evidence of a practice, the strongest first."""
        every = [*self._by_tools(practice), *self._by_signals(practice)]
        if practice.id == "gates":
            every += [
                Finding("gates", "evidence", each, f"the gate {each.name}", each.off)
                for each in self.of("name")
                if each.off
            ]
        if practice.id == "training-schedule":
            every += [
                Finding(practice.id, "evidence", each, "a schedule", each.off)
                for each in self.of("trigger")
                if each.off and each.name == "schedule" and self._trains(each.file)
            ]
        if practice.live:
            every = [
                each
                for each in every
                if each.off or not self._needs_start(each) or set(each.fact.when) & set(practice.live)
            ]
        seen: set[tuple[str, str, str]] = set()
        for each in sorted(every, key=_order):
            key = (each.fact.place, each.strength, each.off)
            if key not in seen:
                seen.add(key)
                yield each

    @staticmethod
    def _needs_start(finding: Finding) -> bool:
        return finding.fact.role in MACHINES and finding.fact.kind in ("run", "step", "derived", "key")

    def _trains(self, file: str) -> bool:
        return bool(re.search(r"train|pipeline|schedul", file)) or bool(
            re.search(r"(?<![\w.-])(re)?train|dvc repro|mlflow run", self.tree.files.get(file, ""))
        )

    def _by_tools(self, practice: Practice) -> Iterator[Finding]:
        for group in practice.tools or (practice.id,):
            for name, tool in tools().get(group, {}).items():
                if not (set(tool.modules) & self.own):
                    yield from self._of_tool(practice, name, tool)

    def _of_tool(self, practice: Practice, name: str, tool: Tool) -> Iterator[Finding]:
        packages = set(tool.packages)
        for fact in self.of("package"):
            if fact.name in packages:
                yield Finding(practice.id, "hint", fact, f"{name}: the package {fact.name}")
        for kind, like in tool.patterns.items():
            for fact in self.of(kind):
                if like.search(done(fact)):
                    yield from self._tool_fact(practice, name, fact)
        if tool.methods is not None:
            for fact in self.of("call"):
                if tool.methods.search(fact.name) and self._imports(fact.file, tool.modules):
                    yield from self._tool_fact(practice, name, fact)

    def _tool_fact(self, practice: Practice, name: str, fact: Fact) -> Iterator[Finding]:
        if fact.kind == "call":
            if practice.roles and fact.role not in practice.roles:
                return
            if practice.within and not re.search(practice.within, fact.file):
                return
            strength = self._promoted(fact)
            where = ", in code that a machine runs" if strength == "proof" else ""
            says = f"{name}: calls {fact.name.lstrip('.')}{where}"
            yield Finding(practice.id, strength, fact, says, fact.off)
        elif fact.kind in ("run", "step"):
            strength = "proof" if fact.role in MACHINES and fact.when != () else "evidence"
            yield Finding(practice.id, strength, fact, _ran(fact, name), fact.off)
        else:
            yield Finding(practice.id, "evidence", fact, f"{name}: {fact.name}", fact.off)

    def _promoted(self, fact: Fact) -> Strength:
        return "proof" if fact.role == "code" and fact.file in self.automated else "evidence"

    def _imports(self, file: str, modules: Sequence[str]) -> bool:
        known = self._imported.get(file.rpartition("/")[0], set())
        return not known.isdisjoint(modules)

    def _folders(self) -> dict[str, set[str]]:
        """The imports of the modules in each folder, also by prefixes of its name."""
        found: dict[str, set[str]] = {}
        for fact in self.of("import"):
            parts = fact.name.split(".")
            known = found.setdefault(fact.file.rpartition("/")[0], set())
            known |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
        return found

    def _by_signals(self, practice: Practice, derived: bool = True) -> Iterator[Finding]:
        for signal in practice.signals:
            if signal.kind == "derived" and not derived:
                continue
            found = []
            for fact in self.of(signal.kind):
                roles = signal.roles or practice.roles if signal.kind in ("name", "call") else signal.roles
                if roles and fact.role not in roles:
                    continue
                if signal.when and not set(signal.when) & set(fact.when):
                    continue
                if signal.kind == "name" and fact.off:  # a gate without effect: see findings
                    continue
                name = SAYS.sub("", fact.name) if fact.kind == "run" else fact.name
                if signal.pattern.search(name) and not (signal.exclude and signal.exclude.search(name)):
                    found.append(fact)
            if len(
                {_key(fact, signal.pattern) for fact in found if not fact.off}
            ) < signal.min_distinct and not any(f.off for f in found):
                if found and signal.strength != "hint":
                    yield from (Finding(practice.id, "hint", fact, _described(fact)) for fact in found)
                continue
            for fact in found:
                strength = signal.strength
                if fact.kind in ("name", "call", "text") and strength == "evidence":
                    strength = self._promoted(fact)
                yield Finding(practice.id, strength, fact, _described(fact), fact.off)

    # ---- notes for the reader

    def notes(self) -> Iterator[str]:
        """What makes this project hard to judge."""
        if not self.tree.files:
            yield "No file here is covered by the rules."
            return
        if not any(each.name in ("fits", "trains") for each in self.of("derived")):
            yield "No training of a model was found: this may be no ML project, or its training is elsewhere."
        for name, like in rules().other_ci.items():
            if any(like.search(each) for each in self.tree.all_names):
                yield f"{name} jobs are not analysed: describe what they do (--questions)."
        if self.tree.ignored:
            listed = sorted(self.tree.ignored.items(), key=lambda each: -each[1])
            shown = ", ".join(f"{name} ({count})" for name, count in listed[:4])
            yield f"Not read, as examples or templates: {shown}{' and more' if len(listed) > 4 else ''}."
        projects = self._projects()
        if len(projects) > 1:
            shown = ", ".join(projects[:6]) + (" and more" if len(projects) > 6 else "")
            yield f"{len(projects)} projects in one repository ({shown}): assess each with --path."

    def _projects(self) -> list[str]:
        marks = words(
            "pyproject.toml setup.py requirements.txt requirements.lock dvc.yaml MLproject environment.yml"
        )
        found = {
            name.rpartition("/")[0]
            for name in self.tree.files
            if name.rsplit("/", 1)[-1] in marks and "/" in name
        }
        return sorted(each for each in found if not any(each.startswith(f"{other}/") for other in found))


def done(fact: Fact) -> str:
    """The fact's name; for a command without parts that only install or print."""
    return INSTALLS.sub("", SAYS.sub("", fact.name)) if fact.kind == "run" else fact.name


def _order(finding: Finding) -> tuple[bool, int, bool, int, str, int]:
    """Sort key: what is run before what is called before what is named."""
    fact = finding.fact
    kind = {"run": 0, "step": 0, "call": 1, "derived": 2}.get(fact.kind, 3)
    return bool(finding.off), -RANK[finding.strength], fact.file.startswith(".."), kind, fact.file, fact.line


def _key(fact: Fact, pattern: re.Pattern[str]) -> str:
    """The text that distinguishes facts: what the pattern matched."""
    match = pattern.search(fact.name) if fact.kind in ("key", "file") else None
    return (match.group() if match and match.group() else fact.name).lower()


def _ran(fact: Fact, name: str = "") -> str:
    command = fact.name if len(fact.name) <= 70 else f"{fact.name[:67]}..."
    prefix = f"{name}: " if name else ""
    if fact.kind == "step":
        return f"{prefix}job {fact.job} uses {command.split('@')[0]}"
    started = " and ".join(STARTED[each] for each in fact.when)
    where = f"job {fact.job} " if fact.job and fact.role == "ci" else ""
    return f"{prefix}{where}runs `{command}`{f' {started}' if started else ''}"


def _described(fact: Fact) -> str:
    if fact.kind in ("run", "step"):
        return _ran(fact)
    if fact.kind == "derived":
        return DERIVED[fact.name.partition(" (")[0]]
    name = fact.name.lstrip(".") if fact.kind == "call" else fact.name
    return DESCRIBED.get(fact.kind, "{}").format(name)
