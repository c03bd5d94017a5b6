"""Facts from Python files and notebooks: imports, calls by qualified name, definitions, tests."""

import ast
import gc
import json
import os
import re
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property, partial
from itertools import chain
from pathlib import PurePosixPath

from ladder.assess import overwritten
from ladder.assess.facts import Fact, Kind, Role
from ladder.assess.rules import arguments, is_relevant, package, telling, wanted
from ladder.assess.syntax import parsed, walked
from ladder.assess.tree import words

TEST = re.compile(r"(^|/)(tests?|testing)/|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$")
# It begins with the end of the line before, which is found faster than the start of a line.
IMPORT = re.compile(
    r"\n[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)|import[ \t]+([\w., \t]+))"
)
SET = r"\n(\w+)(?:,[ \t]*\w+)*[ \t]*(?::[^=\n]+)?="  # of a tuple, the first name
DEFINED = tuple(map(re.compile, (r"def[ \t]+(\w+)", r"class[ \t]+(\w+)", SET)))
REMARK = re.compile(r"#[^\n]*")
TEST_FUNCTION = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+(test\w*)[ \t]*\(", re.MULTILINE)
DOCSTRING = re.compile(r'"""[^"]*"""')
NOTHING = re.compile(r"pass|\.\.\.|assert\s+(True|1)|print\(.*\)|return|[#@].*|class\s.*|")
SKIPPED = re.compile(r"@(?:pytest\.mark\.skip\b|unittest\.skip\b|skip\b)")
MAGIC = re.compile(r"^\s*[!%]|^\s*\w+\?$")
SHOWN = {
    getattr(ast, name)
    for name in words(
        "Import ImportFrom Call FunctionDef AsyncFunctionDef ClassDef Assign AnnAssign Constant"
    )
}
ADDRESS = re.compile(r"/\S{1,40}$")
MANY = 400  # files; fewer are read sooner than processes start
CHUNK = 25  # files that a process takes at once


def is_test(name: str) -> bool:
    """Whether it is a test file, by its name."""
    return bool(TEST.search(name))


def read(files: Mapping[str, str], own: Set[str]) -> Iterator[Fact]:
    """The facts of all Python files and notebooks, in order; many files are read in parallel.

    The project's own packages (`own`) do not count as tools that it uses.
    """
    chosen = {name: text for name, text in files.items() if name.endswith((".py", ".ipynb"))}
    one = partial(_read, own)
    cores = os.cpu_count() or 1
    if len(chosen) < MANY or cores == 1:
        yield from chain.from_iterable(map(one, chosen.items()))
    else:
        with ProcessPoolExecutor(cores, initializer=gc.disable) as pool:
            yield from chain.from_iterable(pool.map(one, chosen.items(), chunksize=CHUNK))


def _read(own: Set[str], named: tuple[str, str]) -> list[Fact]:
    """The facts of a file. A file that matches no rule is not parsed."""
    name, text = named
    if name.endswith(".ipynb"):
        return list(_notebook(name, text))
    if is_test(name):
        return list(tests(name, text))
    packages, texts = wanted()
    every = dict.fromkeys(f"{module}.{each}" for module, names in imports(text) for each in names or [""])
    imported = [each.strip(".") for each in every if package(each) in telling()]
    gates = overwritten.may_have_gates(text)
    if (
        gates
        or any(start in text and any(each in text for each in listed) for start, listed in texts.items())
        or any(
            each in text
            for used in {package(each) for each in imported} & packages.keys() - own
            for each in packages[used]
        )
        or any(is_relevant("name", name) for each in DEFINED for name in each.findall(f"\n{text}"))
    ):
        return list(_module(name, text, "code", gates))
    return [Fact("import", each, name, 0) for each in imported]  # its neighbours may call methods of these


def imports(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each import of a module: `from X import Y, Z` as (X, [Y, Z]); `import X` as (X, [])."""
    for match in IMPORT.finditer(f"\n{text}"):
        if match.group(3) is not None:
            for each in match.group(3).split(","):
                yield each.split(" as ")[0].strip(), []
        else:
            listed = match.group(2)
            listed = (REMARK.sub("", listed) if "#" in listed else listed).strip("() \t\n")
            yield (
                match.group(1),
                [each.split(" as ")[0].strip() for each in listed.split(",") if each.strip()],
            )


def tests(file: str, text: str) -> Iterator[Fact]:
    """Test functions; `off` for one that is skipped, or asserts nothing."""
    found = list(TEST_FUNCTION.finditer(text))
    for at, match in enumerate(found):
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        body = text[match.end() : end]
        before = text[: match.start()].rsplit("\n\n", 1)[-1]
        off = "it is skipped" if SKIPPED.search(before) else ""
        if not off and _is_empty(body):
            off = "it asserts nothing"
        yield Fact("test", match.group(2), file, text.count("\n", 0, match.start()) + 1, "test", (), off)


def _is_empty(body: str) -> bool:
    """Whether a test, from its parameters on, has no line that could fail."""
    inside = DOCSTRING.sub("", body.partition("\n")[2])
    return all(NOTHING.fullmatch(line.strip()) for line in inside.split("\n"))


def _notebook(file: str, text: str) -> Iterator[Fact]:
    """The facts of a notebook's code, with line numbers in the file."""
    try:
        cells = json.loads(text).get("cells", [])
    except (ValueError, AttributeError, RecursionError):
        return
    for cell in cells if isinstance(cells, list) else []:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        lines = "".join(map(str, source)) if isinstance(source, list) else str(source)
        lines = lines.replace("\r\n", "\n").replace("\r", "\n")
        code = "\n".join("pass" if MAGIC.match(line) else line for line in lines.split("\n"))
        for fact in _module(file, code, "notebook"):
            line = lines.split("\n")[fact.line - 1].strip() if fact.line else ""
            at = max(text.find(json.dumps(line, ensure_ascii=ascii)[1:-1]) for ascii in (True, False))
            yield Fact(fact.kind, fact.name, file, text.count("\n", 0, max(at, 0)) + 1, "notebook")


def _module(file: str, text: str, role: Role, gates: bool = False) -> Iterator[Fact]:
    if (tree := parsed(text)) is None:
        return
    folder = ".".join(PurePosixPath(file).parts[:-1])
    every = walked(tree)
    nodes = [node for node in every if type(node) in SHOWN]
    known: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for each in node.names:
                first = each.name.split(".")[0]
                known[each.asname or first] = each.name if each.asname else first
                if package(each.name) in telling():
                    yield Fact("import", each.name, file, node.lineno, role)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", node.level, folder)
            for each in node.names:
                known[each.asname or each.name] = f"{base}.{each.name}"
                if package(f"{base}.{each.name}") in telling():
                    yield Fact("import", f"{base}.{each.name}", file, node.lineno, role)
    for node in nodes:
        for kind, name, line in _shown(node, known):
            if is_relevant(kind, name):
                yield Fact(kind, name, file, line, role)
    if gates:
        yield from overwritten.find(file, tree, every)


def _shown(node: ast.AST, known: Mapping[str, str]) -> Iterator[tuple[Kind, str, int]]:
    """The names that a node calls, defines or mentions, with line."""
    if isinstance(node, ast.Call):
        if name := qualified(node.func, known):
            yield "call", name, node.lineno
            for keyword in node.keywords:
                none = isinstance(keyword.value, ast.Constant) and keyword.value.value is None
                if keyword.arg in arguments() and not none:
                    yield "call", f"{name}({keyword.arg})", node.lineno
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield "name", node.name, node.lineno
        for one in node.decorator_list:
            if not isinstance(one, ast.Call):
                yield "call", qualified(one, known), one.lineno
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for each in getattr(target, "elts", [target]):  # of a tuple
                if isinstance(each, ast.Name) and not node.col_offset:
                    yield "name", each.id, node.lineno
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ADDRESS.match(node.value):
        yield "text", node.value, node.lineno


def _absolute(module: str, level: int, package: str) -> str:
    if not level:
        return module
    parts = package.split(".") if package else []
    return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])


