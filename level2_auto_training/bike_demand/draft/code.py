"""Writes the code of a drafted problem from templates, with a comment at every guess."""

import math
from pathlib import Path
from typing import Any

from bike_demand.draft.guess import Column, Draft

PACKAGE = __name__.partition(".")[0]
TEMPLATES = Path(__file__).with_name("templates")
TYPES = {"boolean": "bool", "integer": "int", "number": "float", "category": "str", "text": "str"}
MAX_SLICES = 3  # categories per field that become slices, at most; its square in total
MIN_MINORITY_ROWS = 1000  # with fewer rows in the minority class, trees are kept small
MAX_VARIANTS = 60  # at most, variants of the example in the drafted behavioral test


def write_code(draft: Draft, title: str, name: str, folder: Path) -> None:
    """Write the problem package into an empty folder, unformatted."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = repr
    facts = {
        "package": PACKAGE,
        "title": title,
        "name": name,
        "draft": draft,
        "label": draft.label,
        "decimals": _decimals(draft),
        "error": "squared_error" if draft.is_classification else "absolute_error",
        "types": TYPES,
        # Pydantic requires fields with a default to come last.
        "fields": sorted((*draft.keys, *draft.inputs), key=lambda each: each.nullable),
        "numbers": tuple(each.name for each in draft.inputs if each.kind != "category"),
        "texts": tuple(each.name for each in draft.categories),
        "example": _example(draft),
        "example_label": _to_json(draft.label, draft.rows[draft.label.name].iloc[-1]),
        "slices": _slices(draft),
        "rare": _minority_rows(draft),
        "hour": _unique_name("hour", draft),
        "weekday": _unique_name("weekday", draft),
        "variants": _variants(draft)[:MAX_VARIANTS],
    }
    for template in TEMPLATES.glob("*.j2"):
        text = environment.get_template(template.name).render(facts)
        (folder / template.stem).write_text(text, encoding="utf-8", newline="\n")


def _decimals(draft: Draft) -> int:
    """So many that a thousandth of the labels' spread is not rounded away."""
    return max(0, 3 - math.floor(math.log10(draft.rows[draft.label.name].std() or 1)))


def _minority_rows(draft: Draft) -> int:
    """The rows of the minority class if below MIN_MINORITY_ROWS, else 0; 0 without classes."""
    counts = draft.rows[draft.label.name].value_counts() if draft.is_classification else [0]
    return int(min(counts)) if min(counts) < MIN_MINORITY_ROWS else 0


def _unique_name(name: str, draft: Draft) -> str:
    """A name for a derived feature that does not collide with a field."""
    while name in {each.name for each in (*draft.keys, *draft.inputs)}:
        name = f"{draft.time.name}_{name}"
    return name


def _example(draft: Draft) -> dict[str, Any]:
    """The inputs of the newest row, preferably one without missing values, as in JSON."""
    columns = [*draft.keys, *draft.inputs]
    rows = draft.rows[[each.name for each in columns]]
    complete = rows[(rows != "").all(axis=1) & rows.notna().all(axis=1)]
    at = (complete if len(complete) else rows).index[-1]
    when = {draft.time.name: draft.times[at].isoformat()}
    return when | {each.name: _to_json(each, rows.at[at, each.name]) for each in columns}


def _to_json(column: Column, value: Any) -> Any:
    if column.kind in ("category", "text"):
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
        elif each.kind == "category":
            counts = draft.rows[each.name].value_counts()
            top = [str(text) for text in counts.index if text][:MAX_SLICES]
            found += [(f"{each.name} {text}", each.name, text) for text in top]
    return found[: MAX_SLICES * MAX_SLICES]


def _variants(draft: Draft) -> list[dict[str, Any]]:
    """Variants of the example: the limits of expected ranges, and other categories."""
    variants: list[dict[str, Any]] = []
    for each in draft.inputs:
        if each.kind in ("integer", "number"):
            variants += [{each.name: _to_json(each, value)} for value in each.expected]
        elif each.kind == "boolean":
            variants += [{each.name: True}, {each.name: False}]
        else:
            variants += [{each.name: text} for text in each.categories[:MAX_SLICES]]
    return variants or [{}]
