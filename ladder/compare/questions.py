"""Asks a level three questions about an old prediction after its story: can it answer them?"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ladder import UserError, workcopy
from ladder.compare.results import Answer, RecordedPrediction
from ladder.runbook import Procedure, Question, Runbook, fill_placeholders
from ladder.steps import Run, run_command
from ladder.story import Story

ASKS: dict[Question, str] = {
    "reproduce": "Can you reproduce the model of {day:%B %Y}?",
    "training_data": "Which data was the model of this prediction trained on?",
    "released_by": "Who released it, and why?",
}
NOBODY = Procedure(answer="No procedure is documented for this.")


def asked_about(story: Story) -> date:
    """The day that the questions are about: the 15th of the last March in the story, else its middle."""
    march = (date(year, 3, 15) for year in range(story.end.year, story.start.year - 1, -1))
    middle = story.start + timedelta(days=(story.end - story.start).days // 2)
    return next((day for day in march if story.start <= day <= story.end), middle)


def ask(book: Runbook, folder: Path, recorded: RecordedPrediction, run: Run, copy_to: Path) -> list[Answer]:
    """Ask the questions about a recorded prediction in the project in `folder`.

    `run` executes a command there. Commands that need a copy of the project run in `copy_to`, which is
    created and removed again. A command that serves two questions is run once.
    """

    @cache
    def once(command: str) -> _Done:
        with contextlib.chdir(folder):
            return _timed(lambda: run(command, folder))

    answers = []
    for question, asks in ASKS.items():
        procedure = book.questions.get(question, NOBODY)
        command = _filled(procedure.command, recorded) if procedure.command is not None else None
        says = _filled(procedure.answer or "The output does not contain the answer.", recorded)
        answered, seconds = False, None
        if command is not None and procedure.output_file is not None:
            answered, says, seconds = _reproduced(procedure, command, folder, recorded, copy_to)
        elif command is not None:
            done = once(command)
            found = _lines(procedure, done.output)
            seconds, answered = done.seconds, done.refusal is None and None not in found
            says = "; ".join(line for line in found if line) if answered else done.refusal or says
        answers.append(
            Answer(
                question=question,
                asks=asks.format(day=recorded.on),
                command=command,
                answered=answered,
                says=says,
                seconds=seconds,
            )
        )
    return answers


class _Done(NamedTuple):
    """A command's output, the reason if it failed, and its wall seconds."""

    output: str
    refusal: str | None
    seconds: float


def _reproduced(
    procedure: Procedure, command: str, folder: Path, recorded: RecordedPrediction, copy_to: Path
) -> tuple[bool, str, float]:
    """Reproduce a file in a copy of the project: whether it is byte-identical to the one of that day."""
    name, kept = procedure.output_file or "", procedure.digest_files[0]
    then = recorded.digests.get(kept)
    workcopy.remove(copy_to)  # left by an interrupted attempt
    shutil.copytree(folder, copy_to)
    try:
        made = copy_to / name
        made.unlink(missing_ok=True)  # left by an earlier command
        done = _timed(lambda: run_command(command, copy_to))
        if done.refusal is not None:
            return False, done.refusal, done.seconds
        if not made.is_file():
            return False, f"{name} was not created.", done.seconds
        if then is not None and hashlib.sha256(made.read_bytes()).hexdigest() == then:
            return True, f"{name} is byte-identical to the {kept} of {recorded.on}.", done.seconds
    finally:
        workcopy.remove(copy_to)
    says = procedure.answer or f"The result differs from {kept} of {recorded.on}."
    return False, _filled(says, recorded), done.seconds


def _timed(do: Callable[[], str]) -> _Done:
    began = time.perf_counter()
    output, refusal = "", None
    try:
        output = do()
    except UserError as error:
        refusal = str(error)
    return _Done(output, refusal, round(time.perf_counter() - began, 1))


def _lines(procedure: Procedure, output: str) -> list[str | None]:
    """For each pattern the first line that shows it, in single spaces."""
    lines = output.splitlines()
    return [
        next((" ".join(line.split()) for line in lines if pattern.search(line)), None)
        for pattern in procedure.output_patterns
    ]


def _filled(text: str, recorded: RecordedPrediction) -> str:
    carried = {"version": recorded.version, "prediction": recorded.prediction, "day": recorded.on}
    return fill_placeholders(text, {name: value or "?" for name, value in carried.items()})
