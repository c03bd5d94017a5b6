"""The maturity model row by row: proofs, their last results, and the section of a level's README.

`python -m ladder.maturity` writes the last section of each level's README from the model.
"""

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ladder import ROOT, git
from ladder.levels import Level, level, levels
from ladder.practices import Row, areas, every_row, proof_of, rows
from ladder.workcopy import home

HEADING = "## What is met, and what is not"
STYLES = {"passed": "green", "failed": "red"}


def _file() -> Path:
    return home() / "maturity.json"


def store(ended: Mapping[str, str]) -> None:
    """Keep how the proofs of these rows ended, passed or failed, and at which commit."""
    commit = git.run_unchecked(ROOT, "rev-parse", "--short", "HEAD").stdout.strip()
    now = datetime.now(UTC).isoformat(timespec="minutes")
    content = results() | {
        row: {"outcome": outcome, "at": now, "commit": commit} for row, outcome in ended.items()
    }
    with contextlib.suppress(OSError):  # a place that cannot be written: the tests are not worse for it
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def results() -> dict[str, dict[str, str]]:
    """The last result of each row's proof on this machine, for rows whose proof was run."""
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def show(number: int | None, console: Console) -> None:
    """Print the rows of a level, or of all, with their proofs and the last results. Raises UserError."""
    known = results()
    for each in levels() if number is None else (level(number),):
        console.print(Text(f"\n{each.title}" if number is None else each.title, style="bold"))
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=5, style="cyan")
        table.add_column(ratio=1, overflow="fold")
        table.add_column(width=8, justify="right")
        for row in every_row():
            if row.level == each.number:
                table.add_row(row.id, _what(row), _result(row, known))
        console.print(table)
    console.print(_legend(known), style="dim")


def _what(row: Row) -> Text:
    says = Text.assemble(("lacks: " if row.absent else "", "dim"), row.says)
    if row.since:
        says.append(f" (since {row.since})", style="dim")
    if not row.shown:
        return says.append(f"\nnot shown: {row.reason}", style="dim")
    proof = proof_of(row.id)
    return says.append(f"\n{proof.file}:{proof.line} {proof.name}", style="dim")


def _result(row: Row, known: Mapping[str, Mapping[str, str]]) -> Text:
    if not row.shown:
        return Text("-", style="dim")
    outcome = known.get(row.id, {}).get("outcome", "not run")
    return Text(outcome, style=STYLES.get(outcome, "dim"))


def _legend(known: Mapping[str, Mapping[str, str]]) -> str:
    run = sorted(known.values(), key=lambda each: each["at"])
    if not run:
        return "\nNo proof has been run here yet: python -m pytest tests/maturity (or ladder test --all)."
    last = run[-1]
    return f"\n{len(run)} proofs were run here, last at {last['at']} on {last['commit'] or 'no commit'}."


# ---- the READMEs of the levels


def section(number: int) -> str:
    """The last section of a level's README: its rows by area."""
    lines = [HEADING, "", "| area | met | not met, or manual |", "|---|---|---|"]
    for area, title in areas().items():
        own = [each for each in rows() if each.level == number and each.area == area]
        cells = ["; ".join(_plain(each) for each in own if each.absent == lack) for lack in (False, True)]
        if any(cells):
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _plain(row: Row) -> str:
    """The text of a row, for a project that knows of no other levels."""
    return row.says.replace(" than at level 0", " than by email")


def readme(each: Level) -> str:
    """What the README has to be."""
    text = (each.folder / "README.md").read_text(encoding="utf-8")
    return f"{text.split(HEADING)[0].rstrip()}\n\n{section(each.number)}"


def main() -> None:
    """Write them."""
    for each in levels():
        (each.folder / "README.md").write_text(readme(each), encoding="utf-8")


if __name__ == "__main__":
    main()
