"""The command `ladder lab` and the output of its options."""

import difflib
import os
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ladder import UserError, workcopy
from ladder.lab import progress
from ladder.lab.checks import Finding, check
from ladder.lab.definition import Lab, LabStep, lab_of, labs
from ladder.lab.work import (
    activation_commands,
    begin,
    fill_placeholders,
    folder_of,
    is_prepared,
    make_ladder_importable,
    name_for_old,
    run_solution,
)
from ladder.output import print_line
from ladder.service import free_port, is_port_free

PORT = 8000

PASSED, INCOMPLETE, CHECKER_FAILED = 0, 1, 2  # exit statuses of a check

LADDER = f"{'python' if os.name == 'nt' else 'python3'} -m ladder"  # works whether or not activated

MARKS = {True: ("passed", "green"), False: ("to do", "bold yellow"), None: ("check failed", "bold red")}
WARNING = ("warning", "yellow")


def overview(console: Console) -> None:
    """All labs, with how far one is."""
    done = progress.load()
    table = Table(title="Labs", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("lab", "title", "level", "minutes", "progress"):
        table.add_column(column, justify="right" if column in {"lab", "level", "minutes"} else "left")
    for lab in labs().values():
        level = "" if lab.level is None else str(lab.level)
        title = f"{lab.title} (optional)" if lab.optional else lab.title
        state = done.of(lab.number).state if lab.number in done.labs else ""
        table.add_row(str(lab.number), title, level, str(lab.minutes), state)
    console.print(table)
    print_line(console, f"\n{LADDER} lab N starts or shows a lab. Your progress: {progress.path()}")


def show(number: int, console: Console, *, again: bool = False) -> None:
    """Print the lab; start it if needed, or again. Raises UserError."""
    lab, folder = lab_of(number), folder_of(lab_of(number))
    if again or (lab.has_folder and not folder.is_dir()):
        _begin(lab, console)
    done = progress.load()
    _print(lab, done.of(number).port, console)


def prepare(console: Console) -> None:
    """Make the starting state of every lab that was not begun, so that each then begins at once."""
    for lab in labs().values():
        if not is_prepared(lab):
            with console.status(f"lab {lab.number}: {lab.title}"):
                begin(lab, _port())
                workcopy.remove(folder_of(lab))
            console.print(f"lab {lab.number} is ready")


def _begin(lab: Lab, console: Console) -> Path:
    """Create the lab's folder in its starting state, and reset its progress."""
    port = _port()
    with console.status(f"making the starting state of lab {lab.number}: the first time up to two minutes"):
        folder = begin(lab, port)
    with progress.change(lab.number) as entry:
        entry.restart(port)
    return folder


def _port() -> int:
    return PORT if is_port_free(PORT) else free_port()


def _print(lab: Lab, port: int, console: Console) -> None:
    level = "" if lab.level is None else f"level {lab.level}, "
    console.print(
        f"\n[bold]Lab {lab.number}: {lab.title}[/bold]  [dim]{level}about {lab.minutes} minutes[/dim]\n"
    )
    console.print(lab.scenario.strip(), markup=False)
    console.print(f"\n[bold]Goal[/bold]  {escape(lab.goal.strip())}\n")
    if folder_of(lab).is_dir():
        _print_activation(lab, console)
    for number, step in enumerate(lab.steps, start=1):
        _print_step(number, step, port, folder_of(lab), console)
    console.print(f"\nThen: [green]{LADDER} lab {lab.number} --check[/green]  (stuck? --hint)\n")


def _print_activation(lab: Lab, console: Console) -> None:
    importable = make_ladder_importable()
    console.print("Type this in each terminal that you work in:")
    for shell, commands in activation_commands(folder_of(lab), importable=importable).items():
        console.print(f"  [dim]{shell}[/dim]" if shell else "", end="\n" if shell else "")
        for each in commands:
            print_line(console, f"  {each}", "green")
    console.print()


def _print_fresh(lab: Lab, old: Path | None, console: Console) -> None:
    if old is not None:
        console.print(
            f"This is a fresh copy. Your earlier one is now {old.name}; terminals opened in it are"
            " still there, so `cd` again."
        )
    _print_activation(lab, console)


def _print_step(number: int, step: LabStep, port: int, folder: Path, console: Console) -> None:
    console.print(fill_placeholders(f"[bold]{number}.[/bold] {escape(step.says.strip())}", port, folder))
    if step.edits:
        names = ", ".join(dict.fromkeys(each.file for each in step.edits))
        console.print(f"   [cyan]edit[/cyan] {names}")
    if step.run and step.folder != ".":
        console.print(f"   [dim]in the folder[/dim] {step.folder}")
    if step.run:
        command = fill_placeholders(step.run, port, folder).replace("python -m ladder", LADDER)
        print_line(console, f"   {command}", "green")
    if step.background:
        console.print("   [dim]in a second terminal; leave it running[/dim]")
    if step.look:
        console.print(Padding(f"[dim]Look:[/dim] {escape(step.look.strip())}", (0, 0, 0, 3)))
    console.print()


def run_check(number: int, console: Console) -> int:
    """Check the lab, print the result of each criterion, and record success. Returns the exit status."""
    lab = lab_of(number)
    if lab.has_folder and not folder_of(lab).is_dir():
        raise UserError(f"lab {number} has not been started: {LADDER} lab {number}")
    progress.load()  # an invalid file is reported before the check, which takes a while
    with console.status("checking"):
        findings = check(lab, folder_of(lab))
    return _report(lab, findings, console)


def _report(lab: Lab, findings: list[Finding], console: Console) -> int:
    table = Table(title=f"Lab {lab.number}: {lab.title}", title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("criterion", ratio=1, overflow="fold")
    for each in findings:
        warns = each.passed is False and each.criterion.warns
        word, style = WARNING if warns else MARKS[each.passed]
        tip = ""
        if each.passed is False:
            tip = f"\n[dim]found: {escape(each.found)}[/dim]\n-> {escape(each.criterion.tip.strip())}"
        if each.passed is None:
            tip = f"\n[red]the check itself failed: {escape(each.found)}[/red]"
        table.add_row(f"[{style}]{word}[/{style}]", f"{escape(each.criterion.says.strip())}{tip}")
    console.print(table)
    failed = [each for each in findings if each.passed is None]
    left = [each for each in findings if each.passed is False and not each.criterion.warns]
    if failed:
        console.print(
            f"[bold red]The checker failed[/bold red] on {len(failed)} of {len(findings)} criteria: this is"
            " not your fault. Try again, then ask the workshop leader."
        )
        return CHECKER_FAILED
    if left:
        console.print(
            f"[bold yellow]Incomplete[/bold yellow]: {len(left)} of {len(findings)} criteria are left."
            f" A hint: {LADDER} lab {lab.number} --hint"
        )
        return INCOMPLETE
    with progress.change(lab.number) as entry:
        entry.passed = entry.passed or datetime.now().replace(microsecond=0)
    console.print(f"[bold green]Passed.[/bold green] Lab {lab.number} is done.\n")
    console.print(f"[bold]To discuss[/bold]  {escape(lab.discussion.question.strip())}")
    return PASSED


def hint(number: int, console: Console) -> None:
    """Print the next, more concrete hint; after the last one, all of them. Raises UserError."""
    lab = lab_of(number)
    with progress.change(number) as entry:
        entry.hints = min(entry.hints + 1, len(lab.hints))
    for place, text in enumerate(lab.hints[: entry.hints], start=1):
        latest = place == entry.hints
        console.print(
            Padding(f"[bold]Hint {place} of {len(lab.hints)}[/bold]  {escape(text.strip())}", (0, 0, 1, 0)),
            style="" if latest else "dim",
        )
    if entry.hints == len(lab.hints):
        solution = f" The solution: {LADDER} lab {number} --solve --yes" if lab.has_folder else ""
        console.print(f"That was the last one.{solution}")


def solve(number: int, console: Console, *, yes: bool) -> int:
    """Do all steps in a fresh copy, printing the edits, then check. Returns the exit status.

    Raises UserError if the lab was not passed yet and this is not confirmed, or a step fails.
    """
    lab, entry = lab_of(number), progress.load().of(number)
    _refuse_without_folder(lab)
    if not entry.passed and not yes:
        raise UserError(
            f"lab {number} is not passed yet: --hint gives a hint; --solve --yes solves it in a fresh copy"
        )
    passed, old = entry.passed, name_for_old(lab)
    folder = _begin(lab, console)
    with progress.change(number) as entry:  # now, so that a step that fails does not lose the pass
        entry.passed, entry.solution_shown = passed, not passed
    port = entry.port

    def show_step(step: LabStep) -> None:
        _print_step(lab.steps.index(step) + 1, step, port, folder, console)
        for change in step.edits:
            _print_change(change.file, change.old or "", change.new, console)

    with run_solution(lab, folder, port, show_step):
        findings = check(lab, folder)
    status = _report(lab, findings, console)
    _print_fresh(lab, old, console)
    console.print(f"[bold]A possible answer[/bold]  {escape(lab.discussion.answer.strip())}")
    return status


def _print_change(file: str, old: str, new: str, console: Console) -> None:
    console.print(f"   [cyan]{file}[/cyan]")
    for line in difflib.ndiff(old.splitlines(), new.splitlines()):
        if not line.startswith("?"):
            print_line(console, f"     {line}", {"+": "green", "-": "red"}.get(line[0], "dim"))
    console.print()


def reset(number: int, console: Console) -> None:
    """Make the lab's copy anew, and print the lab. Raises UserError."""
    lab = lab_of(number)
    _refuse_without_folder(lab)
    old = name_for_old(lab)
    show(number, console, again=True)
    _print_fresh(lab, old, console)


def _refuse_without_folder(lab: Lab) -> None:
    if not lab.has_folder:
        raise UserError(f"lab {lab.number} is about this machine: the tips of --check say what to do")
