"""One word for a concept: words that docs/glossary.md replaces stand in no code, message or page."""

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from ladder import ROOT

KINDS = {".css", ".html", ".j2", ".js", ".md", ".py", ".toml", ".yaml", ".yml"}
# Made by tools, by others, or holding other people's titles.
LEFT_OUT = re.compile(r"(/static/uplot/|^docs/(compare\.html|assets/|diagrams/)|test_vocabulary\.py$)")
# In any text: a pattern, and the word to use.
WORDS = {
    r"\btwins?\b": "holdout model",
    r"\byardsticks?\b": "baseline",
    r"\bstrangers?\b": "out-of-band promotion",
    r"\bon record\b": "logged, or stored",
    r"\btak(e|en|es|ing) back\b": "rolled back",
    r"\bwhat users (were|are) given\b": "prediction",
    r"\bkept cases?\b": "regression case",
    r"\bwhoever\b": "the person, or the program, meant",
    r"\bany good model\b": "behavioral test",
    r"\bwhat is usual\b": "typical value, or expected range",
    r"\bpromised? error\b": "reference error",
    r"\bjournals?\b(?! of)": "event log",
    r"\b(a|each|every|next|last|one) turn\b": "monitoring cycle",
    r"\b(a|each|every|next|last|one|first) look\b(?! at)": "monitoring cycle",
}
# In code: names that say nothing of what they hold.
NAMES = {
    *("said", "told", "asked", "stranger", "twin", "yardstick", "journal", "lived", "living", "alone"),
    *("beside", "whoever"),
}


def files() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if Path(name).suffix in KINDS and not LEFT_OUT.search(name) and (ROOT / name).is_file():
            yield ROOT / name


@pytest.mark.parametrize("pattern", WORDS, ids=WORDS.values())
def test_no_text_has_a_word_that_the_glossary_replaces(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)


def names(text: str) -> Iterator[tuple[str, int]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string, token.start[0]


def test_no_name_in_code_is_a_private_metaphor() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files()
        if path.suffix == ".py"
        for name, line in names(path.read_text(encoding="utf-8"))
        if name in NAMES
    ]
    assert not found, "\n".join(found)


def test_no_file_has_an_unresolved_conflict() -> None:
    marked = ["git", "grep", "--extended-regexp", "--line-number", "-I", "^(<{7}|>{7}) "]
    assert subprocess.run(marked, cwd=ROOT, capture_output=True, text=True).stdout == ""


def test_such_words_are_found() -> None:
    assert any(re.search(pattern, "after a turn of the loop") for pattern in WORDS)
    assert [name for name, _ in names("told = said(1)")] == ["told", "said"]
