"""The command `ladder assess`."""

import json
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.theme import Theme

from ladder import UserError, git
from ladder.assess import answers, report
from ladder.assess.backlog import backlog, compare
from ladder.assess.judge import assess
from ladder.assess.rules import rules
from ladder.assess.tree import Tree, read_tree
from ladder.output import print_line, save
from ladder.page import assessment
from ladder.practices import every_row
from ladder.source import read

STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True)
class Options:
    """The options of the command."""

    path: Path
    sub: str | None = None
    rev: str | None = None
    ask: bool = False
    answers: Path | None = None
    json: bool = False
    markdown: Path | None = None  # also STANDARD_OUTPUT
    html: Path | None = None
    min_level: int | None = None
    old: Path | None = None
    every: bool = False


def run(options: Options, console: Console) -> bool:
    """Assess a project and write the reports. Returns whether it reaches `min_level`. Raises UserError."""
    tree = read_tree(options.path, options.sub, options.rev)
    given = _answers(tree, options)
    if options.ask:
        given = _asked(tree, given, options, console)
    found = assess(tree, given, every_row())
    made = backlog(found)
    changes = None if options.old is None else compare(_old(options.old), found)
    whole = assessment.markdown(found, made, changes)
    if options.json:
        content = report.as_json(found, made, changes)
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    elif options.markdown == STANDARD_OUTPUT:
        sys.stdout.write(whole)
    else:
        shown = whole if options.every else assessment.markdown(found, made, changes, every=False)
        with console.use_theme(Theme({"markdown.code": "cyan"})):
            console.print(Markdown(shown))
    if options.markdown not in (None, STANDARD_OUTPUT):
        _write(whole, options.markdown, console)
    if options.html is not None:
        _write(assessment.render(found, made, changes), options.html, console)
    if options.min_level is not None and found.level < options.min_level:
        print(f"level {found.level} is below --min-level {options.min_level}", file=sys.stderr)
        return False
    return True


def _write(content: str, path: Path, console: Console) -> None:
    save(content, path)
    console.print(f"Written: {path}", soft_wrap=True)


def _answers(tree: Tree, options: Options) -> answers.Answers:
    if options.answers is not None and (options.answers.exists() or not options.ask):
        text, where = read(options.answers), str(options.answers)
    else:
        text, where = tree.files.get(answers.FILE, ""), answers.FILE
    return answers.parse(text, where, rules())


def _asked(tree: Tree, given: answers.Answers, options: Options, console: Console) -> answers.Answers:
    """Ask on the terminal, and save the answers in the project, or in the file named by `--answers`."""
    if not sys.stdin.isatty():
        raise UserError("--ask needs a terminal; otherwise fill in maturity-answers.yaml (see --questions)")
    if options.rev is not None and options.answers is None:
        raise UserError("--ask with --rev: name a file for the answers with --answers")
    known = assess(tree, given, every_row()).practices
    unanswered = [each for each in rules().practices if each.asks and not known[each.id].seen]
    who = git.setting(tree.root, "user.name") or "unknown"
    console.print("Ctrl-D stops and saves the answers so far.", style="dim")
    new = answers.ask(
        unanswered, given, who, date.today().isoformat(), lambda text: console.input(text, markup=False)
    )
    path = options.answers or tree.root / answers.FILE
    if new:
        answers.save(path, new)
        console.print(f"Written: {path}", highlight=False, soft_wrap=True)
    return given.model_copy(update={"practices": {**given.practices, **new}})


def questions(console: Console) -> None:
    """Print the questions, as a file to fill in."""
    lines = [f"  # {each.asks}\n  {each.id}: unknown" for each in rules().practices if each.asks]
    print_line(console, "\n".join([f"{answers.HEAD}by: NAME\non: 2026-01-31\nanswers:", *lines]))


def _old(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read(path))
    except ValueError:
        raise UserError(f"--compare {path}: not JSON; give a file that --json wrote") from None
    if not isinstance(content, dict) or not {"version", "level", "areas", "rows"} <= content.keys():
        raise UserError(f"--compare {path}: not a report of `ladder assess --json`")
    if content["version"] != report.VERSION:
        raise UserError(
            f"--compare {path}: version {content['version']}, not {report.VERSION}; create a new one"
        )
    return content
