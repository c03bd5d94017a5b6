"""Replays a story at one level in its working copy, day by day, using only the level's own commands."""

import contextlib
import hashlib
import json
import os
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ladder import UserError, runbook, users
from ladder.compare import questions
from ladder.compare.results import Event, RecordedPrediction, ReplayResult, StepDone
from ladder.levels import Level
from ladder.runbook import ByDate, Due, Team
from ladder.service import Service
from ladder.steps import enter, environment, run_in_process, run_step
from ladder.story import Story
from ladder.warm.python import WarmPython
from ladder.workcopy import home
from ladder.workers import Progress, Report
from ladder.world.feedfile import update_feed, write_feed

POLL_TIMEOUT_SECONDS = 60  # by then an application has certainly polled its registry
NOON = 12
LAST_DAYS = 7  # over which the error is reported while it runs


@dataclass(frozen=True)
class Job:
    """A level, its working copy, the story and the plan: everything that its process needs.

    With `questions`, those of the runbook are asked at the end.
    """

    level: Level
    folder: Path
    story: Story
    plan: tuple[Due, ...]
    team: Team
    questions: bool = True
    by_date: ByDate | None = None

    @property
    def first(self) -> date:
        """The day on which people start the first release."""
        return min(due.on for due in self.plan)

    @property
    def days(self) -> int:
        return (self.story.end - self.first).days + 1


def replay(job: Job, report: Report) -> ReplayResult:
    """Replay the story; `report` is called after each day.

    Day D: the feed through D-1 is published, scheduled steps and people's due steps are done, then the day's
    requests are sent, and the labels if the level accepts them. Raises UserError if a step fails.
    """
    enter(job.folder)
    with contextlib.ExitStack() as stack:
        warm = stack.enter_context(WarmPython(home() / "tools" / "warm")) if job.level.number > 1 else None
        return _Replay(job, stack, warm).run(report)


