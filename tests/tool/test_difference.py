"""`ladder diff`: what is new, changed, gone and carried over, in the terminal and as a page."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.pictures import browser, chromium
from ladder import ROOT, practices
from ladder.carry import LIST
from ladder.difference import between, packages
from ladder.levels import level
from ladder.page.code import highlighted, listing, side_by_side
from ladder.page.difference import anchor
from ladder.workcopy import own_files
from tests.tool.conftest import Ladder

WRITTEN: dict[str, dict[str, list[str]]] = yaml.safe_load(LIST.read_text(encoding="utf-8"))
KINDS = (("new", "+"), ("changed", "~"), ("gone", "-"))


def counts(pair: str) -> str:
    """The counts of a pair, by the list that is written down."""
    lower, upper = (level(int(each)) for each in pair.split("-"))
    listed = WRITTEN[pair]
    carried = len(own_files(upper.folder)) - len(listed["new"]) - len(listed["changed"])
    assert carried == len(own_files(lower.folder)) - len(listed["gone"]) - len(listed["changed"])
    return (
        f"{len(listed['new'])} new, {len(listed['changed'])} changed, {len(listed['gone'])} gone,"
        f" {carried} carried over."
    )


def plain(html: str) -> str:
    """The text of a page's part."""
    return unescape(re.sub(r"<[^>]+>", "", html))


@pytest.mark.parametrize("pair", list(WRITTEN))
def test_the_summary_has_the_files_of_the_list_each_with_its_practice(ladder: Ladder, pair: str) -> None:
    done = ladder("diff", *pair.split("-"))
    assert done.returncode == 0, done.stderr
    assert counts(pair) in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    marked = {(line[0], line[1]) for line in lines if len(line) > 1 and line[0] in ("+", "~", "-")}
    listed = {(mark, name) for kind, mark in KINDS for name in WRITTEN[pair][kind]}
    assert marked == listed
    assert re.search(rf"^  L{pair[-1]}-[A-Z]\d  \w", done.stdout, re.MULTILINE)


def test_the_command_has_help_with_an_example(ladder: Ladder) -> None:
    assert "ladder diff 2 3" in ladder("diff", "--help").stdout.split("Example")[1]


def test_a_file_shows_its_practice_with_the_proof_and_its_change(ladder: Ladder) -> None:
    done = ladder("diff", "2", "3", "bike_demand/launch.py")
    assert done.returncode == 0
    assert "0 new, 1 changed, 0 gone, 0 carried over." in done.stdout
    assert "L3-C2  Compute is managed" in done.stdout
    assert "proved by tests/maturity/test_level3.py:" in done.stdout
    assert "--- level2_auto_training/bike_demand/launch.py" in done.stdout
    assert "\n+def deploy_after_training(" in done.stdout


def test_the_changes_of_a_pair_are_a_patch_that_makes_one_level_of_the_other(
    ladder: Ladder, tmp_path: Path
) -> None:
    done = ladder("diff", "2", "3", "--changes", "bike_demand")
    shutil.copytree(
        ROOT / "level2_auto_training", tmp_path / "a", ignore=shutil.ignore_patterns("state", ".*")
    )
    patch = done.stdout[done.stdout.index("\n--- ") + 1 :]
    for folder in ("level2_auto_training", "level3_auto_deploy"):
        patch = patch.replace(f"--- {folder}/", "--- a/").replace(f"+++ {folder}/", "+++ b/")
    (tmp_path / "change.patch").write_text(patch, encoding="utf-8", newline="\n")
    git = {"cwd": tmp_path, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "--quiet"], **git)  # type: ignore[call-overload]
    subprocess.run(["git", "apply", "--directory=a", "change.patch"], **git)  # type: ignore[call-overload]
    made = {path.as_posix(): (tmp_path / "a" / path).read_bytes() for path in _package(tmp_path / "a")}
    wanted = ROOT / "level3_auto_deploy"
    assert made == {path.as_posix(): (wanted / path).read_bytes() for path in _package(wanted)}


