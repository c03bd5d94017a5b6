"""Makes the small edition of a comparison page, with a static chart, and pictures of the chart.

    python -m docs.pictures reports/compare.json docs

Needs playwright and Chromium, which are for development only.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from ladder import UserError
from ladder.compare.results import Comparison
from ladder.output import save
from ladder.page.compare import Drawn, render

WIDTHS = {360: 360 + 32, 760: 760 + 40, 1120: 1120 + 40}  # width of the chart to that of the window
FLAGS = (
    "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    " disable-component-update disable-sync"
)
# The layers drawn by Plotly that are needed without its script.
TAKE = """() => {
  const taken = document.querySelector('#chart .svg-container').cloneNode(true);
  const idle = '.gl-container, .modebar-container, .hoverlayer, .selectionlayer, .menulayer, .zoomlayer,'
    + ' .draglayer rect:not(.nsewdrag)';
  taken.querySelectorAll(idle).forEach(each => each.remove());
  // The style sheet says the rest of how they look.
  taken.querySelectorAll('path.point, .xtick text, .ytick text').forEach(each => {
    each.removeAttribute('style'); each.removeAttribute('clip-path'); });
  taken.querySelectorAll('path.js-line').forEach(each =>
    each.setAttribute('d', each.getAttribute('d').replace(/(\\.\\d)\\d+/g, '$1')));
  return taken.outerHTML;
}"""
PICTURE = """
body > header, .hint, .when, .more { display: none !important }
#error { padding: 28px 32px 20px; max-width: none } #error h2 { font-size: 22px; margin-bottom: 12px }
main { padding: 0 }
"""


def chromium() -> str | None:
    """Where Chromium is, if it is installed."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium. Raises UserError if there is none."""
    program = chromium()
    if program is None:
        raise UserError("needs Chromium on the PATH: install it")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise UserError("needs playwright: install the group `dev` of pyproject.toml") from None
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=[f"--{flag}" for flag in FLAGS.split()]
        )
        try:
            yield opened
        finally:
            opened.close()


def small(comparison: Comparison, opened: Any) -> str:
    """The page with the chart as Plotly draws it at three widths, and without Plotly."""
    drawn = []
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        save(render(comparison), page)
        seen = opened.new_page()
        seen.goto(page.as_uri())
        for width, window in WIDTHS.items():
            seen.set_viewport_size({"width": window, "height": 900})
            seen.wait_for_function(
                "width => document.querySelector('#chart').layout?.width === width", arg=width
            )
            # Ids inside an SVG are global to the page: add the width to make them unique.
            drawn.append(
                Drawn(width, re.sub(r"(clip|defs-)[0-9a-f]{6}", rf"\g<1>{width}", seen.evaluate(TAKE)))
            )
        seen.close()
    return render(comparison, tuple(drawn))


def pictures(page: Path, folder: Path, opened: Any) -> list[Path]:
    """The chart of a page (in the style PICTURE) by day and by night, 1200 pixels wide."""
    made = []
    for theme in ("light", "dark"):
        seen = opened.new_page(
            viewport={"width": 960, "height": 1000}, device_scale_factor=1.25, color_scheme=theme
        )
        seen.goto(page.as_uri())
        seen.wait_for_selector("#chart .scatterlayer .trace")
        target = folder / f"compare-{theme}.png"
        seen.locator("#error").screenshot(path=str(target))
        seen.close()
        few = Image.open(target).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        few.save(target, optimize=True)
        made.append(target)
    return made


def main(
    comparison: Annotated[Path, typer.Argument(help="compare.json of a comparison", exists=True)],
    out: Annotated[Path, typer.Argument(help="the folder to write compare.html and the pictures into")],
) -> None:
    """Write the small edition of a comparison's page, and pictures of its chart.

    Example: python -m docs.pictures reports/compare.json docs
    """
    try:
        known = Comparison.model_validate_json(comparison.read_bytes())
        with browser() as opened:
            save(small(known, opened), out / "compare.html")
            with tempfile.TemporaryDirectory() as folder:
                whole = Path(folder) / "whole.html"
                save(render(known).replace("</style>", f"{PICTURE}</style>", 1), whole)
                made = pictures(whole, out, opened)
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    for path in (out / "compare.html", *made):
        typer.echo(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    typer.run(main)
