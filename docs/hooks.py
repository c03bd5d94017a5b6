"""MkDocs hooks that add the pages generated from this repository to the documentation site.

Pages about a level, a topic and the reference are generated from the levels' own files, so they stay in sync.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs import leader, reference
from ladder import ROOT, practices
from ladder.difference import MARKS, between
from ladder.levels import Level, levels
from ladder.page.code import excerpt
from ladder.practices import CodeLocation, Practice, Row

# Files of the repository that are used as pages unchanged, and their place in the site.
MIRRORED = {
    "problems/README.md": "problems/index.md",
    "problems/energy-load/README.md": "problems/energy-load.md",
    "problems/customer-churn/README.md": "problems/customer-churn.md",
    "data/README.md": "reference/feed.md",
}
# What the practices of docs/practices.yaml are about, in the order in which a model lives.
TOPICS = {
    "data": ("Data", ("ingest",)),
    "training": ("Training", ("train", "record", "retrain")),
    "release": ("Release", ("gate", "live", "try", "rollback")),
    "serving": ("Serving", ("serve", "trace")),
    "monitoring": ("Monitoring", ("watch", "learn")),
    "team": ("Team and delivery", ("team", "test")),
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
DIAGRAM = re.compile(r"```mermaid\n(.*?)```\n", re.DOTALL)
LONGEST = 80  # lines of an excerpt; the rest is left to the file


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for source, uri in MIRRORED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=_relink(text, source, uri)))
    pages = {"levels/index.md": _levels(), "topics/index.md": _topics()}
    pages |= {f"levels/level{each.number}.md": _level(each) for each in levels()}
    pages |= {f"topics/{name}.md": _topic(title, ids) for name, (title, ids) in TOPICS.items()}
    pages |= {
        "workshop/answers.md": leader.answers(),
        "reference/commands.md": reference.commands(),
        "reference/settings.md": reference.settings(),
        "reference/maturity.md": _maturity(),
    }
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links that lead out of docs/ into links within the site, and diagrams into pictures.

    Raises PluginError for a diagram without a picture.
    """
    if page.file.generated_by is None:
        markdown = _relink(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
    return DIAGRAM.sub(lambda found: _picture(found[1], page.file.src_uri), markdown)


def picture_of(diagram: str) -> Path:
    """The path of a Mermaid diagram's picture; its name changes with the diagram."""
    return ROOT / "docs" / "diagrams" / f"{hashlib.sha256(diagram.encode()).hexdigest()[:12]}.svg"


def _picture(diagram: str, uri: str) -> str:
    path = picture_of(diagram)
    if not path.is_file():
        raise PluginError(f"{uri}: a diagram has no picture: run `python -m docs.diagrams`")
    kind = diagram.split(maxsplit=1)[0].removesuffix("-v2")
    there = relpath(path.relative_to(ROOT / "docs").as_posix(), PurePosixPath(uri).parent.as_posix())
    return f"![{kind}]({there}){{ .diagram }}\n"


def _relink(markdown: str, source: str, uri: str) -> str:
    """The text of the file `source`, with its links adapted to the page `uri`.

    A link to a file that is not a page is reduced to its text.
    """
    pages = MIRRORED | {
        f"{each.folder.relative_to(ROOT).as_posix()}/README.md": f"levels/level{each.number}.md"
        for each in levels()
    }

    def replace(found: re.Match[str]) -> str:
        image, text, target = found.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return found[0]
        there = normpath(PurePosixPath(source).parent.joinpath(path).as_posix())
        if there in pages:
            page = pages[there]
        elif there.startswith("docs/") or not (ROOT / there).exists():
            page = there.removeprefix("docs/")
        else:
            return text if text.startswith("`") else f"`{there}`"
        link = relpath(page, PurePosixPath(uri).parent.as_posix() or ".")
        return f"{image}[{text}]({link}{'#' + anchor if anchor else ''})"

    return LINK.sub(replace, markdown)


def _levels() -> str:
    lines = ["# The five levels", "", "![Who does what at each level](../levels.svg)", ""]
    lines += ["| level | in short |", "|---|---|"]
    for each in levels():
        short = "; ".join(row.says for row in _rows(each) if row.area == "highlights")
        lines.append(f"| [{each.title}](level{each.number}.md) | {short} |")
    return "\n".join(lines) + "\n"


def _rows(each: Level) -> list[Row]:
    return [row for row in practices.rows() if row.level == each.number]


def _level(each: Level) -> str:
    """The page of a level: picture, practice, and its own README without repeated parts."""
    folder = each.folder.relative_to(ROOT).as_posix()
    source = (each.folder / "README.md").read_text(encoding="utf-8")
    title, _, rest = source.partition("\n")
    lines = [f"# {each.title}", "", "![Who does what at each level](../levels.svg){ .levels }", ""]
    lines += [
        f"The project in `{folder}/`: {title.lstrip('# ').strip()}. Commands are for Linux and macOS; on"
    ]
    lines += ["Windows they run in Git Bash, with `python` for `python3`.", "", "## The practice", ""]
    lines += ["| practice | at this level |", "|---|---|"]
    for topic, (_, ids) in TOPICS.items():
        for practice in (_practice(name) for name in ids):
            if each.number in practice.levels:
                link = f"[{practice.title}](../topics/{topic}.md#{practice.id})"
                lines.append(f"| {link} | {practice.levels[each.number].says} |")
    return "\n".join(lines) + "\n" + _relink(rest, f"{folder}/README.md", f"levels/level{each.number}.md")


def _practice(name: str) -> Practice:
    return next(each for each in practices.practices() if each.id == name)


def _topics() -> str:
    lines = [
        "# Side by side",
        "",
        "Each page shows one part of a model's life at all five levels: what is done, the rows of the",
    ]
    lines += [
        "maturity model that it shows, the code, and the files that change from one level to the next.",
        "",
    ]
    lines += ["| topic | practices |", "|---|---|"]
    for name, (title, ids) in TOPICS.items():
        links = ", ".join(f"[{_practice(each).title}]({name}.md#{each})" for each in ids)
        lines.append(f"| [{title}]({name}.md) | {links} |")
    return "\n".join(lines) + "\n"


def _topic(title: str, ids: Sequence[str]) -> str:
    parts = [f"# {title}\n"]
    for practice in map(_practice, ids):
        parts += [f"## {practice.title} {{ #{practice.id} }}\n", practice.says + "\n"]
        parts.append(
            "| level | what is done |\n|---|---|\n"
            + "\n".join(
                f"| [{number}](../levels/level{number}.md) | {at.says} |"
                for number, at in practice.levels.items()
            )
            + "\n"
        )
        for number in practice.levels:
            body = "\n".join(_at(practice, number))
            indented = "\n".join(f"    {line}" if line else "" for line in body.split("\n"))
            parts.append(f'=== "Level {number}"\n\n{indented}\n')
    return "\n".join(parts)


def _at(practice: Practice, number: int) -> Iterator[str]:
    """The content of a practice's tab for a level: rows, code, and changes from the level below."""
    at = practice.levels[number]
    for name in at.rows:
        row = practices.row(name)
        lacks = "*lacks:* " if row.absent else ""
        yield f"- [{name}](../reference/maturity.md#{name.lower()}) {lacks}{row.says}"
    if at.rows:
        yield ""
    for position, code in enumerate(at.code):
        yield from _code(practices.locate(number, code), opened=not position)
    if number and (changes := _changes(practice, number)):
        yield f'??? abstract "Files that change from level {number - 1}: `ladder diff {number - 1} {number}`"'
        yield ""
        yield "    ``` text"
        yield from (f"    {line}" for line in changes)
        yield "    ```"
        yield ""


def _code(place: CodeLocation, *, opened: bool) -> Iterator[str]:
    found = excerpt(place)
    lines = found.text.rstrip("\n").split("\n")
    shown, rest = lines[:LONGEST], len(lines) - LONGEST
    name = f"{found.path}: {found.name}" if found.name else found.path
    yield f'???{"+" if opened else ""} example "`{name}`"'
    yield ""
    yield f'    ~~~~ {_language(place.file)} linenums="{found.first_line}"'
    yield from (f"    {line}" for line in shown)
    yield "    ~~~~"
    if rest > 0:
        yield ""
        yield f"    ... and {rest} lines more in the file."
    yield ""


def _language(file: str) -> str:
    suffix = PurePosixPath(file).suffix
    return {".ipynb": "python", ".md": "md", ".py": "python", ".yaml": "yaml", ".yml": "yaml"}.get(
        suffix, "text"
    )


def _changes(practice: Practice, number: int) -> list[str]:
    found = between(number - 1, number)
    return [
        f"{MARKS[file.kind]} {file.name}"
        for part in found.parts()
        if part.id == practice.id
        for file in part.files
        if file.kind != "carried"
    ]


def _maturity() -> str:
    """Every row of the maturity model with the test that proves it."""
    lines = ["# The maturity model", ""]
    lines += [
        "Every characteristic that the levels show, and the test that proves it.",
        "",
    ]
    for each in levels():
        lines += [f"## {each.title}", ""]
        for area, title in practices.areas().items():
            rows = [row for row in _rows(each) if row.area == area]
            if rows:
                lines += [
                    f"### {title} {{ #{area}-{each.number} }}",
                    "",
                    "| row | says | proved by |",
                    "|---|---|---|",
                ]
            for row in rows:
                proof = practices.proof_of(row.id)
                test = f"`{PurePosixPath(proof.file).name}`, `{proof.name}`"
                lacks = "*lacks:* " if row.absent else ""
                lines.append(f'| <span id="{row.id.lower()}">{row.id}</span> | {lacks}{row.says} | {test} |')
            if rows:
                lines.append("")
    return "\n".join(lines) + "\n"