def qualified(node: ast.expr, known: Mapping[str, str]) -> str:
    """The qualified name of a call, resolved through imports; `.method` for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return ".".join([known.get(node.id, node.id), *reversed(parts)])
    return "." + ".".join(reversed(parts)) if parts else ""


# ---- which module imports which


class Modules:
    """The modules of a project, and which are reachable from others through imports."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = {name: text for name, text in files.items() if name.endswith(".py")}
        self.by_name: dict[str, str] = {}
        for name in self.files:
            parts = list(PurePosixPath(name).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            while parts:
                self.by_name.setdefault(".".join(parts), name)
                if f"{parts[0]}/__init__.py" in self.files:
                    break
                parts.pop(0)
        self._imported: dict[str, set[str]] = {}

    @cached_property
    def packages(self) -> set[str]:
        """The names of the top-level packages and modules."""
        return {name.split(".")[0] for name in self.by_name}

    def file(self, dotted: str) -> str | None:
        """The file of a module, or of the module that a name is in."""
        while dotted:
            if dotted in self.by_name:
                return self.by_name[dotted]
            dotted = dotted.rpartition(".")[0]
        return None

    def reached(self, entries: Iterator[str] | list[str]) -> set[str]:
        """These files and all that they import, however far."""
        waiting = [name for name in entries if name in self.files]
        found = set(waiting)
        while waiting:
            for name in self.imported(waiting.pop()):
                if name not in found:
                    found.add(name)
                    waiting.append(name)
        return found

    def imported(self, name: str) -> set[str]:
        """The files that a file imports itself."""
        if name not in self._imported:
            self._imported[name] = set(self._resolved(name))
        return self._imported[name]

    def _resolved(self, name: str) -> Iterator[str]:
        package = ".".join(PurePosixPath(name).parts[:-1])
        for module, listed in imports(self.files[name]):
            level = len(module) - len(module.lstrip("."))
            base = _absolute(module.lstrip("."), level, package)
            for each in [f"{base}.{one}" for one in listed] or [base]:
                sibling = f"{package}.{each}" if package else each
                found = self.by_name.get(sibling) or (
                    self.file(each) if each.split(".")[0] in self.packages else None
                )
                if found and found != name:
                    yield found
