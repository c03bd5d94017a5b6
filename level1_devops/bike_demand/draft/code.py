"""Writes the code of a drafted problem from templates, with a comment at every guess."""

import math
from pathlib import Path
from typing import Any

from bike_demand.draft.guess import Column, Draft

PACKAGE = __name__.partition(".")[0]
TEMPLATES = Path(__file__).with_name("templates")
TYPES = {"boolean": "bool", "integer": "int", "number": "float", "text": "str", "free text": "str"}
SLICES = 3  # at most: categories per field that become slices, and fields that have them
FEW = 1000  # with fewer rows in the rarer class, trees are kept small
VARIANTS = 60  # of the example, for which predictions must be possible


def write_code(draft: Draft, title: str, folder: Path) -> None:
    """Write the problem package into an empty folder, unformatted."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = repr
    facts = {
        "package": PACKAGE,
        "title": title,
        "name": "-".join("".join(each if each.isalnum() else " " for each in title.lower()).split()),
        "draft": draft,
        "label": draft.label,
        "error": "squared_error" if draft.is_classification else "absolute_error",
        "types": TYPES,
        # Pydantic requires fields with a default to come last.
        "fields": sorted((*draft.keys, *draft.inputs), key=lambda each: each.nullable),
        "numbers": tuple(each.name for each in draft.inputs if each.kind != "text"),
        "texts": tuple(each.name for each in draft.categories),
        "example": _example(draft),
        "example_label": _json(draft.label, draft.rows[draft.label.name].iloc[-1]),
        "slices": _slices(draft),
        "rare": _rare(draft),
        "hour": _unused("hour", draft),
        "weekday": _unused("weekday", draft),
        "variants": _variants(draft)[:VARIANTS],
    }
    for template in TEMPLATES.glob("*.j2"):
        text = environment.get_template(template.name).render(facts)
        (folder / template.stem).write_text(text, encoding="utf-8", newline="\n")


def _rare(draft: Draft) -> int:
    """The number of rows of the rarer class if these are few; 0 if they are many or there are no classes."""
    count = int(draft.rows[draft.label.name].value_counts().min()) if draft.is_classification else FEW
    return count if count < FEW else 0


def _unused(name: str, draft: Draft) -> str:
    """A name for a derived feature that does not collide with a field."""
    while name in {each.name for each in (*draft.keys, *draft.inputs)}:
        name = f"{draft.time.name}_{name}"
    return name


def _example(draft: Draft) -> dict[str, Any]:
    """The inputs of the newest row, preferably one without missing values, as in JSON."""
    columns = [draft.time, *draft.keys, *draft.inputs]
    rows = draft.rows[[each.name for each in columns]]
    complete = rows[(rows != "").all(axis=1) & rows.notna().all(axis=1)]
    row = (complete if len(complete) else rows).iloc[-1]
    return {each.name: _json(each, row[each.name]) for each in columns}


def _json(column: Column, value: Any) -> Any:
    if column.kind == "time":
        return value.isoformat(timespec="seconds")
    if column.kind in ("text", "free text"):
        return value or None
    if math.isnan(value):
        return None
    return {"boolean": bool, "integer": int, "number": float}[column.kind](value)


def _slices(draft: Draft) -> list[tuple[str, str, Any]]:
    """The name, field and value of each slice."""
    found: list[tuple[str, str, Any]] = []
    for each in (*draft.keys, *draft.inputs):
        if each.kind == "boolean":
            found.append((each.name, each.name, 1.0))
        elif each.kind == "text":
            counts = draft.rows[each.name].value_counts()
            top = [str(text) for text in counts.index if text][:SLICES]
            found += [(f"{each.name} {text}", each.name, text) for text in top]
    return found[: SLICES * SLICES]


def _variants(draft: Draft) -> list[dict[str, Any]]:
    """Variants of the example: the limits of expected ranges, and other categories."""
    made: list[dict[str, Any]] = []
    for each in draft.inputs:
        if each.kind in ("integer", "number"):
            made += [{each.name: _json(each, value)} for value in each.usual]
        elif each.kind == "boolean":
            made += [{each.name: True}, {each.name: False}]
        else:
            made += [{each.name: text} for text in each.categories[:SLICES]]
    return made or [{}]
