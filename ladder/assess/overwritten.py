"""Finds gates whose result has no effect: overwritten, ignored, or always passed."""

import ast
import re
from collections.abc import Iterator, Sequence

from ladder.assess.facts import Fact
from ladder.assess.syntax import walked
from ladder.assess.tree import words

RESULTS = (
    "pass(?:ed|es)?|approved?|accepted?|promot(?:e|ed|able)|is_(?:valid|better|no_worse|ready)|ok(?:ay)?"
    "|success(?:ful)?|allowed"
)
# Names of gates: beginnings of the name or of one of its parts, infixes, and suffixes.
BEGINNINGS = (
    "(?:should|can|may)_(?:promote|deploy|release|register)|approve|promotable|is_no_worse|is_better|passes"
    "|check_(?:model|candidate|metrics|quality)"
)
PARTS = words("validate_model quality_check model_check is_good_enough")
RESULT = re.compile(rf"(^|_)(?:{RESULTS})$")
GATE = re.compile(
    rf"(^|_)gates?($|_)|Gates?($|[A-Z])|(^|_)(?:{BEGINNINGS})|{'|'.join(sorted(PARTS))}|^judge$"
)
RETURNED = re.compile(r"(Gate|Check|Validation|Promotion|Quality)Result$|^Verdict$")
LISTS = re.compile(r"(^|_)gates?($|_)", re.IGNORECASE)
# The same in the text of a module, which is worth parsing if it has one of these words ...
ENDS = {
    "gate": re.compile(r"gate(?<![a-zA-Z]gate)s?(?![a-z])"),
    "Gate": re.compile(r"Gates?(?![a-z])"),
    "GATE": re.compile(r"GATES?(?![A-Za-z])"),
    "judge": re.compile(r"judge\b(?<!\wjudge)"),
    "passes": re.compile(r"passes\b(?! [a-z])"),  # no sentence
} | {each: re.compile(rf"{each}\b") for each in ("_promote", "_deploy", "_release", "_register")}
WORDS = PARTS | words(
    "approve promotable is_no_worse is_better check_model check_candidate check_metrics check_quality"
)
# ... and a gate is called or defined, a result or a list of gates is set, or a verdict is returned.
CALLED = re.compile(
    rf"(?:(?<![^\W_])(?:gate|{BEGINNINGS})|Gate|{'|'.join(sorted(PARTS))}|\bjudge)\w*[ \t]*\("
)
SET = re.compile(rf"(?:{RESULTS}|[gG]ates?\w*|GATES?\w*)[\]\"' \t]*(?::[^=\n]+)?=(?!=)")
RETURNS = re.compile(r"->[^:\n]*(Result|Verdict)\b")
BROAD = ("Exception", "BaseException", "AssertionError")
QUIET = words("print log debug info warning warn error exception report echo write")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def may_have_gates(text: str) -> bool:
    """Whether a module's text contains anything that `find` examines."""
    if not any(each in text for each in WORDS) and not any(
        each in text and pattern.search(text) for each, pattern in ENDS.items()
    ):
        return False
    return any(each.search(text) for each in (CALLED, SET, RETURNS))


def find(file: str, tree: ast.Module, nodes: Sequence[ast.AST]) -> Iterator[Fact]:
    """A fact `name` with `off` for each gate that cannot refuse, or whose refusal has no effect.

    `nodes` are those of the tree, from `walked`.
    """
    listed = _listed(tree)
    in_gates = bool(GATE.search(file.rsplit("/", 1)[-1]) or "/gates/" in f"/{file}")
    asks = any(_asks_gate(each) for each in nodes)
    sets = any(RESULT.search(_last(each)) for node in nodes for each in _targets(node))
    for node in nodes:
        if not isinstance(node, Function):
            continue
        gate = _is_gate(node, listed)
        if gate:
            yield from _cannot_refuse(file, node)
        context = gate or in_gates or (asks and _judges(node))
        for block in _blocks(node) if context or sets else ():
            yield from _overwritten(file, block, context, node.name)
        if context:
            yield from _ignored(file, node)
            yield from _not_read(file, node)
    if not (in_gates or sets):
        return
    for node in tree.body:  # scripts have no function around it
        if isinstance(node, ast.If | ast.With | ast.For | ast.Try):
            for block in _blocks(node):
                yield from _overwritten(file, block, in_gates, "")
    yield from _overwritten(file, tree.body, in_gates, "")


