"""The timeline of one release of a level: who did what when, from its data until users got it."""

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby
from operator import attrgetter

from ladder.compare.results import ReplayResult, StepDone, Timeline, TimelineStep, day_of
from ladder.runbook import Runbook, Team
from ladder.story import Story

SECONDS_A_DAY = 86_400
LIVE = "went live"  # the outcome of a training whose version was promoted
GATES_AND_TEST = "Gates, then an A/B test against the live version on real requests; promoted if not worse."


def timeline(story: Story, book: Runbook, team: Team, replayed: ReplayResult) -> Timeline | None:
    """The first release after the story's first lasting incident, else the first after its start.

    None if the level released nothing that reached users.
    """
    lasting = next((each for each in story.incidents if each.until is None), None)
    shown = _reported(story, replayed) if book.status_command else _played(book, team, replayed)
    if lasting is not None:
        after = [each for each in shown if each.begins > lasting.since]
        why = f"First release started after {lasting.kind} ({lasting.since})."
    if lasting is None or not after:
        # Without the release that is live from the start.
        after = [each for each in shown if each.begins >= story.start and each.live > story.start]
        why = "First release started after the story began."
    if not after:
        after, why = shown, "The release that was live on the first day; the story has no other."
    return after[0].model_copy(update={"why": why}) if after else None


def _played(book: Runbook, team: Team, replayed: ReplayResult) -> list[Timeline]:
    """The releases that reached users, from the completed steps of the runbook."""
    whole, by_release = [step.id for step in book.release], attrgetter("release")
    releases = [list(steps) for _, steps in groupby(sorted(replayed.steps, key=by_release), key=by_release)]
    done = [steps for steps in releases if [step.id for step in steps if step.refused is None] == whole]
    found = []
    for number, steps in enumerate(done):
        following = done[number + 1][0].on if number + 1 < len(done) else date.max
        ready = steps[-1].on
        if book.release[-1].by_hand:  # they see to it that users get it
            live = ready if ready in replayed.releases else None
        else:
            live = _live(ready, following, replayed.releases)
        if live is not None:
            found.append(_by_steps(book, team, steps, live))
    return found


def _live(done: date, following: date, releases: Sequence[date]) -> date | None:
    """When users got what was ready on a day: at once, or at the latest on the day that brought the next one.

    On that day the machine decides on the earlier one first.
    """
    return next((day for day in releases if done <= day <= following), None)


def _by_steps(book: Runbook, team: Team, steps: Sequence[StepDone], live: date) -> Timeline:
    begins = steps[0].on - timedelta(days=team.days[steps[0].id].days)
    shown: list[TimelineStep] = []
    clock = 0.0
    for step, done in zip(book.release, steps, strict=True):
        takes = team.days[step.id]
        ends = max(clock, (done.on - begins).days - takes.days) + takes.days
        if not takes.days:
            ends += done.seconds / SECONDS_A_DAY
        shown.append(
            TimelineStep(
                id=step.id,
                who=step.who,
                gives_to=step.gives_to,
                does=step.does,
                begins=round(clock, 4),
                ends=round(ends, 4),
                seconds=round(done.seconds, 1) if step.command or step.copies or step.restarts else None,
                assumed=takes.why if step.by_hand else None,
            )
        )
        clock = ends
    if live > steps[-1].on:
        shown.append(_step("tested", GATES_AND_TEST, clock, (live - begins).days))
    return Timeline(begins=begins, live=live, why="", steps=tuple(shown))


def _step(step: str, does: str, begins: float, ends: float) -> TimelineStep:
    """A step of the machine."""
    return TimelineStep(id=step, does=does, begins=round(begins, 4), ends=round(max(begins, ends), 4))


def _reported(story: Story, replayed: ReplayResult) -> list[Timeline]:
    """The releases of a fully automatic level, from its report on its trainings."""
    trainings = sorted(replayed.reported.get("trainings", ()), key=lambda each: str(each["at"]))
    found = []
    for number, training in enumerate(trainings):
        at = day_of(training["at"])
        later = [day_of(each["at"]) for each in trainings[number + 1 :]]
        live = _live(at, min(later, default=story.end), replayed.releases)
        if training["detail"].get("result") != LIVE or live is None:
            continue
        noticed, waits = _noticed(at, trainings[:number], replayed)
        steps = []
        if noticed is not None:
            steps.append(_step("notice", "Notices: " + noticed["description"], 0, 0))
            begins = day_of(noticed["detected_at"])
            if begins < at:
                steps.append(_step("wait", waits, 0, (at - begins).days))
        else:
            begins = at
        since = (at - begins).days
        steps.append(_step("train", "Trains: " + training["reason"], since, since))
        if live > at:
            steps.append(_step("tested", GATES_AND_TEST, since, (live - begins).days))
        found.append(Timeline(begins=begins, live=live, why="", steps=tuple(steps)))
    return found


def _noticed(
    at: date, earlier: Sequence[dict[str, str]], replayed: ReplayResult
) -> tuple[dict[str, str] | None, str]:
    """The incident that led to a training, and the level's reason for not training at once."""
    last = max((day_of(each["at"]) for each in earlier), default=date.min)
    for each in replayed.reported.get("incidents", ()):
        noticed, ended = day_of(each["detected_at"]), each["ended_at"]
        if last < noticed <= at and (ended is None or day_of(ended) >= at) and each["kind"] == "error-drift":
            waits = [entry["response"] for entry in each["responses"] if day_of(entry["at"]) < at]
            return each, " ".join(waits) or "No reason recorded."
    return None, ""
