"""The source of a file as people read it, and where a symbol is in it: a function, a key, a heading."""

import ast
import codecs
import json
import re
from collections.abc import Hashable
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ladder import UserError

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A part of a file that rejects unknown keys, and does not change once read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # how such a file begins


class _UniqueKeys(yaml.constructor.BaseConstructor):
    """Rejects duplicate keys, of which YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is given twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class Loader(_UniqueKeys, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """With libyaml, if it is there, which is faster."""


class TextLoader(_UniqueKeys, yaml.BaseLoader):
    """Leaves all values as text."""


def read(path: Path) -> str:
    """A text file's content; for a notebook, its cells without outputs.

    Raises UserError if it is not text.
    """
    try:
        text = text_of(path.read_bytes()).replace("\r\n", "\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    return _cells(text) if path.suffix == ".ipynb" else text


def text_of(content: bytes, errors: str = "strict") -> str:
    """The text in UTF-8, or in UTF-16, which `>` of PowerShell 5 writes. Raises UnicodeDecodeError."""
    return content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig", errors)


def read_yaml(kind: type[Model], path: Path) -> Model:
    """The content of a YAML file. Raises UserError with the file and the key that is wrong."""
    return validated(kind, parsed_yaml(read(path), Loader, str(path)), path)


def parsed_yaml(text: str, loader: type[Any], where: str) -> Any:
    """The content of YAML. Raises UserError in one line if it is none."""
    try:
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())}") from None


def validated(kind: type[Model], content: Any, path: Path) -> Model:
    """The content of a file as a model. Raises UserError with the file and the key that is wrong."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        says = first["msg"].removeprefix("Value error, ")
        raise UserError(": ".join(filter(None, [str(path), key, says]))) from None


def _cells(notebook: str) -> str:
    """The cells of a notebook in the way that editors write them into a script: `# %%` begins each."""
    parts = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            parts.append(f"# %%\n{source}\n")
        else:
            lines = "\n".join(f"# {line}".rstrip() for line in source.split("\n"))
            parts.append(f"# %% [markdown]\n{lines}\n")
    return "\n".join(parts)


def span(text: str, filename: str, symbol: str) -> tuple[int, int] | None:
    """First and last line of a symbol, counted from 1; None if the file has none of that name.

    Python: a function, class or name, with dots for nested ones (`Slot.load`). YAML: keys with dots, list
    items by their `id` or `name`. Markdown: a section. Notebook: first words of a cell.
    """
    kind = PurePosixPath(filename).suffix
    if kind == ".py":
        return _python(text, symbol)
    if kind in {".yaml", ".yml"}:
        return _yaml(text, symbol)
    return _block(text, symbol) if kind in {".md", ".ipynb"} else None


def _python(text: str, symbol: str) -> tuple[int, int] | None:
    body: list[ast.stmt] = ast.parse(text).body
    found: ast.stmt | None = None
    for name in symbol.split("."):
        found = next((node for node in body if name in _names(node)), None)
        if found is None:
            return None
        body = getattr(found, "body", [])
    if found is None:
        return None
    first = min([found.lineno, *(each.lineno for each in getattr(found, "decorator_list", []))])
    return first, found.end_lineno or found.lineno


def _names(node: ast.stmt) -> set[str | None]:
    """What a definition or an assignment gives a name to."""
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {getattr(node, "name", None), *(getattr(each, "id", None) for each in targets)}


def _yaml(text: str, symbol: str) -> tuple[int, int] | None:
    """By indentation: a key's lines, or those of a list item that begins with its `id` or `name`."""
    lines = text.split("\n")
    first, last = 0, len(lines)
    for name in map(re.escape, symbol.split(".")):
        begins = re.compile(rf"( *)(?:- (?:id|name): {name}$|{name}:)")
        found = next((at for at in range(first, last) if begins.match(lines[at])), None)
        if found is None:
            return None
        indent = len(lines[found]) - len(lines[found].lstrip())
        outside = re.compile(rf" {{0,{indent}}}[^ #]")
        last = next((at for at in range(found + 1, last) if outside.match(lines[at])), last)
        first = found + 1
    while not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#"):
        last -= 1
    return first, last


def _block(text: str, words: str) -> tuple[int, int] | None:
    """The section of a Markdown file or the cell of a notebook that begins with these words."""
    lines = text.rstrip("\n").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith(("## ", "# %%"))]
    for first, after in pairwise([*starts, len(lines)]):
        block = "\n".join(lines[first:after]).rstrip().split("\n")
        if any(line.lstrip("# ").startswith(words) for line in block[:2]):
            return first + 1, first + len(block)
    return None