class _Replay:
    """The replay of one level: the events of a day, and the recorded results."""

    def __init__(self, job: Job, stack: contextlib.ExitStack, warm: WarmPython | None = None) -> None:
        self._job, self._warm = job, warm
        self._folder, self._story = job.folder, job.story
        self._result = ReplayResult(job.level.number, pd.DataFrame())
        self._predictions: list[float | None] = []  # for each hour, in order
        self._version: str | None = None  # that was live on the last day
        self._refused: set[int] = set()  # releases that a gate ended
        self._corrected: date | None = None  # hours of the feed before this day were corrected
        self._recent: deque[tuple[float, int]] = deque(maxlen=LAST_DAYS)  # error and hours of a day
        self._last = ""  # the latest event
        self._book = runbook.load(job.folder)
        self._question_day = questions.asked_about(job.story)
        self._due: dict[date, list[Due]] = defaultdict(list)
        for due in job.plan:
            self._due[due.on].append(due)
        self._planned = {due.release for due in job.plan}
        requests, known = job.story.requests(), job.story.clean_rows()
        self._requests = dict(iter(requests.groupby(requests["timestamp"].dt.date)))
        self._known = dict(iter(known.groupby(known["timestamp"].dt.date)))
        self._before = sum(os.times()[:4])  # this process and its children, user and system
        self._service: Service | None = None
        if job.level.number > 0:
            self._service = stack.enter_context(
                Service(job.folder, job.folder / "state" / "service.log", env=environment())
            )
            self._client = stack.enter_context(self._service.client())

    def run(self, report: Report) -> ReplayResult:
        """Replay all days, then ask the questions while the application is still running."""
        for number in range(self._job.days):
            day = self._job.first + timedelta(days=number)
            self._publish(day)
            for step in self._book.daily:
                run_step(step, self._folder, run_in_process, self._service)
            for due in self._due[day]:
                self._do(due)
            if day >= self._story.start:
                self._users(day)
            report(self._progress(day))
        result = self._result
        result.predictions = self._story.clean_rows()[["timestamp"]].assign(
            prediction=pd.array(self._predictions, dtype="Float64").to_numpy(
                dtype=float, na_value=float("nan")
            )
        )
        result.failed_requests = int(result.predictions["prediction"].isna().sum())
        if self._book.status_command:
            result.reported = json.loads(run_in_process(self._book.status_command, self._folder))
            result.trainings = len(result.reported["trainings"])
        result.machine_seconds = round(self.seconds(), 1)  # what follows is not the level's own work
        if self._job.questions and result.recorded_prediction is not None:
            copy_to = self._folder.with_name(f"{self._folder.name}-copy")
            result.questions = questions.ask(
                self._book, self._folder, result.recorded_prediction, run_in_process, copy_to
            )
        return result

    def seconds(self) -> float:
        """CPU seconds of the replay so far, including a running application."""
        running = self._service.cpu_seconds() if self._service is not None else 0.0
        running += self._warm.cpu_seconds() if self._warm is not None else 0.0
        return sum(os.times()[:4]) - self._before + running

    def _publish(self, day: date) -> None:
        corrected = self._corrected
        if (self._folder / "feed").exists():
            since = _first_that_may_change(day)
            update_feed(self._story.published(day, since, corrected), self._folder / "feed")
        else:
            write_feed(self._story.published(day, corrected=corrected), self._folder / "feed")

    def _do(self, due: Due) -> None:
        """Do a due step. Raises UserError if a step other than a gate fails."""
        step, result = due.step, self._result
        if due.release in self._refused and step not in self._book.after_refusal:
            return
        live = self._live()
        result.trainings += step.trains
        result.release_steps += step.by_hand
        began = time.monotonic()
        if step.corrects:
            self._correct(due.on)
        try:
            run_step(step, self._folder, run_in_process, self._service)
        except UserError as error:
            if not step.gate:
                raise
            result.steps.append(
                StepDone(due.release, step.id, due.on, time.monotonic() - began, refused=str(error))
            )
            self._refused.add(due.release)
            self._note(Event(on=due.on, kind="refused", says=f"{step.id}: {error}"))
            self._see_to(due)
            return
        result.steps.append(StepDone(due.release, step.id, due.on, time.monotonic() - began))
        self._last = f"{step.id}: {step.who}"
        if step.id == self._book.release[-1].id:
            if self._service is None:
                self._released(due.on, None)
            elif step.by_hand and live is not None:  # a machine's command waits itself until it is done
                self._wait_for_another_than(live)

    def _see_to(self, refused: Due) -> None:
        """Plan what people do about a release that a gate refused; they retry it at most once."""
        if refused.release not in self._planned:
            return
        number = max(self._planned) + 1 + refused.release
        for due in runbook.plan_again(self._job.team, self._book, refused, number):
            self._due[due.on].append(due)

    def _correct(self, day: date) -> None:
        """The operator corrects the feed until that day."""
        self._corrected = day
        wrong = write_feed(self._story.published(day, corrected=day), self._folder / "feed")
        months = " and ".join(path.stem for path in wrong)
        found = f"The operator corrected {months}" if wrong else "Nothing is wrong with the feed"
        then = "; the release begins once more" if self._book.retry_after_refusal else ""
        self._note(Event(on=day, kind="acted", says=f"{found}{then}."))

    def _users(self, day: date) -> None:
        """Send the requests of the day, then post its outcomes."""
        result, service = self._result, self._service
        if service is not None and not service.is_running():
            self._start(service)
        live = self._live()
        if live is not None and live != self._version:  # promoted by a person or by the level
            self._released(day, live)
            self._version = live
        result.daily_steps += sum(step.by_hand for step in (*self._book.daily, *self._book.predict))
        if day in self._requests:
            predictions = self._predict(day)
            known = self._known[day]["count"].tolist()
            self._predictions += predictions
            self._recent.append(
                (
                    sum(abs((one or 0.0) - true) for one, true in zip(predictions, known, strict=True)),
                    len(known),
                )
            )
            if service is not None and self._book.outcomes_path:
                users.post_outcomes(self._known[day], self._client, self._book.outcomes_path)

    def _predict(self, day: date) -> list[float | None]:
        rows = self._requests[day]
        noon = int((rows["timestamp"].dt.hour - NOON).abs().to_numpy().argmin())
        if self._service is None:
            score = partial(run_in_process, "python score.py day.csv predictions.csv", self._folder)
            predictions = users.predict_from_file(rows, self._folder, score)
            noted: dict[str, Any] = {}
        else:
            responses = users.responses(rows, self._client)
            predictions = [None if one is None else float(one["prediction"]) for one in responses]
            noted = responses[noon] or {}
        if day == self._question_day:
            version = noted.get("model_version")
            self._result.recorded_prediction = RecordedPrediction(
                day, None if version is None else str(version), noted.get("id"), self._digests()
            )
        return predictions

    def _digests(self) -> dict[str, str]:
        """Digests of the files that a question will compare with their later state."""
        kept = [name for name in self._book.digest_files if (self._folder / name).is_file()]
        return {name: hashlib.sha256((self._folder / name).read_bytes()).hexdigest() for name in kept}

    def _released(self, day: date, version: str | None) -> None:
        self._result.releases.append(day)
        says = "another model" if version is None else f"version {version}"
        self._note(Event(on=day, kind="released", says=f"{says} is live"))

    def _note(self, event: Event) -> None:
        self._result.events.append(event)
        self._last = f"{event.kind}: {event.says}" if event.kind == "refused" else event.says

    def _live(self) -> str | None:
        """The version shown to users; None if no application is running, or it has no model."""
        if self._service is None or not self._service.is_running():
            return None
        response = self._client.get("/model")
        return str(response.json()["version"]) if response.is_success else None

    def _start(self, service: Service) -> None:
        """Start the application and wait for its model: it responds before it has one."""
        service.start()
        self._wait_for_another_than(None)

    def _wait_for_another_than(self, live: str | None) -> None:
        """Wait for the live version to change: a story's day is shorter than a registry poll may take."""
        until = time.monotonic() + POLL_TIMEOUT_SECONDS
        while self._live() == live and time.monotonic() < until:
            time.sleep(0.05)

    def _progress(self, day: date) -> Progress:
        recent, result = self._recent, self._result
        hours = sum(number for _, number in recent)
        return Progress(
            day,
            (day - self._job.first).days + 1,
            error=sum(error for error, _ in recent) / hours if hours else None,
            releases=len(result.releases),
            last=self._last,
            seconds=self.seconds(),
        )


def _first_that_may_change(day: date) -> pd.Timestamp:
    """The first hour of the month before that of the day: no fault delays an hour by more than a month."""
    return pd.Timestamp((day.replace(day=1) - timedelta(days=1)).replace(day=1))
