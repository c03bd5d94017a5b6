"""People's answers, from `maturity-answers.yaml` or the terminal."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, model_validator

from ladder import UserError
from ladder.assess.rules import Practice, Rules
from ladder.source import Strict, TextLoader, parsed_yaml, read, validated

FILE = "maturity-answers.yaml"
HEAD = """\
# Facts about the team that no file shows, answered by people for an assessment. `by` and `on`: who answered,
# and when; an answer may have its own. Questions are answered by id with yes or no. Rows are marked by id as
# not applicable (they do not count), not supported (a known gap) or not detected (nobody knows), with the
# reason in `because`.
"""


def _canonical(given: Any) -> Any:
    """Yes and no as people write them."""
    text = given.strip().lower() if isinstance(given, str) else given
    return {"true": "yes", "false": "no"}.get(text, text)


class Answer(Strict):
    """An answer, with author, date and reason."""

    says: Annotated[
        Literal["yes", "no", "unknown", "not applicable", "not supported", "not detected"],
        BeforeValidator(_canonical),
    ] = Field(alias="answer")
    by: str = ""
    on: str = Field(default="", pattern=r"^\d{4}-\d{2}-\d{2}$")
    because: str = ""

    @model_validator(mode="after")
    def _reasoned(self) -> Self:
        if self.says.startswith("not ") and not self.because:
            raise ValueError(f"{self.says} needs a reason (`because`)")
        return self


Listed = Annotated[
    dict[str, Annotated[Answer, BeforeValidator(lambda it: {"answer": it} if isinstance(it, str) else it)]],
    BeforeValidator(lambda it: it or {}),  # a key without a value
]


class Answers(Strict):
    """All answers: to questions by the id of their practice, and on rows."""

    practices: Listed = Field(default={}, alias="answers")
    rows: Listed = Field(default={})
    by: str = ""  # these two: of answers without their own
    on: str = Field(default="", pattern=r"^\d{4}-\d{2}-\d{2}$")
    version: str = ""


def parse(text: str, where: str, known: Rules) -> Answers:
    """Read the file's content. Raises UserError with one line that names the mistake."""
    found = validated(Answers, parsed_yaml(text, TextLoader, where) or {}, Path(where))
    ids = {"answers": {each.id for each in known.practices}, "rows": known.rows.keys()}
    for key, name, each in (
        *(("answers", *pair) for pair in found.practices.items()),
        *(("rows", *pair) for pair in found.rows.items()),
    ):
        if name not in ids[key]:
            raise UserError(f"{where}: {key}: unknown {name}; see `ladder assess --questions`")
        if key == "answers" and each.says == "not applicable":
            raise UserError(f"{where}: {name}: not an answer to a question; mark its row, in `rows`")
        if each.says != "unknown" and not ((each.by or found.by) and (each.on or found.on)):
            raise UserError(f"{where}: {name} needs `by` and `on` (like 2026-01-31), or the file does")
    return found.model_copy(
        update={"practices": _completed(found, found.practices), "rows": _completed(found, found.rows)}
    )


def _completed(file: Answers, listed: Mapping[str, Answer]) -> dict[str, Answer]:
    """The answers with author and date; unknown ones leave their question open."""
    return {
        name: each.model_copy(update={"by": each.by or file.by, "on": each.on or file.on})
        for name, each in listed.items()
        if each.says != "unknown"
    }


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
                known = Answer(answer="yes" if reply[0] == "y" else "no", by=by, on=on)
                found[each.id] = known
                source = read("    Source (person or document)? ").strip()
                found[each.id] = known.model_copy(update={"because": source})
    return found


def save(path: Path, new: Mapping[str, Answer]) -> None:
    """Add answers to the file. Other content is kept, comments are lost."""
    content: dict[str, Any] = {}
    if path.is_file():
        content = parsed_yaml(read(path), TextLoader, str(path)) or {}
    answers = content["answers"] = content.get("answers") or {}
    for name, each in new.items():
        answers[name] = each.model_dump(by_alias=True, exclude_defaults=True)
    path.write_text(
        HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8"
    )
