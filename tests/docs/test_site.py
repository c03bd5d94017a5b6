"""The documentation site is built strictly, works from disk, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ladder import ROOT

# The attributes of elements whose target a browser fetches by itself.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "srcset", "link": "href"}
IMPORTED = re.compile(rb"(?:@import|url\()\s*['\"]?(?:https?:)?//")


def build(target: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", str(config)]
    return subprocess.run(
        [*command, "--site-dir", str(target)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; strict, so a link, an anchor or a page of the menu that does not exist fails the build."""
    folder = tmp_path_factory.mktemp("site")
    ended = build(folder)
    assert ended.returncode == 0, ended.stderr
    return folder


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    def fetched(page: Path) -> Iterator[str]:
        for tag, attributes in _Elements(page.read_text(encoding="utf-8")).found:
            target = attributes.get(FETCHED.get(tag, "")) or ""
            if "//" in target and attributes.get("rel") not in ("canonical", "next", "prev"):
                yield f"{page.name}: {target}"

    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert [each for page in pages for each in fetched(page)] == []
    assert [path.name for path in site.rglob("*.css") if IMPORTED.search(path.read_bytes())] == []


def test_a_page_of_a_topic_shows_each_level_with_its_code(site: Path) -> None:
    page = (site / "topics" / "release.html").read_text(encoding="utf-8")
    ids = {attributes.get("id") for _, attributes in _Elements(page).found}
    assert {"gate", "live", "try", "rollback"} <= ids
    assert "compare_errors" in page  # the code of a gate of level 3


def test_every_row_of_the_maturity_model_can_be_linked_to(site: Path) -> None:
    from ladder.practices import rows

    page = (site / "reference" / "maturity.html").read_text(encoding="utf-8")
    ids = {attributes.get("id") for _, attributes in _Elements(page).found}
    assert {row.id.lower() for row in rows()} <= ids


@pytest.mark.parametrize(
    "text", ["[gone](gone.md)", "[no such place](#gone)", "[outside](../level9/README.md)"]
)
def test_a_broken_link_fails_the_build(text: str, tmp_path: Path) -> None:
    pages = tmp_path / "docs"
    pages.mkdir()
    (pages / "index.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
    whole = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    validation = whole[whole.index("validation:") : whole.index("nav:")]
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"site_name: test\nstrict: true\n{validation}", encoding="utf-8")
    assert build(tmp_path / "site", config).returncode != 0


def test_a_diagram_without_its_picture_is_refused() -> None:
    from docs.hooks import DIAGRAM, picture_of

    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    diagrams = [diagram for page in pages for diagram in DIAGRAM.findall(page)]
    assert diagrams
    assert all(picture_of(each).is_file() for each in diagrams)
    assert not picture_of(diagrams[0] + "%% changed").is_file()


@pytest.mark.slow
def test_search_works_from_disk(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((site / "index.html").as_uri())
        page.locator("input[data-md-component=search-query]").fill("rollback")
        page.locator(".md-search-result__item a").first.wait_for()
        assert page.locator(".md-search-result__item").count() > 2
        browser.close()
