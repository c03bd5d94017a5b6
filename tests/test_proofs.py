"""The proofs in tests/maturity are slow. What can be checked of them in no time is checked here."""

import ast
from collections.abc import Iterator

import pytest

from ladder import ROOT
from ladder.levels import level

SOURCES = ("*.py", "*.yaml", "*.ipynb")
PAIRS = ("OFF_BY_ONE", "NO_VERSION")  # old text and new text


def replaced(module: ast.Module) -> Iterator[ast.Constant]:
    """The texts that a proof replaces: in calls of `edit`, in tables by file, and in PAIRS."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "edit":
            found = node.args[1:2]
        elif isinstance(node, ast.Dict):
            rows = zip(node.keys, node.values, strict=True)
            found = [
                value.elts[0]
                for key, value in rows
                if isinstance(key, ast.Constant)
                and str(key.value).endswith(".py")
                and isinstance(value, ast.Tuple)
            ]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in PAIRS:
            assert isinstance(node.value, ast.Tuple)
            found = node.value.elts[:1]
        else:
            continue
        yield from (each for each in found if isinstance(each, ast.Constant))


@pytest.mark.parametrize("number", range(5))
def test_what_a_proof_replaces_is_in_the_code(number: int) -> None:
    folder = level(number).folder
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for pattern in SOURCES
        for path in folder.rglob(pattern)
        if not {"tests", "state"} & set(path.relative_to(folder).parts)
    )
    checked = 0
    for path in sorted((ROOT / "tests" / "maturity").glob(f"*level{number}.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        constants = [each for each in ast.walk(module) if isinstance(each, ast.Constant)]
        for old in replaced(module):
            # Some replace what an earlier line of the proof put there.
            earlier = (str(each.value) for each in constants if each is not old)
            assert str(old.value) in text or any(str(old.value) in each for each in earlier), (
                f"{path.name}, line {old.lineno}: {old.value!r} is in no file of the level"
            )
            checked += 1
    assert checked >= 3