def _package(project: Path) -> Iterator[Path]:
    for path in sorted((project / "bike_demand").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(project)


def test_folders_patterns_and_names_as_a_shell_completes_them_choose_files(ladder: Ladder) -> None:
    files = len(list((ROOT / "level3_auto_deploy" / "bike_demand" / "release" / "ab").glob("*.py")))
    for given in ("bike_demand/release/ab", "level3_auto_deploy/bike_demand/release/ab/"):
        assert f"{files} new, 0 changed, 0 gone, 0 carried over." in ladder("diff", "2", "3", given).stdout
    assert "3 new, 0 changed," in ladder("diff", "2", "3", "tests/test_ab*.py").stdout


def test_a_carried_file_is_said_to_be_carried(ladder: Ladder) -> None:
    done = ladder("diff", "1", "2", "bike_demand/data/ingest.py")
    assert done.returncode == 0
    assert "= carried over: bike_demand/data/ingest.py" in done.stdout
    assert "---" not in done.stdout


def test_downwards_what_was_new_is_gone(ladder: Ladder) -> None:
    done = ladder("diff", "3", "2")
    new, changed, gone = (len(WRITTEN["2-3"][kind]) for kind in ("new", "changed", "gone"))
    assert f"{gone} new, {changed} changed, {new} gone, " in done.stdout
    assert "L2-T1  Model training is automated" in done.stdout
    assert "-  bike_demand/release/ab/statistics.py" in done.stdout


def test_a_level_compared_with_itself_is_the_same(ladder: Ladder) -> None:
    done = ladder("diff", "2", "2")
    assert done.returncode == 0
    assert f"0 new, 0 changed, 0 gone, {len(between(2, 2).files)} carried over" in done.stdout


def test_level_0_can_be_compared_its_notebook_by_its_cells_its_model_by_its_size(ladder: Ladder) -> None:
    done = ladder("diff", "0", "1", "demand.ipynb", "handoff/model.pkl")
    assert done.returncode == 0, done.stderr
    assert "-bikes = pd.read_csv(" in done.stdout
    assert "image/png" not in done.stdout
    assert "# not a text file, 355 KiB" in done.stdout


def test_a_lock_is_summed_up(ladder: Ladder) -> None:
    done = ladder("diff", "2", "3", "requirements.lock")
    assert re.search(r"came: uuid-utils \d", done.stdout)
    assert "--hash" not in done.stdout


def test_packages_that_came_went_and_changed_are_distinguished() -> None:
    before = "a==1 \\\n    --hash=sha256:00\nb==2 ; python_version < '3.12' \\\n    --hash=sha256:01\nc==3\n"
    after = "b==2.1 \\\n    --hash=sha256:02\nc==3\nd==4\n"
    assert packages(before, after) == (
        "1 came: d 4",
        "1 changed: b 2 -> 2.1",
        "1 went: a",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["2", "9"], "less than or equal to 4"),
        (["2"], "Missing argument"),
        (
            ["2", "3", "bike_demand/flow.py"],
            "not found at level 2 or 3; did you mean bike_demand/flows.py?",
        ),
        (["2", "3", "--out", "README.md/page.html"], "README.md"),
        (["2", "3", "--out", "docs"], "is a folder"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(ladder: Ladder, arguments: list[str], says: str) -> None:
    done = ladder("diff", *arguments)
    assert done.returncode in (1, 2)
    assert (len(done.stderr.splitlines()), done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert says in done.stderr


def test_the_page_has_every_file_its_rows_and_its_change(ladder: Ladder, tmp_path: Path) -> None:
    path = tmp_path / "pages" / "two.html"
    done = ladder("diff", "2", "3", "--out", path)
    assert done.returncode == 0, done.stderr
    assert counts("2-3").rstrip(".") in done.stdout
    page = path.read_text(encoding="utf-8")
    found = between(2, 3)
    tags = re.findall(r"<[a-z][^<>]*>", page)
    ids = [name for tag in tags for name in re.findall(r'\bid="([^"]+)"', tag)]
    links = [name for tag in tags for name in re.findall(r'\bhref="([^"]+)"', tag)]
    assert len(ids) == len(set(ids))
    assert {anchor(file) for file in found.files} <= set(ids)
    assert {name[1:] for name in links if name.startswith("#")} <= set(ids)
    launch = page.split('id="file-bike-demand-launch-py"')[1].split('<details class="file')[0]
    assert "def deploy_after_training(" in plain(launch)
    shown = {name.removeprefix("proof-") for name in ids if name.startswith("proof-")}
    assert shown == {each.id for each in practices.rows() if each.level == 3}
    assert {practices.proof_of(each).name for each in shown} <= set(re.findall(r"test_\w+", page))
    lock = page.split('id="file-requirements-lock"')[1].split("</details>")[0]
    assert "uuid-utils" in lock
    assert "--hash" not in lock
    assert len(page) < 6_000_000
    to_files = [name for name in links if not name.startswith(("#", "data:"))]
    assert len(to_files) > len(found.files)
    assert [name for name in to_files if not (path.parent / name).is_file()] == []
    assert not list(path.parent.glob(".*"))


def test_both_versions_can_be_read_back_from_what_is_shown_side_by_side() -> None:
    before = (
        "a = 1\n" + "".join(f"same_{number} = {number}\n" for number in range(40)) + "old(x < 3, 'y')\nend\n"
    )
    after = before.replace("a = 1", "a = 2\nb = 3").replace("old(x < 3, 'y')", "new(x < 3, 'y')")
    shown = str(side_by_side(before, after, "file.py"))
    assert "unchanged lines</summary>" in shown
    without = re.sub(r"<summary>.*?</summary>", "", shown)
    rows = [re.split("<td", row)[1:] for row in without.split("<tr>")[1:]]
    cells = [[plain(f"<td{cell}") for cell in row] for row in rows]
    left = [cell[1] for row, cell in zip(rows, cells, strict=True) if 'class="z"' not in row[1]]
    right = [cell[-1] for row, cell in zip(rows, cells, strict=True) if 'class="z"' not in row[-1]]
    assert left == before.rstrip("\n").split("\n")
    assert right == after.rstrip("\n").split("\n")


@pytest.mark.parametrize(
    "name", ["file.py", "file.yaml", "page.html.j2", "CODEOWNERS", "file.toml", "x.unknown"]
)
def test_highlighting_loses_no_character_and_runs_nothing(name: str) -> None:
    text = '# a <b> & "c"\n\n\tx: "</script><script>alert(1)</script>"\n\n  end\n'
    lines = highlighted(text, name)
    assert [plain(str(line)) for line in lines] == text.splitlines()
    assert not any("<script>" in line or "style=" in line for line in lines)


def test_a_listing_counts_from_the_number_of_its_first_line() -> None:
    shown = str(listing("x = 1\ny = 2\n", "file.py", 12))
    assert re.findall(r'linenos">\s*(\d+)<', shown) == ["12", "13"]
    assert plain(shown).replace(" ", "").split() == ["12x=1", "13y=2"]


LAYOUT = """() => {
  const root = document.documentElement;
  const seen = [...document.querySelectorAll('main *')].filter(each => each.getClientRects().length);
  return { over: root.scrollWidth - root.clientWidth,
           wide: seen.filter(each => !each.closest('.code, .sides td > *') // spaces at a line's end may hang
                          && each.getBoundingClientRect().right > root.clientWidth + 1)
                     .map(each => each.outerHTML.slice(0, 80)),
           shown: document.querySelectorAll('.file:not([hidden])').length,
           open: [...document.querySelectorAll('.file[open]')].map(each => each.id) };
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ladder.page.difference import write

    path = tmp_path_factory.mktemp("page") / "diff.html"
    write(between(1, 2), path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="needs Chromium on the PATH")
def test_in_a_browser_it_needs_no_network_fits_filters_and_opens_what_is_linked(page: Path) -> None:
    requested: list[str] = []
    wrong: list[str] = []

    def noted(message: Any) -> None:
        if message.type in ("error", "warning"):
            wrong.append(message.text)

    with browser() as opened:
        seen = opened.new_page()
        seen.on("request", lambda request: requested.append(request.url))
        seen.on("pageerror", lambda error: wrong.append(str(error)))
        seen.on("console", noted)
        seen.goto(page.as_uri())
        differing = sum(len(WRITTEN["1-2"][kind]) for kind in ("new", "changed", "gone"))
        assert seen.evaluate(LAYOUT)["shown"] == differing
        assert seen.evaluate(LAYOUT)["open"] == []
        seen.evaluate("location.hash = '#file-bike-demand-serving-app-py'")
        seen.wait_for_function("document.querySelector('.file[open]')")
        assert seen.evaluate(LAYOUT)["open"] == ["file-bike-demand-serving-app-py"]
        papers = set()
        for scheme in ("light", "dark"):
            seen.emulate_media(color_scheme=scheme)
            papers.add(seen.evaluate("getComputedStyle(document.body).backgroundColor"))
            for width in (380, 820, 1280):
                seen.set_viewport_size({"width": width, "height": 900})
                layout = seen.evaluate(LAYOUT)
                assert (layout["over"], layout["wide"]) == (0, []), (scheme, width)
        assert len(papers) == 2
        seen.fill("#filter", "l2-h2 training/reproduce")
        assert seen.evaluate(LAYOUT)["shown"] == 1
        seen.fill("#filter", "no such thing")
        assert seen.is_visible("#none")
        seen.fill("#filter", "")
        seen.uncheck('[data-kind="new"]')
        assert seen.evaluate(LAYOUT)["shown"] == differing - len(WRITTEN["1-2"]["new"])
        seen.click("#theme")
        assert seen.evaluate("getComputedStyle(document.body).backgroundColor") in papers
    assert [each for each in requested if not each.startswith("data:")] == [page.as_uri()]
    assert wrong == []