def _fact(file: str, node: ast.stmt | ast.expr, name: str, why: str) -> Fact:
    return Fact("name", name or "gate", file, node.lineno, "code", (), why)


def _listed(tree: ast.Module) -> set[str]:
    """The functions that a list of gates names."""
    found: set[str] = set()
    for node in tree.body:
        if any(isinstance(each, ast.Name) and LISTS.search(each.id) for each in _targets(node)):
            found |= {each.id for each in walked(node) if isinstance(each, ast.Name)}
    return found


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _is_gate(node: Function, listed: set[str]) -> bool:
    returned = _last(node.returns) if node.returns else ""
    return node.name in listed or bool(RETURNED.search(returned)) or bool(GATE.search(node.name))


def _last(node: ast.expr) -> str:
    """The last part of a name: `passed` of `a.passed`, `passed`, and `a["passed"]`."""
    match node:
        case (
            ast.Attribute(attr=name) | ast.Name(id=name) | ast.Subscript(slice=ast.Constant(value=str(name)))
        ):
            return name
    return ""


def _root(node: ast.expr) -> str:
    """What is written to, as text without the last part: `results[at]` of `results[at]["passed"]`."""
    if isinstance(node, ast.Attribute | ast.Subscript):
        return ast.unparse(node.value)
    return node.id if isinstance(node, ast.Name) else ""


