"""The findings of a comparison in plain words, including those that speak against the higher levels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from scipy.stats import ttest_rel

from ladder.compare.incidents import USERS
from ladder.compare.results import IncidentResult, LevelResult, Releases, StoryFacts
from ladder.output import listed
from ladder.runbook import Question

# By less than this share two errors, or two numbers of steps, hardly differ.
MARGIN = 0.02
ALPHA = 0.05  # the p-value from which a difference of two errors may be chance
MARGIN_DAYS = 1.0  # recovery is measured in whole days, from a 7-day error

Verdict = Literal["better", "perhaps better", "hardly different", "perhaps worse", "worse"]

UNANSWERED: dict[Question, str] = {
    "reproduce": "reproduce the old model",
    "training_data": "name the data it was trained on",
    "released_by": "name who released it, and why",
}


def verdicts(
    story: StoryFacts, levels: Mapping[str, LevelResult], same_dates: Mapping[str, Releases] | None
) -> tuple[str, ...]:
    """Sentences, the most important first. `levels` are by number, ascending."""
    return (
        *_in_all(levels),
        *(_pair(low, levels[low], high, levels[high]) for low, high in pairwise(levels)),
        *_without_benefit(levels),
        *(_same_dates(levels, same_dates) if same_dates is not None else ()),
        *_not_recovered(story, levels),
        *_noticed(levels),
        *_failed_requests(story, levels),
        *_questions(levels),
    )


def compared(mine: float, theirs: float, hardly: float) -> Verdict:
    """How a number that had better be small compares with another; `hardly` is a difference of no account."""
    if abs(mine - theirs) <= hardly:
        return "hardly different"
    return "better" if mine < theirs else "worse"


def _error(mine: LevelResult, theirs: LevelResult) -> Verdict:
    """Both predicted the same hours, so their weeks are compared in pairs (Student's t-test). A difference
    that may be chance is "perhaps". The test treats weeks as independent, so it finds differences too easily.
    """
    verdict = compared(mine.mae, theirs.mae, MARGIN * theirs.mae)
    weeks = zip(mine.weekly_mae, theirs.weekly_mae, strict=True)
    pairs = [(one, other) for one, other in weeks if one is not None and other is not None]
    differ = len(pairs) > 1 and any(one != other for one, other in pairs)
    if verdict == "hardly different" or not differ:
        return verdict
    if float(ttest_rel(*zip(*pairs, strict=True)).pvalue) <= ALPHA:
        return verdict
    return "perhaps better" if verdict == "better" else "perhaps worse"


def _in_all(levels: Mapping[str, LevelResult]) -> Iterator[str]:
    if len(levels) < 2:
        return
    (low, first), *_, (high, last) = levels.items()
    how = "lower" if last.mae < first.mae else "higher"
    yield (
        f"The error at level {high} is {abs(last.mae / first.mae - 1):.0%} {how} than at level {low}:"
        f" {last.mae:.1f} against {first.mae:.1f} bikes an hour."
    )


def _pair(low: str, theirs: LevelResult, high: str, mine: LevelResult) -> str:
    parts = [_part("error", _error(mine, theirs), f"{mine.mae:.1f}", f"{theirs.mae:.1f}")]
    if mine.days_to_recover is not None and theirs.days_to_recover is not None:
        verdict = compared(mine.days_to_recover, theirs.days_to_recover, MARGIN_DAYS)
        parts.append(_part("days to recover", verdict, _days(mine), _days(theirs)))
    # A level that releases less often has fewer steps in total, so steps per release are compared.
    each, before = mine.manual_steps_per_release, theirs.manual_steps_per_release
    steps = _part(
        "manual steps per release", compared(each, before, MARGIN * before), f"{each:.1f}", f"{before:.1f}"
    )
    parts.append(f"{steps}, in all {mine.manual_steps} against {theirs.manual_steps}")
    return f"Level {high} compared with level {low}: {'; '.join(parts)}."


def _part(what: str, verdict: Verdict, mine: str, theirs: str) -> str:
    return f"{what} the same ({mine})" if mine == theirs else f"{what} {verdict} ({mine} against {theirs})"


def _days(result: LevelResult) -> str:
    return f"{'' if result.recovered else 'at least '}{result.days_to_recover:.1f}"


def _without_benefit(levels: Mapping[str, LevelResult]) -> Iterator[str]:
    pairs = list(pairwise(levels))
    verdict = {high: _error(levels[high], levels[low]) for low, high in pairs}
    little = [(low, high) for low, high in pairs if not verdict[high].endswith("better")]
    if pairs and len(little) == len(pairs):
        yield (
            f"No level has a clearly lower error than the one below ({MARGIN:.0%} or more): in this story"
            " the higher levels do not reduce the error."
        )
        return
    for low, high in little:
        effect = "does not reduce" if verdict[high].endswith("worse") else "hardly reduces"
        yield f"Level {high} {effect} the error compared with level {low} in this story."


def _same_dates(levels: Mapping[str, LevelResult], same_dates: Mapping[str, Releases]) -> Iterator[str]:
    """On the same release dates, differences in error are due to practice; the rest is due to the dates."""
    parts = []
    for low, high in pairwise([number for number in levels if number in same_dates]):
        whole = levels[high].mae - levels[low].mae
        practice = same_dates[high].mae - same_dates[low].mae
        parts.append(
            f"level {low} to {high} {whole:+.1f} in all: {practice:+.1f} by practice (same release"
            f" dates), {whole - practice:+.1f} by release dates"
        )
    if parts:
        yield (
            "The differences in error, split into practice and release dates, in bikes an hour:"
            f" {'; '.join(parts)}."
        )


def _not_recovered(story: StoryFacts, levels: Mapping[str, LevelResult]) -> Iterator[str]:
    for happening in story.incidents:
        stuck = [
            number
            for number, level in levels.items()
            if any(
                (each.kind, each.since, each.recovered) == (happening.kind, happening.since, False)
                for each in level.incidents
            )
        ]
        if stuck:
            yield (
                f"{_of_levels(stuck).capitalize()} did not recover from {happening.kind} ({happening.since})"
                " before the next incident or the end."
            )


def _noticed(levels: Mapping[str, LevelResult]) -> Iterator[str]:
    parts = []
    for number, level in levels.items():
        own = [each for each in level.incidents if each.noticed_by not in (None, USERS)]
        users = [each for each in level.incidents if each.noticed_by == USERS]
        who = []
        if own:
            who.append(f"the level itself {len(own)} ({_after(own)})")
        if users:
            who.append(f"users {len(users)} ({_after(users)})")
        if missed := len(level.incidents) - len(own) - len(users):
            who.append(f"unnoticed {missed}")
        if who:
            parts.append(f"level {number}: {', '.join(who)}")
    if parts:
        count = max(len(level.incidents) for level in levels.values())
        what = "the incident" if count == 1 else f"the {count} incidents"
        yield f"Who noticed {what}: {'; '.join(parts)}. When users complain is an assumption."


def _after(noticed: Sequence[IncidentResult]) -> str:
    days = [str(each.days_to_notice) for each in noticed]
    return f"after {listed(days)} {'day' if days == ['1'] else 'days'}"


def _failed_requests(story: StoryFacts, levels: Mapping[str, LevelResult]) -> Iterator[str]:
    for number, level in levels.items():
        if level.failed_requests:
            yield (f"At level {number}, {level.failed_requests:,} of {story.hours:,} requests failed.")


def _questions(levels: Mapping[str, LevelResult]) -> Iterator[str]:
    """Levels with the same open questions are named in one sentence."""
    lacking: dict[tuple[Question, ...], list[str]] = {}
    for number, level in levels.items():
        if level.questions:
            missing = tuple(each.question for each in level.questions if not each.answered)
            lacking.setdefault(missing, []).append(number)
    for missing, numbers in lacking.items():
        if missing:
            cannot = listed([UNANSWERED[each] for each in missing], "or")
            yield f"For an old prediction, nobody at {_of_levels(numbers)} can {cannot}."
        else:
            yield f"At {_of_levels(numbers)} all three questions about an old prediction can be answered."


def _of_levels(numbers: Sequence[str]) -> str:
    return f"level {numbers[0]}" if len(numbers) == 1 else f"levels {listed(numbers)}"
