"""People's answers, from `maturity-answers.yaml` or the terminal."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ladder import UserError
from ladder.assess.rules import Practice, Rules
from ladder.source import TextLoader, text_of

FILE = "maturity-answers.yaml"
SAYS = {
    "yes": "yes", "true": "yes", "no": "no", "false": "no", "unknown": "unknown",
    "not applicable": "not applicable", "not supported": "not supported", "not detected": "not detected",
}  # fmt: skip
NEEDS_REASON = ("not applicable", "not supported", "not detected")
HEAD = """\
# Facts about the team that no file shows, answered by people for an assessment. `by` and `on`: who answered,
# and when; an answer may have its own. Questions are answered by id with yes or no. Rows are marked by id as
# not applicable (they do not count), not supported (a known gap) or not detected (nobody knows), with the
# reason in `because`.
"""


@dataclass(frozen=True)
class Answer:
    """An answer, with author, date and reason."""

    says: str
    by: str
    on: str
    because: str = ""


@dataclass(frozen=True)
class Answers:
    """All answers: to questions by the id of their practice, and on rows."""

    practices: Mapping[str, Answer] = field(default_factory=dict)
    rows: Mapping[str, Answer] = field(default_factory=dict)


def parse(text: str, where: str, known: Rules) -> Answers:
    """Read the file's content. Raises UserError with one line that names the mistake."""
    try:
        content = yaml.load(text, TextLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    if content is None or content == "":
        return Answers()
    if not isinstance(content, dict):
        raise UserError(f"{where}: needs `by`, `on` and `answers`")
    if extra := content.keys() - {"version", "by", "on", "answers", "rows"}:
        raise UserError(f"{where}: unknown key {sorted(extra)[0]}; there are by, on, answers and rows")
    ids = [each.id for each in known.practices]
    return Answers(
        _listed(content, "answers", ids, where),
        _listed(content, "rows", list(known.rows), where),
    )


def _listed(content: Mapping[str, Any], key: str, known: list[str], where: str) -> dict[str, Answer]:
    listed = content.get(key) or {}
    if not isinstance(listed, dict):
        raise UserError(f"{where}: {key} has to be a mapping")
    read = (
        (name, _answer(name, each, content, known, f"{where}: {key}.{name}")) for name, each in listed.items()
    )
    return {name: answer for name, answer in read if answer is not None}


def _answer(name: str, given: Any, content: Mapping[str, Any], known: list[str], where: str) -> Answer | None:
    """The answer; None if it is unknown."""
    if name not in known:
        raise UserError(f"{where}: unknown; `ladder assess --questions` lists the questions")
    entry = given if isinstance(given, dict) else {"answer": given}
    if extra := entry.keys() - {"answer", "because", "by", "on"}:
        raise UserError(f"{where}: unknown key {sorted(extra)[0]}; there are answer, because, by and on")
    says = SAYS.get(str(entry.get("answer", "")).strip().lower())
    if says is None:
        raise UserError(f"{where}: answer yes, no, unknown, not applicable, not supported or not detected")
    if says == "unknown":  # the question stays open
        return None
    by, on = str(entry.get("by") or content.get("by") or ""), str(entry.get("on") or content.get("on") or "")
    if not by or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", on):
        raise UserError(f"{where}: `by` and `on` (like 2026-01-31) are required, there or at the top level")
    because = str(entry.get("because") or "")
    if says in NEEDS_REASON and not because:
        raise UserError(f"{where}: {says} needs a reason (`because`)")
    return Answer(says, by, on, because)


def ask(
    practices: list[Practice], given: Answers, by: str, on: str, read: Callable[[str], str]
) -> dict[str, Answer]:
    """Ask for the author (default: `by`), then for all open questions.

    An empty line leaves a question open, the end of the input all that follow.
    """
    found: dict[str, Answer] = {}
    wanted = [each for each in practices if each.id not in given.practices]
    with suppress(EOFError):
        by = read(f"Who answers? [{by}] ").strip() or by
        for at, each in enumerate(wanted, 1):
            reply = read(f"[{at}/{len(wanted)}] {each.asks} [y/n, Enter: unknown] ").strip().lower()
            if reply[:1] in ("y", "n"):
                found[each.id] = known = Answer("yes" if reply[0] == "y" else "no", by, on)
                found[each.id] = replace(known, because=read("    Source (person or document)? ").strip())
    return found


def save(path: Path, new: Mapping[str, Answer]) -> None:
    """Add answers to the file. Other content is kept, comments are lost."""
    content: dict[str, Any] = {}
    if path.is_file():
        content = yaml.load(text_of(path.read_bytes()), TextLoader) or {}
    answers = content.setdefault("answers", {})
    for name, each in new.items():
        answers[name] = {"answer": each.says, "by": each.by, "on": each.on} | (
            {"because": each.because} if each.because else {}
        )
    path.write_text(
        HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8"
    )
