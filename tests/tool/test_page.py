"""The page of a comparison, as a reader meets it: in a browser, by day and night, on a phone and on paper."""

import base64
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from docs.pictures import browser, chromium
from ladder import ROOT, practices
from ladder.compare.results import Comparison
from ladder.page.code import packed
from ladder.page.compare import render, ticks, write
from ladder.story import Incident
from tests.tool.comparisons import seeded

needs_browser = pytest.mark.skipif(chromium() is None, reason="needs Chromium on the PATH")
TROUBLE = (
    Incident(kind="outage", since=date(2011, 11, 7), until=date(2011, 11, 20)),
    Incident(kind="units", since=date(2012, 5, 7), until=date(2012, 5, 16)),
    Incident(kind="poison", since=date(2012, 7, 9), until=date(2012, 7, 22)),
    Incident(kind="new-habits", since=date(2012, 9, 3), until=None),
)
WIDTHS = (380, 820, 1280, 1920)


@dataclass
class Page:
    """A page that is open in a browser, what it requested from the network, and its warnings."""

    tab: Any
    address: str
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def all(self, selector: str, what: str) -> Any:
        """An expression of JavaScript about each element, called `it`."""
        return self.tab.evaluate(f"[...document.querySelectorAll({selector!r})].map(it => {what})")


def opened_in(chromium: Any, file: Path, width: int = 1280) -> Page:
    tab = chromium.new_page(viewport={"width": width, "height": 900})
    page = Page(tab, file.as_uri())
    tab.on("request", lambda request: page.requested.append(request.url))
    tab.on("console", lambda message: page.complaints.append(message.text))
    tab.on("pageerror", lambda error: page.complaints.append(str(error)))
    tab.goto(page.address)
    return page


@pytest.fixture(scope="module")
def program() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """The long story's length and incidents, so that everything is crowded."""
    return seeded(start=date(2011, 7, 1), days=549, incidents=TROUBLE)


@pytest.fixture(scope="module")
def file(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "reports" / "compare.html"
    write(comparison, path)
    return path


@pytest.fixture(scope="module")
def loaded(program: Any, file: Path) -> Page:
    return opened_in(program, file)


@pytest.fixture
def page(loaded: Page) -> Page:
    """The page as it is when it is opened, and nothing in it open."""
    loaded.tab.set_viewport_size({"width": 1280, "height": 900})
    loaded.tab.emulate_media(color_scheme="light", media="screen")
    loaded.tab.evaluate(
        """() => { localStorage.clear(); delete document.documentElement.dataset.theme;
        document.querySelector('dialog[open]')?.close();
        for (const chip of document.querySelectorAll('.chip[aria-pressed=false]')) chip.click();
        document.activeElement.blur(); }"""
    )
    return loaded


def at(content: Any, path: str) -> Any:
    """What lies at a path like `levels.0.mae`; `*` adds up what lies in each part of a list."""
    step, _, rest = path.partition(".")
    if step == "*":
        return sum(at(each, rest) for each in content)
    found = content[int(step)] if isinstance(content, list) else content[step]
    return at(found, rest) if rest else found


def as_read(value: Any, digits: int) -> str:
    if value is None:
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, f",.{digits}f")


NUMBER = re.compile(r'<data value="([^"]*)" data-path="([^"]*)"(?: data-digits="(\d)")?>([^<]*)</data>')


# ---- what is in it


