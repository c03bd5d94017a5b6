"""Renders pages: single HTML files that load nothing from anywhere else."""

from pathlib import Path
from typing import Any


def render(template: Path, **values: Any) -> str:
    """The page of a Jinja template. Values are escaped unless they are `markupsafe.Markup`."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)