def _blocks(node: ast.AST) -> Iterator[Sequence[ast.stmt]]:
    """Every list of statements inside, without those of inner functions."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block:
            yield block
            for each in block:
                if not isinstance(each, Function | ast.ClassDef):
                    yield from _blocks(each)
    for handler in getattr(node, "handlers", []):
        yield from _blocks(handler)


def _is_true(value: ast.expr) -> bool:
    """`True`, and results made with it: `Result(True, ...)`, `Result(passed=True)`, `{"passed": True}`."""
    match value:
        case ast.Constant(value=True):
            return True
        case ast.Call(func=func, args=args, keywords=keywords):
            if named := [each.value for each in keywords if each.arg and RESULT.search(each.arg)]:
                return any(map(_is_true, named))
            match args:
                case [ast.Constant(value=True), *_]:
                    return "esult" in _last(func)
        case ast.Dict(keys=keys, values=values):
            return any(
                isinstance(key, ast.Constant) and RESULT.search(str(key.value)) and _is_true(each)
                for key, each in zip(keys, values, strict=True)
            )
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(map(_is_true, values))
    return False


def _overwritten(file: str, block: Sequence[ast.stmt], context: bool, inside: str) -> Iterator[Fact]:
    """Within one list of statements: a result is computed, then set to passed unconditionally."""
    computed: set[str] = set()
    for statement in block:
        match statement:
            case (
                ast.Assign(targets=[target], value=value)
                | ast.AnnAssign(target=target, value=ast.expr() as value)
            ):
                pass
            case ast.If() | ast.Try() | ast.For() | ast.While() | ast.Return() | ast.Raise() | ast.Match():
                if isinstance(statement, ast.If) and _resets(statement):
                    yield _fact(file, statement, inside, "a failing gate's result is reset to passed")
                computed.clear()  # what follows may be intended
                continue
            case _:
                continue
        is_result = bool(RESULT.search(_last(target)))
        if not (is_result or context):
            continue
        name = ast.unparse(target)
        if isinstance(value, ast.BoolOp) and _is_true(value):
            yield _fact(file, statement, inside, "the gate's result is overwritten by `or True`")
        elif _is_true(value):
            if (is_result and (name in computed or _root(target) in computed)) or (
                context and name in computed
            ):
                yield _fact(file, statement, inside, f"the gate's result is overwritten: {_short(statement)}")
        elif any(isinstance(one, ast.Call | ast.Compare) for one in walked(value)):
            computed.add(name)


def _short(node: ast.stmt) -> str:
    text = ast.unparse(node).split("\n")[0]
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}...`"


def _resets(node: ast.If) -> bool:
    """`if not X: X = True`."""
    match node:
        case ast.If(test=ast.UnaryOp(op=ast.Not(), operand=wanted), orelse=[]) if RESULT.search(
            _last(wanted)
        ):
            return any(
                isinstance(each, ast.Assign)
                and ast.unparse(each.targets[0]) == ast.unparse(wanted)
                and _is_true(each.value)
                for each in node.body
            )
    return False


def _returns(node: Function) -> list[ast.Return]:
    """The return statements of the function itself, without those of inner functions."""
    found: list[ast.Return] = []
    for block in _blocks(node):
        found += [each for each in block if isinstance(each, ast.Return)]
    return found


def _cannot_refuse(file: str, node: Function) -> Iterator[Fact]:
    """A gate that returns `passed` before it checks, or unconditionally at the end."""
    body = [
        each
        for each in node.body
        if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
    ]
    returns = [each for each in _returns(node) if each.value is not None]
    if not returns:
        return
    first = next((at for at, each in enumerate(body) if isinstance(each, ast.Return)), None)
    # A function that it calls may refuse in its place, if its description says so.
    raises = any(isinstance(each, ast.Raise | ast.Assert) for each in walked(node))
    raises = raises or bool(re.search(r"\b[Rr]aises\b", ast.get_docstring(node) or ""))
    if first is not None and first < len(body) - 1:
        returned = body[first]
        if isinstance(returned, ast.Return) and returned.value is not None and _is_true(returned.value):
            yield _fact(file, returned, node.name, f"the gate {node.name} returns 'passed' before it checks")
            return
    calls = any(isinstance(each, ast.Call | ast.Compare) for one in body for each in walked(one))
    if not raises and calls and all(each.value is not None and _is_true(each.value) for each in returns):
        yield _fact(
            file, returns[-1], node.name, f"the gate {node.name} can never fail: every return is 'passed'"
        )


def _ignored(file: str, node: Function) -> Iterator[Fact]:
    for each in walked(node):
        if isinstance(each, ast.If | ast.Assert):
            test = each.test
            values = test.values if isinstance(test, ast.BoolOp) else []
            either = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or)
            constant = [v.value for v in values if isinstance(v, ast.Constant)]
            if (either and True in constant) or (values and not either and False in constant):
                yield _fact(
                    file, each, node.name, f"the gate's result has no effect: `{ast.unparse(test)}`"[:120]
                )
            elif (
                isinstance(each, ast.If)
                and _refusal(test)
                and not each.orelse
                and all(_is_quiet(s) for s in each.body)
            ):
                yield _fact(file, each, node.name, "a failed gate is logged but not enforced")
        elif isinstance(each, ast.Try) and any(_judges(one) for one in each.body):
            for handler in each.handlers:
                broad = handler.type is None or _last(handler.type) in BROAD
                if broad and all(_is_quiet(one) for one in handler.body):
                    yield _fact(file, handler.body[0], node.name, "the gate's failure is caught and ignored")
                for one in handler.body:
                    if (
                        isinstance(one, ast.Assign | ast.Return)
                        and one.value is not None
                        and _is_true(one.value)
                    ):
                        yield _fact(file, one, node.name, "the gate's failure is caught and counts as passed")


def _judges(node: ast.AST) -> bool:
    return any(_asks_gate(each) for each in walked(node))


def _asks_gate(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and bool(GATE.search(_last(node.func)))


def _not_read(file: str, node: Function) -> Iterator[Fact]:
    """A gate is called, its result never read, and `passed` is stored as True."""
    results = {
        each.targets[0].id
        for each in walked(node)
        if isinstance(each, ast.Assign)
        and isinstance(each.targets[0], ast.Name)
        and isinstance(each.value, ast.Call)
        and GATE.search(_last(each.value.func))
    }
    if not results:
        return
    for each in walked(node):
        read = (
            isinstance(each, ast.Attribute | ast.Subscript)
            and _root(each) in results
            and RESULT.search(_last(each))
        )
        tested = isinstance(each, ast.If | ast.IfExp | ast.Assert) and any(
            isinstance(one, ast.Name) and one.id in results for one in walked(each.test)
        )
        if tested or (read and not _outvoted(each, node)):
            return
    for each in walked(node):
        if isinstance(each, ast.Dict) and _is_true(each):
            yield _fact(
                file,
                each,
                node.name,
                "the gate's result is overwritten: it is stored as passed, whatever it was",
            )


def _outvoted(part: ast.AST, node: Function) -> bool:
    """Whether it is read only in `... or True`."""
    return any(
        isinstance(each, ast.BoolOp) and _is_true(each) and any(one is part for one in walked(each))
        for each in walked(node)
    )


def _refusal(test: ast.expr) -> bool:
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=of):
            return bool(RESULT.search(_last(of))) or _asks_gate(of)
    return False


def _is_quiet(statement: ast.stmt) -> bool:
    """Whether it does nothing, or only prints."""
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=func)):
            return _last(func) in QUIET
    return False
