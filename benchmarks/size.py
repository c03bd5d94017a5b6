"""Counts the code that a reader has to read: `python -m benchmarks.size` prints the lines of each package.

Only lines with code count: no comments, docstrings, blank lines, tests or migrations.
"""

import ast
import io
import tokenize
from pathlib import Path

from ladder import ROOT
from ladder.levels import levels

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
SEPARATE = {"assess", "lab"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of_code(text: str) -> int:
    """The number of lines of a module that have code."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            found |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            found -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(found)


def packages() -> dict[str, list[Path]]:
    """The modules of each package. `draft/`, which is the same at every level and not part of the practice,
    and the modules in SEPARATE are counted separately.
    """
    found = {
        each.folder.name: [
            path
            for path in sorted((each.folder / "bike_demand").rglob("*.py"))
            if not {"migrations", "draft"} & set(path.relative_to(each.folder).parts)
        ]
        for each in levels()
        if (each.folder / "bike_demand").is_dir()
    }
    found["draft"] = sorted((ROOT / "level1_devops" / "bike_demand" / "draft").rglob("*.py"))
    tool = sorted((ROOT / "ladder").rglob("*.py"))
    found["ladder"] = [path for path in tool if not SEPARATE & set(path.relative_to(ROOT).parts)]
    for name in sorted(SEPARATE):
        found[f"ladder/{name}"] = [path for path in tool if name in path.relative_to(ROOT).parts]
    return found


def sizes() -> dict[str, int]:
    """The lines of code of each package."""
    return {
        name: sum(lines_of_code(path.read_text(encoding="utf-8")) for path in paths)
        for name, paths in packages().items()
    }


if __name__ == "__main__":
    for name, lines in sizes().items():
        print(f"{name:<24}{lines:>7,}")
