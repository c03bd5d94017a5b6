"""Renders the Mermaid diagrams of the pages, so that the site shows them without an external script.

    npm pack mermaid && tar xzf mermaid-*.tgz
    python -m docs.diagrams package/dist/mermaid.min.js

Needs playwright and Chromium, which are for development only.
"""

from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import sync_playwright

from docs.hooks import DIAGRAM, picture_of
from ladder import ROOT

DRAW = """async source => {
  mermaid.initialize({startOnLoad: false, htmlLabels: false, flowchart: {htmlLabels: false}, theme: 'neutral',
    fontFamily: 'system-ui, sans-serif', state: {htmlLabels: false}});
  return (await mermaid.render('diagram', source)).svg;
}"""


def main(
    script: Annotated[Path, typer.Argument(help="Mermaid, such as mermaid.min.js of its npm package.")],
) -> None:
    """Render missing pictures, and delete those of diagrams that are gone."""
    found = [
        diagram
        for page in sorted((ROOT / "docs").rglob("*.md"))
        for diagram in DIAGRAM.findall(page.read_text(encoding="utf-8"))
    ]
    wanted = {picture_of(diagram): diagram for diagram in found}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(path=script)
        for path, diagram in wanted.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(page.evaluate(DRAW, diagram) + "\n", encoding="utf-8")
            print(path.relative_to(ROOT))
        browser.close()
    for path in (ROOT / "docs" / "diagrams").glob("*.svg"):
        if path not in wanted:
            path.unlink()


if __name__ == "__main__":
    typer.run(main)
