"""What Python files and notebooks show: imports, calls by their qualified names, definitions, tests."""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import PurePosixPath

from ladder.assess import overwritten
from ladder.assess.facts import Fact, Kind, Role
from ladder.assess.tree import words

TEST = re.compile(r"(^|/)(tests?|testing)/|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$")
IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)|import[ \t]+([\w., \t]+))",
    re.MULTILINE,
)
TEST_FUNCTION = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+(test\w*)[ \t]*\(", re.MULTILINE)
NOTHING = re.compile(
    r"""^[^\n]*\n(\s*(\"\"\"[^"]*\"\"\"|pass|\.\.\.|assert\s+(True|1)|print\([^\n]*\)|return|\#[^\n]*|@[^\n]*|class\s[^\n]*)?\s*(\n|$))*$"""
)
SKIPPED = re.compile(r"@(?:pytest\.mark\.skip\b|unittest\.skip\b|skip\b)")
DEFINED = re.compile(
    r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=", re.MULTILINE
)
MAGIC = re.compile(r"^\s*[!%]|^\s*\w+\?$")
# Arguments that say when something runs, or who gets which answer.
KEYWORDS = words(
    "schedule schedule_interval cron traffic traffic_split production_variants canary_traffic_percentage"
)
ADDRESS = re.compile(r"/\S{1,40}$")


def is_test(name: str) -> bool:
    """Whether it is a file of tests, by its name."""
    return bool(TEST.search(name))


def read(
    files: Mapping[str, str],
    wanted: tuple[Set[str], Sequence[str]],
    own: Set[str],
    asked: Callable[[Kind, str], bool],
) -> Iterator[Fact]:
    """The facts of all Python files and notebooks, of their calls only those that are asked for.

    A module that imports and has nothing `wanted`, and defines nothing that is asked for, is not parsed. What
    the project is itself (`own`) is no tool that it uses.
    """
    roots, texts = wanted
    for name, text in files.items():
        if name.endswith(".ipynb"):
            yield from _notebook(name, text, asked)
        elif not name.endswith(".py"):
            continue
        elif is_test(name):
            yield from tests(name, text)
        elif _is_wanted(text, roots - own, texts, asked):
            yield from _module(name, text, "code", asked)


def _is_wanted(text: str, roots: Set[str], texts: Sequence[str], asked: Callable[[Kind, str], bool]) -> bool:
    if any(each in text for each in texts) or overwritten.WORDS.search(text):
        return True
    if any(module.split(".")[0] in roots for module, _ in imports(text)):
        return True
    return any(asked("name", first or second) for first, second in DEFINED.findall(text))


def imports(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each import of a module: `from X import Y, Z` as (X, [Y, Z]); `import X` as (X, [])."""
    for match in IMPORT.finditer(text):
        if match.group(3) is not None:
            for each in match.group(3).split(","):
                yield each.split(" as ")[0].strip(), []
        else:
            listed = re.sub(r"#[^\n]*", "", match.group(2)).strip("() \t\n")
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
        if not off and NOTHING.match(body):
            off = "it asserts nothing"
        yield Fact("test", match.group(2), file, text.count("\n", 0, match.start()) + 1, "test", (), off)


def _notebook(file: str, text: str, asked: Callable[[Kind, str], bool]) -> Iterator[Fact]:
    """The facts of a notebook's code; lines are those of the file."""
    try:
        cells = json.loads(text).get("cells", [])
    except (ValueError, AttributeError, RecursionError):
        return
    for cell in cells if isinstance(cells, list) else []:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        lines = "".join(source) if isinstance(source, list) else str(source)
        code = "\n".join("pass" if MAGIC.match(line) else line for line in lines.split("\n"))
        for fact in _module(file, code, "notebook", asked):
            line = lines.split("\n")[fact.line - 1].strip() if fact.line else ""
            at = text.find(json.dumps(line)[1:-1]) if line else -1
            yield Fact(fact.kind, fact.name, file, text.count("\n", 0, at) + 1 if at >= 0 else 0, "notebook")


def _module(file: str, text: str, role: Role, asked: Callable[[Kind, str], bool]) -> Iterator[Fact]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    package = ".".join(PurePosixPath(file).parts[:-1])
    nodes = walked(tree)
    known: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for each in node.names:
                known[each.asname or each.name.split(".")[0]] = (
                    each.name if each.asname else each.name.split(".")[0]
                )
                yield Fact("import", each.name, file, node.lineno, role)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", node.level, package)
            for each in node.names:
                known[each.asname or each.name] = f"{base}.{each.name}"
                yield Fact("import", f"{base}.{each.name}", file, node.lineno, role)
    for node in nodes:
        if isinstance(node, ast.Call):
            if name := qualified(node.func, known):
                if asked("call", name):
                    yield Fact("call", name, file, node.lineno, role)
                for keyword in node.keywords:
                    if keyword.arg in KEYWORDS and not _is_none(keyword.value):
                        yield Fact("call", f"{name}({keyword.arg})", file, node.lineno, role)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield Fact("name", node.name, file, node.lineno, role)
            for one in node.decorator_list:
                if not isinstance(one, ast.Call) and asked("call", name := qualified(one, known)):
                    yield Fact("call", name, file, one.lineno, role)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and not node.col_offset:
                    yield Fact("name", target.id, file, node.lineno, role)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ADDRESS.match(node.value):
            yield Fact("text", node.value, file, node.lineno, role)
    if role == "code" and overwritten.WORDS.search(text):
        yield from overwritten.find(file, tree)


def walked(tree: ast.AST) -> list[ast.AST]:
    """All nodes, breadth first, as `ast.walk` has them, in half the time."""
    found: list[ast.AST] = [tree]
    for node in found:  # it grows
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                if not isinstance(value, ast.expr_context):
                    found.append(value)
            elif isinstance(value, list):
                found += [each for each in value if isinstance(each, ast.AST)]
    return found


def _absolute(module: str, level: int, package: str) -> str:
    if not level:
        return module
    parts = package.split(".") if package else []
    return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def qualified(node: ast.expr, known: Mapping[str, str]) -> str:
    """The dotted name that is called, with what imports say its first part is; `.method` of anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return ".".join([known.get(node.id, node.id), *reversed(parts)])
    return "." + ".".join(reversed(parts)) if parts else ""


# ---- which module imports which


class Modules:
    """The modules of a project, and what is reached from some of them by imports."""

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
        self._imports: dict[str, set[str]] = {}

    def packages(self) -> set[str]:
        """The names of its outermost packages and modules."""
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
        if name not in self._imports:
            self._imports[name] = set(self._resolved(name))
        return self._imports[name]

    def _resolved(self, name: str) -> Iterator[str]:
        package = ".".join(PurePosixPath(name).parts[:-1])
        for module, listed in imports(self.files[name]):
            level = len(module) - len(module.lstrip("."))
            base = _absolute(module.lstrip("."), level, package)
            for each in [f"{base}.{one}" for one in listed] or [base]:
                beside = f"{package}.{each}" if package else each
                found = self.by_name.get(beside) or (
                    self.file(each) if each.split(".")[0] in self._tops else None
                )
                if found and found != name:
                    yield found

    @property
    def _tops(self) -> set[str]:
        if not hasattr(self, "_top"):
            self._top = self.packages()
        return self._top