def test_every_number_is_the_one_in_the_json(comparison: Comparison, file: Path, tmp_path: Path) -> None:
    written = tmp_path / "compare.json"
    written.write_text(comparison.model_dump_json(indent=2), encoding="utf-8")
    content = json.loads(written.read_text(encoding="utf-8"))
    found = NUMBER.findall(file.read_text(encoding="utf-8"))
    for value, path, digits, text in found:
        assert (json.loads(value), text) == (
            at(content, path),
            as_read(at(content, path), int(digits or 0)),
        ), path
    paths = {path for _, path, _, _ in found}
    for number in content["levels"]:
        for measure in (
            "mae", "releases", "trainings", "manual_steps",
            "days_to_recover",
            "incidents.*.bad_hours", "failed_requests", "reproducible", "traceable", "machine_seconds",
        ):  # fmt: skip
            assert f"levels.{number}.{measure}" in paths
        assert f"same_dates.{number}.mae" in paths
        for incident in range(len(TROUBLE)):
            assert f"levels.{number}.incidents.{incident}.days_to_recover" in paths
            assert f"levels.{number}.incidents.{incident}.bad_hours" in paths
    assert {"levels.0.manual_steps_of_releases", "levels.1.manual_steps_of_releases"} <= paths
    assert sum(path.startswith("levels.4.weekly_mae.") for path in paths) == len(
        content["levels"]["4"]["weekly_mae"]
    )


def test_the_json_is_in_the_page(comparison: Comparison, file: Path) -> None:
    inside = re.findall(r'id="facts">(.*?)</script>', file.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert Comparison.model_validate(json.loads(inside)) == comparison


def test_every_row_of_the_model_has_its_code_and_its_proof_and_no_excerpt_is_there_twice(file: Path) -> None:
    text = re.findall(r'id="packed">(.*?)</script>', file.read_text(encoding="utf-8"), re.DOTALL)[0]
    book = json.loads(gzip.decompress(base64.b64decode(text)))
    assert list(book["rows"]) == [each.id for each in practices.rows()]
    for row_id, row in book["rows"].items():
        assert row["code"], row_id
        proof = practices.proof_of(row_id)
        shown = book["excerpts"][row["proof"]]
        assert (shown["name"], shown["line"]) == (proof.name, proof.first)
        for each in row["code"]:
            assert book["excerpts"][each]["path"].startswith(f"level{row['level']}_")
    seen = [(each["path"], each["line"], each["html"]) for each in book["excerpts"]]
    assert len(seen) == len(set(seen))
    assert [each["id"] for each in book["practices"]] == [
        each.id for each in practices.practices() if each.levels
    ]


def test_a_comparison_looks_the_same_each_time(comparison: Comparison) -> None:
    once = render(comparison)
    packed.cache_clear()
    assert render(comparison) == once


def test_what_a_level_says_cannot_become_part_of_the_page() -> None:
    known = seeded((0,))
    nasty = "</script><script>alert(1)</script><b>&"
    story = known.story.model_copy(update={"title": nasty, "says": nasty})
    text = render(known.model_copy(update={"story": story, "verdicts": (nasty,)}))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    inside = re.findall(r'id="facts">(.*?)</script>', text, re.DOTALL)[0]
    assert json.loads(inside)["story"]["title"] == nasty


def test_the_command_that_regenerates_a_page_takes_paths_with_spaces() -> None:
    known = seeded((0,))
    story = known.story.model_copy(update={"name": "my own/week.toml"})
    text = unescape(render(known.model_copy(update={"story": story, "assumed_in": "our people.yaml"})))
    assert "compare --scenario 'my own/week.toml' --from" in text
    assert "--people 'our people.yaml'" in text


def test_without_incidents_and_with_two_levels_only_what_there_is_is_shown() -> None:
    known = seeded((1, 3), incidents=(), same_dates=False)
    text = render(known)
    assert 'id="incidents"' not in text
    assert "Same release dates" not in text
    assert "No release was finished in the story." in text  # of level 1
    assert "incidents.*" not in text
    paths = {path for _, path, _, _ in NUMBER.findall(text)}
    assert {path.split(".")[1] for path in paths if path.startswith("levels.")} == {"1", "3"}
    assert "Baseline" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("known", "options"),
    [
        (seeded(same_dates=False), "--from 2011-12-25 --to 2012-03-18 --levels 0,1,2,3,4 {} --no-same-dates"),
        (seeded((0, 4), days=60), "--from 2011-12-25 --to 2012-02-22 --levels 0,4 {}"),
    ],
)
def test_it_says_how_to_run_it_again(known: Comparison, options: str) -> None:
    command = f"compare --scenario short {options.format('--people data/people.yaml')}"
    assert f"<code>python3 -m ladder {command}</code>" in render(known)


