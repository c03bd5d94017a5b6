"""YAML with line numbers: dicts, lists and texts that know their position."""

from collections.abc import Iterator
from typing import Any

import yaml

from ladder.source import Loader

DEEPEST = 60


class Text(str):
    """A scalar as written. `line` is its first line, from 1; `block`: its text begins on the next line."""

    line: int
    block: bool

    def __new__(cls, value: str, line: int, block: bool = False) -> "Text":
        """Make one."""
        made = super().__new__(cls, value)
        made.line, made.block = line, block
        return made

    @property
    def first(self) -> int:
        """The first line of its text."""
        return self.line + self.block


class Map(dict[str, Any]):
    """A mapping; `lines` has the line of each key."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}
        self.line = 0

    def add(self, more: "Map") -> None:
        """Merge the content of another map."""
        self.update(more)
        self.lines |= more.lines


class Items(list[Any]):
    """A sequence."""

    line: int = 0


def documents(text: str) -> Items:
    """The documents of a YAML file; empty if it cannot be parsed (a template, for example)."""
    try:
        return Items(_value(node, 0) for node in yaml.compose_all(text, Loader) if node is not None)
    except (yaml.YAMLError, RecursionError, ValueError):
        return Items()


def maps(value: Any) -> list[Map]:
    """The mappings in a list; empty for anything else."""
    return [each for each in value if isinstance(each, Map)] if isinstance(value, Items) else []


def inner(value: Any, *keys: str) -> Any:
    """The value at nested keys; None without it."""
    for key in keys:
        value = value.get(key) if isinstance(value, Map) else None
    return value


def _value(node: yaml.Node, depth: int) -> Any:
    line = node.start_mark.line + 1
    if depth > DEEPEST:  # also for a node that contains itself through an alias
        return Text("", line)
    if isinstance(node, yaml.MappingNode):
        made = Map()
        made.line = line
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value == "<<":
                    merged = _value(value, depth + 1)
                    for each in merged if isinstance(merged, Items) else [merged]:
                        if isinstance(each, Map):
                            made.add(each)
                else:
                    made[key.value] = _value(value, depth + 1)
                    made.lines[key.value] = key.start_mark.line + 1
        return made
    if isinstance(node, yaml.SequenceNode):
        items = Items(_value(each, depth + 1) for each in node.value)
        items.line = line
        return items
    return Text(node.value, line, getattr(node, "style", None) in ("|", ">"))


def walk(value: Any, path: str = "") -> Iterator[tuple[str, int, Any]]:
    """Each key with its dotted path, line and value; list items do not add to the path."""
    if isinstance(value, Map):
        for key, inner in value.items():
            name = f"{path}.{key}" if path else key
            yield name, value.lines[key], inner
            yield from walk(inner, name)
    elif isinstance(value, Items):
        for inner in value:
            yield from walk(inner, path)


def texts(value: Any) -> list[Text]:
    """A text, or the texts of a list, as a flat list."""
    if isinstance(value, Text):
        return [value]
    return [each for item in value for each in texts(item)] if isinstance(value, Items) else []