def test_a_level_that_cannot_answer_says_so_and_one_that_never_recovered_says_at_least(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("<b>cannot answer</b>") == 2 + 3 + 3
    assert text.count("<b>answers</b>") == 3 + 2 + 2
    assert text.count('<span class="least">at least</span>') == len(TROUBLE)  # level 0, each time
    assert "&lt;nobody&gt;" in text


def test_what_follows_from_how_long_people_take_is_marked_as_assumed(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    rows = re.findall(r'<tr role="row">(.*?)</tr>', text[text.index('id="measures"') :], re.DOTALL)
    error = next(each for each in rows if ".mae" in each)
    cells = error.split("<td ")[1:]
    assert ['class="sign"' in cell for cell in cells] == [True, True, True, False, False]
    failed = next(each for each in rows if ".failed_requests" in each)
    assert 'class="sign"' not in failed


@pytest.mark.parametrize(
    ("days", "expected"), [(1, [0, 1]), (21, [0, 5, 10, 15, 20]), (7.5, list(range(0, 8, 2)))]
)
def test_an_axis_of_days_has_few_marks(days: float, expected: list[int]) -> None:
    assert ticks(days) == expected


# ---- in a browser


@needs_browser
def test_one_file_is_all_it_takes(page: Page, file: Path) -> None:
    assert file.stat().st_size < 6_000_000
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    assert {each for each in page.requested if not each.startswith("data:")} == {page.address}
    assert page.complaints == []


@needs_browser
def test_the_chart_draws_what_is_in_the_json(page: Page, comparison: Comparison) -> None:
    traces = page.tab.evaluate("document.querySelector('#chart').data.map(({uid, x, y}) => ({uid, x, y}))")
    drawn = {each["uid"]: each for each in traces}
    assert comparison.retrained_daily is not None
    assert tuple(drawn["daily"]["y"]) == comparison.retrained_daily.error_7_days
    for number, level in comparison.levels.items():
        assert tuple(drawn[f"level{number}"]["y"]) == level.error_7_days
        since = comparison.story.start + timedelta(days=6)  # the first day with an error over seven days
        marked = [day for day in level.released_on if day >= since]
        assert drawn[f"releases{number}"]["x"] == [day.isoformat() for day in marked]
        heights = [level.error_7_days[(day - comparison.story.start).days] for day in marked]
        assert drawn[f"releases{number}"]["y"] == heights


@needs_browser
def test_the_chart_has_a_line_for_each_level_its_releases_and_the_retrained_daily(page: Page) -> None:
    for number in range(5):
        assert len(page.all(f".tracelevel{number} path.js-line", "it.getTotalLength()")) == 1
        assert len(page.all(f".tracereleases{number} path.point", "1")) >= 1
    assert page.all(".tracedaily path.js-line", "it.style.strokeDasharray") != [""]
    colours = page.all(".scatterlayer .trace path.js-line", "getComputedStyle(it).stroke")
    assert len(set(colours)) == 6
    assert page.tab.evaluate("document.querySelector('#chart').layout.yaxis.range[0]") == 0


@needs_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_names_in_the_chart_do_not_overlap_at_any_width(page: Page, width: int) -> None:
    page.tab.set_viewport_size({"width": width, "height": 900})
    page.tab.wait_for_function("() => { const box = document.querySelector('#chart');"
                               " return box.layout.width === box.clientWidth; }")  # fmt: skip
    boxes = page.all("#chart .annotation text", "it.getBoundingClientRect().toJSON()")
    assert len(boxes) == len(TROUBLE) + 5
    for at_, one in enumerate(boxes):
        assert 0 <= one["left"] <= one["right"] <= width
        for other in boxes[at_ + 1 :]:
            apart = (
                one["right"] <= other["left"] or other["right"] <= one["left"]
                or one["bottom"] <= other["top"] + 3 or other["bottom"] <= one["top"] + 3
            )  # fmt: skip
            assert apart, (one, other)


@needs_browser
def test_pointing_at_a_day_tells_the_error_of_each_level(page: Page, comparison: Comparison) -> None:
    page.tab.locator("#chart").scroll_into_view_if_needed()
    plane = page.tab.locator("#chart .nsewdrag").bounding_box()
    days = len(comparison.levels["0"].error_7_days) - 1
    error = comparison.levels["0"].error_7_days[300]
    assert error is not None
    top = page.tab.evaluate("document.querySelector('#chart').layout.yaxis.range[1]")
    high = plane["height"] * (1 - error / top)
    page.tab.mouse.move(plane["x"] + plane["width"] * 300 / days, plane["y"] + high)
    assert page.tab.locator(".when").inner_text() == "Seven days to 26 April 2012"
    for number, level in comparison.levels.items():
        value = level.error_7_days[300]
        assert value is not None
        assert float(page.tab.locator(f".chip[data-level='{number}'] output").inner_text()) == pytest.approx(
            value, abs=0.051
        )
    box = page.tab.locator("#chart .hoverlayer .hovertext")
    box.wait_for()
    assert box.text_content().startswith("Level 0")
    assert "26 April 2012" in box.text_content()


@needs_browser
def test_a_line_can_be_taken_out_and_one_can_be_looked_at_alone(page: Page) -> None:
    chip = page.tab.locator(".chip[data-level='2']")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    assert page.all(".tracelevel2", "getComputedStyle(it).display") == ["none"]
    chip.click()
    assert page.all(".tracelevel2", "getComputedStyle(it).display") != ["none"]
    page.tab.locator(".chip[data-level='4']").hover()
    page.tab.wait_for_function("() => getComputedStyle(document.querySelector('.tracelevel0')).opacity < .2")
    page.tab.wait_for_function(
        "() => getComputedStyle(document.querySelector('.tracelevel4')).opacity === '1'"
    )
    page.tab.mouse.move(1, 1)


@needs_browser
def test_the_theme_follows_the_system_and_a_button_overrules_it_for_good(page: Page) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.tab.evaluate(paper)
    page.tab.emulate_media(color_scheme="dark")
    dark = page.tab.evaluate(paper)
    assert light != dark
    line = "getComputedStyle(document.querySelector('.tracelevel0 path.js-line')).stroke"
    by_night = page.tab.evaluate(line)
    page.tab.locator("#theme").click()
    assert page.tab.evaluate(paper) == light
    assert page.tab.evaluate(line) != by_night
    page.tab.reload()
    assert page.tab.evaluate(paper) == light
    page.tab.locator("#theme").click()
    assert page.tab.evaluate(paper) == dark


@needs_browser
@pytest.mark.parametrize(("row_id", "code"), [("L0-R1", "runbook.yaml"), ("L4-C2", "retraining_policy.py")])
def test_a_row_of_the_model_opens_its_code_and_its_proof_and_closes_by_the_keyboard(
    page: Page, row_id: str, code: str
) -> None:
    button = page.tab.locator(f"[data-row='{row_id}']")
    button.focus()
    page.tab.keyboard.press("Enter")
    dialog = page.tab.locator("dialog[open]")
    dialog.wait_for()
    assert practices.row(row_id).says in dialog.inner_text()
    paths = page.all("dialog figcaption", "it.textContent")
    assert any(code in each for each in paths)
    assert paths[-1].startswith(practices.proof_of(row_id).file)
    assert f"def {practices.proof_of(row_id).name}" in dialog.inner_text()
    page.tab.keyboard.press("Escape")
    assert page.tab.locator("dialog[open]").count() == 0
    assert page.tab.evaluate("document.activeElement.dataset.row") == row_id


@needs_browser
def test_each_row_of_the_model_is_there_and_lacks_look_different(page: Page) -> None:
    assert sorted(page.all("[data-row]", "it.dataset.row")) == sorted(each.id for each in practices.rows())
    absent = {each.id for each in practices.rows() if each.absent}
    assert set(page.all(".row.absent", "it.dataset.row")) == absent
    styles = {
        which: page.all(f".row{which}", "getComputedStyle(it).fontStyle")[0]
        for which in (".absent", ":not(.absent)")
    }
    assert styles == {".absent": "italic", ":not(.absent)": "normal"}


@needs_browser
def test_two_levels_of_a_practice_stand_side_by_side_and_below_on_a_phone(page: Page) -> None:
    last = [each for each in practices.practices() if each.levels][-1]
    page.tab.locator(f"[data-practice='{last.id}']").click()
    page.tab.locator("#right select").select_option("4")
    page.tab.locator("#left select").select_option("3")
    for side, level in (("left", 3), ("right", 4)):
        page.tab.wait_for_function(
            "([side, says]) => document.querySelector(`#${side} .inside`).textContent.includes(says)",
            arg=[side, last.levels[level].says],
        )
        paths = page.all(f"#{side} figcaption", "it.textContent")
        assert len(paths) == len(last.levels[level].code)
        assert all(each.startswith(f"level{level}_") for each in paths)
    left, right = (page.tab.locator(f"#{side}").bounding_box() for side in ("left", "right"))
    assert left["y"] == right["y"]
    page.tab.set_viewport_size({"width": 380, "height": 900})
    left, right = (page.tab.locator(f"#{side}").bounding_box() for side in ("left", "right"))
    assert left["x"] == right["x"]
    assert left["y"] + left["height"] <= right["y"]


@needs_browser
def test_a_step_of_a_release_opens_and_tells_the_reason_of_what_is_assumed(page: Page) -> None:
    step = page.tab.locator("#release details", has_text="explore").first
    step.locator("summary").click()
    assert "Assumed: Next to other work." in step.inner_text()
    widths = page.all("#release .barre", "it.getBoundingClientRect().width")
    assert min(widths) >= 8  # steps of seconds can be seen
    step.locator("summary").click()


LAYOUT = """() => {
  const root = document.documentElement;
  const visible = [...document.querySelectorAll('body *')].filter(each => each.getClientRects().length
      && !each.closest('.visually-hidden, .skip'));
  const wide = visible.filter(each => !each.closest('.scroll, svg, pre, nav')
      && each.getBoundingClientRect().right > root.clientWidth + 1).map(each => each.outerHTML.slice(0, 80));
  const light = ([r, g, b]) => [r, g, b].map(each => each / 255)
      .map(each => each <= .03928 ? each / 12.92 : ((each + .055) / 1.055) ** 2.4)
      .reduce((sum, each, at) => sum + each * [.2126, .7152, .0722][at], 0);
  const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parts = colour => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
      return [...pen.getImageData(0, 0, 1, 1).data]; };
  const behind = node => { const layers = [];
      for (; node; node = node.parentElement) { const one = parts(getComputedStyle(node).backgroundColor);
          layers.push(one); if (one[3] === 255) break; }
      return layers.reverse().reduce((below, [r, g, b, a]) => [r, g, b].map((each, at) =>
          each * a / 255 + below[at] * (1 - a / 255)), [255, 255, 255]); };
  const written = each => [...each.childNodes].some(one => one.nodeType === 3 && one.data.trim());
  const faint = visible.filter(written)
      .map(each => { const style = getComputedStyle(each);
          const ink = parts(each.closest('svg') ? style.fill : style.color);
          const [one, other] = [light(ink), light(behind(each))].sort((a, b) => b - a);
          return [(one + .05) / (other + .05), each.outerHTML.slice(0, 90)]; })
      .filter(([ratio, what]) => ratio < (/data-unformatted="(Level )?[0-4]"/.test(what) ? 3 : 4.5));
  return { over: root.scrollWidth - root.clientWidth, wide, faint };
}"""


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_at_every_width_by_day_and_by_night(page: Page, scheme: str) -> None:
    page.tab.emulate_media(color_scheme=scheme)
    for width in WIDTHS:
        page.tab.set_viewport_size({"width": width, "height": 900})
        page.tab.wait_for_function("() => { const box = document.querySelector('#chart');"
                                   " return box.layout.width === box.clientWidth; }")  # fmt: skip
        assert page.tab.evaluate(LAYOUT) == {"over": 0, "wide": [], "faint": []}, width


@needs_browser
def test_on_paper_everything_is_light_and_open_and_fits(page: Page) -> None:
    page.tab.emulate_media(color_scheme="dark", media="print")
    page.tab.set_viewport_size({"width": 690, "height": 1000})
    page.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.all("body > header, dialog", "getComputedStyle(it).display") == ["none", "none"]
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.all("#release details", "it.open") == [True] * len(page.all("#release details", "1"))
    assert page.tab.evaluate(LAYOUT) == {"over": 0, "wide": [], "faint": []}
    right = page.all("#chart .main-svg", "it.getBoundingClientRect().right")
    assert max(right) <= 690
    page.tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not any(page.all("#release details", "it.open"))


@needs_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_the_days_above_a_release_stand_where_its_steps_begin(page: Page, width: int) -> None:
    page.tab.set_viewport_size({"width": width, "height": 900})
    zero = page.all("#release .axis", "it.querySelector('span').getBoundingClientRect().left")
    tracks = page.all("#release .track", "it.getBoundingClientRect().left")
    assert {round(each) for each in zero} == {round(each) for each in tracks}


@needs_browser
def test_headings_are_in_order_and_everything_to_press_has_a_name(page: Page) -> None:
    levels = [int(each) for each in page.all("main :is(h1, h2, h3, h4)", "it.tagName[1]")]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    names = page.all(
        "button, select, summary", "(it.ariaLabel || it.labels?.[0]?.textContent || it.textContent).trim()"
    )
    assert all(names)
    targets = page.all("nav a", "document.querySelector(it.getAttribute('href'))?.tagName")
    assert set(targets) == {"SECTION"}


@pytest.mark.slow
@needs_browser
def test_the_small_edition_is_the_same_page_without_plotly(
    program: Any, comparison: Comparison, tmp_path: Path
) -> None:
    written = tmp_path / "compare.json"
    written.write_text(comparison.model_dump_json(), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "docs.pictures", str(written), str(tmp_path / "docs")],
        cwd=ROOT,
        check=True,
    )
    made = {each.name: each.stat().st_size for each in (tmp_path / "docs").iterdir()}
    assert set(made) == {"compare.html", "compare-light.png", "compare-dark.png"}
    assert made["compare.html"] < 600_000
    assert made["compare-light.png"] < 150_000 > made["compare-dark.png"]
    text = (tmp_path / "docs" / "compare.html").read_text(encoding="utf-8")
    assert "Plotly.js" not in text
    assert {path for _, path, _, _ in NUMBER.findall(text)} == {
        path for _, path, _, _ in NUMBER.findall(render(comparison))
    }
    page = opened_in(program, tmp_path / "docs" / "compare.html")
    for width in WIDTHS:
        page.tab.set_viewport_size({"width": width, "height": 900})
        assert page.all("#chart > div", "it.getClientRects().length").count(1) == 1
        assert page.tab.evaluate(LAYOUT) == {"over": 0, "wide": [], "faint": []}, width
    plane = next(each.bounding_box() for each in page.tab.locator(".nsewdrag").all() if each.is_visible())
    page.tab.mouse.move(plane["x"] + plane["width"] / 2, plane["y"] + 5)
    assert all(page.all(".chip output", "it.textContent"))
    assert {each for each in page.requested if not each.startswith("data:")} == {page.address}
    assert page.complaints == []
    page.tab.close()
