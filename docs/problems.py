"""Replays the event and the fault of each other problem with level 4's commands, and writes the table.

python -m docs.problems          # into docs/your-own-problem.md
"""

import re
import statistics
import tempfile
import time as wall
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import tenacity
import yaml

from ladder import ROOT, workcopy
from ladder.levels import level
from ladder.service import Service
from ladder.starter import problems
from ladder.steps import enter, environment, run_in_process
from ladder.world import other_problems

PAGE = ROOT / "docs" / "your-own-problem.md"
BEGIN, END = "<!-- python -m docs.problems -->\n", "<!-- end -->\n"
DAY = timedelta(days=1)
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """When a problem's story begins, and how often the loop runs; times are in days."""

    first: date
    event: int  # days after the first
    every: int  # between two cycles of the loop; each day while something is reported wrongly
    patience: int  # so long until the promotion at most
    quiet: int  # from the promotion to the fault
    loss: Callable[[float, float], float]
    digits: int


PLANS = {
    "energy-load": Plan(date(2023, 5, 15), 5, 1, 40, 18, lambda given, right: abs(given - right), 1),
    "customer-churn": Plan(
        date(2023, 6, 1), 10, 5, 150, 5, lambda given, right: (given - float(right)) ** 2, 4
    ),
}
FAULT_DAYS, AFTER_DAYS = 5, 3
FLUSH_SECONDS = 0.05  # how often the service writes predictions and reads expected ranges
SETTLE_SECONDS = 0.3  # long enough for both


@dataclass
class StoryResult:
    """The results. Days are counted from the event, or from the beginning of the fault."""

    name: str
    noticed: int = 0  # the event, by the error
    trained: int = 0
    gates: str = ""  # number of gates passed
    promoted: int = 0
    before: float = 0.0  # errors of shown predictions: before the event, until promotion, before the fault
    until: float = 0.0
    after: float = 0.0
    fault_noticed: int = 0
    fault_trainings: int = 0
    replaced: float = 0.0  # the share of the rows of the fault in which a value was replaced
    fault_error: float = 0.0
    output: list[str] = field(default_factory=list)  # by the loop, cycle by cycle

    def cells(self) -> list[str]:
        """The row of the table."""
        digits = PLANS[self.name].digits
        return [
            f"`{self.name}`",
            f"day {self.noticed}",
            f"day {self.trained}",
            self.gates,
            f"day {self.promoted}",
            " / ".join(f"{error:.{digits}f}" for error in (self.before, self.until, self.after)),
            f"day {self.fault_noticed}",
            str(self.fault_trainings),
            f"{self.replaced:.0%} of the rows",
            f"{self.fault_error:.{digits}f}",
        ]


class Life:
    """A project that is replayed day by day: its feed, its loop, its users."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.plan, self.world = name, PLANS[name], other_problems.world(name)
        self.folder = folder
        self.event = self.plan.first + self.plan.event * DAY
        self.fault: tuple[date, date] | None = None
        end = self.plan.first + (self.plan.patience + self.plan.quiet + FAULT_DAYS + AFTER_DAYS) * DAY
        self.rows = list(self.world.happened(end, self.event))
        self.answers: list[tuple[str, float, bool, Row]] = []  # time, prediction, replaced, row
        self.keys = [name for name in problems.introduction(name).outcome if name != self.world.LABEL]

    def between(self, first: datetime, end: datetime, late: timedelta = timedelta(0)) -> list[Row]:
        """The rows whose event time plus `late` lies between these."""
        low, high = (first - late).isoformat(), (end - late).isoformat()
        return [row for row in self.rows if low <= row[self.world.TIME] < high]

    def publish(self, day: date) -> None:
        """What is known in the morning of a day."""
        other_problems.publish(
            self.world, self.rows, datetime.combine(day, time()), self.folder / "feed", self.fault
        )

    def send(self, client: httpx.Client, day: date) -> None:
        """The requests of a day, and the outcomes that become known in it."""
        now = datetime.combine(day, time())
        rows = self.between(now, now + DAY)
        shown = [other_problems.as_reported(self.world, row, self.fault) for row in rows]
        bodies = [{name: value for name, value in row.items() if name != self.world.LABEL} for row in shown]
        given = client.post("/predict", json=bodies).raise_for_status().json()
        for row, each in zip(rows, given, strict=True):
            self.answers.append((row[self.world.TIME], each["prediction"], "replaced" in each, row))
        known = self.between(now, now + DAY, self.world.DELAY)
        outcomes = [{name: row[name] for name in (*self.keys, self.world.LABEL)} for row in known]
        if outcomes:
            client.post("/outcomes", json=outcomes).raise_for_status()

    def error(self, first: date, end: date) -> float:
        """The mean loss of the predictions shown for these days."""
        chosen = self._answered(first, end)
        return statistics.fmean(self.plan.loss(given, row[self.world.LABEL]) for _, given, _, row in chosen)

    def replaced(self, first: date, end: date) -> float:
        """The share of the rows of these days in which a value was replaced."""
        return statistics.fmean(was for _, _, was, _ in self._answered(first, end))

    def _answered(self, first: date, end: date) -> list[tuple[str, float, bool, Row]]:
        return [each for each in self.answers if first.isoformat() <= each[0] < end.isoformat()]


def replay(name: str, place: Path) -> StoryResult:
    """Replay a problem's story in the folder. Raises UserError if a command fails, AssertionError if an
    expected result does not occur in time.
    """
    folder = workcopy.make(level(4), place / "project")
    problems.put(name, folder)
    _settle(folder / "params.yaml")
    workcopy.commit(folder, "Another problem")
    life, result = Life(name, folder), StoryResult(name)
    with (
        ProcessPoolExecutor(1, get_context("spawn"), enter, (folder,)) as typing,
        Service(folder, place / "service.log", env=environment()) as service,
    ):

        def run(*arguments: str) -> str:
            command = " ".join(("python -m bike_demand", *arguments))
            return typing.submit(run_in_process, command, folder).result()

        def cycle(day: date) -> str:
            life.publish(day)
            wall.sleep(SETTLE_SECONDS)
            message = run("agent", "--once", "--as-of", day.isoformat())
            result.output.append(f"{day}: {message.strip()}")
            if service.is_running():
                _wait_until_served(service.url)
                wall.sleep(SETTLE_SECONDS)
            return message

        plan, day = life.plan, life.plan.first
        cycle(day)
        service.start()
        with httpx.Client(base_url=service.url, timeout=60) as client:
            _wait_until_ready(client)

            def status() -> dict[str, Any]:
                found: dict[str, Any] = client.get("/status").raise_for_status().json()
                return found

            # The event: until a version trained on it is promoted.
            before = status()
            while True:
                life.send(client, day)
                day += DAY
                if (day - plan.first).days % plan.every:
                    continue
                message, now = cycle(day), status()
                after = (day - life.event).days
                if not result.noticed and _kinds(now, "error-drift"):
                    result.noticed = after
                if not result.trained and len(now["trainings"]) > len(before["trainings"]):
                    result.trained = after
                    found = re.findall(r"(?m)^(\d+)/(\d+) \S+ +passed", message)
                    result.gates = f"{len(found)} of {found[0][1]}"
                if now["releases"][-1]["version"] != before["releases"][-1]["version"]:
                    result.promoted = after
                    break
                assert after < plan.patience, "\n".join(result.output)
            promoted = day

            # The fault: some quiet days, then wrong reports, then right ones again.
            first = day + plan.quiet * DAY
            life.fault = (first, first + FAULT_DAYS * DAY)
            while day < life.fault[1] + AFTER_DAYS * DAY:
                life.send(client, day)
                day += DAY
                cycle(day)
                before, now = now, status()
                if first < day <= life.fault[1]:
                    result.fault_trainings += len(now["trainings"]) - len(before["trainings"])
                if not result.fault_noticed and day > first and _kinds(now, "data-quality"):
                    result.fault_noticed = (day - first).days
    result.before = life.error(plan.first, life.event)
    result.until = life.error(life.event, promoted)
    result.after = life.error(first - FAULT_DAYS * DAY, first)
    result.replaced, result.fault_error = life.replaced(*life.fault), life.error(*life.fault)
    return result


def _kinds(status: dict[str, Any], kind: str) -> bool:
    """Whether there was an incident of that kind."""
    return any(each["kind"] == kind for each in status["incidents"])


def _settle(params: Path) -> None:
    """Configure it to run without a Prefect server, with a service that polls and writes often."""
    settings = yaml.safe_load(params.read_text(encoding="utf-8"))
    settings["flow"]["api"] = ""
    settings["serving"]["poll_seconds"] = 0.2
    settings["serving"]["log"]["flush_seconds"] = FLUSH_SECONDS
    params.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8", newline="\n")


def _wait_until_ready(client: httpx.Client) -> None:
    for attempt in tenacity.Retrying(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2)):
        with attempt:
            client.get("/ready").raise_for_status()


def _wait_until_served(url: str) -> None:
    """Wait until the service predicts with the versions that the loop has left live or in a test: it polls
    the registry, and requests of the next day must not be faster.
    """
    for attempt in tenacity.Retrying(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.05)):
        with attempt:
            status = httpx.get(f"{url}/status", timeout=60).raise_for_status().json()
            compared = {
                each["comparison"][of] for each in status["comparisons"] for of in ("version", "against")
            }
            wanted = [status["releases"][-1]["version"], *compared]
            served = [int(each["version"]) for each in status["models"]]
            assert (served[:1], set(served)) == (wanted[:1], set(wanted))


def table(result: Sequence[StoryResult]) -> str:
    """What the page shows."""
    lines = [
        "| problem | event noticed | trained | gates passed | promoted"
        " | error before the event / until the promotion / before the fault"
        " | fault noticed | trainings during it | fallback | error during it |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(each.cells())} |" for each in result),
    ]
    return "\n".join(lines) + "\n"


def written() -> str:
    """The table as the page has it."""
    return PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]


def main() -> None:
    """Replay all problems, and write the table."""
    found = []
    for name in PLANS:
        with tempfile.TemporaryDirectory() as place:
            found.append(replay(name, Path(place)))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    text = before + BEGIN + table(found) + END + rest.partition(END)[2]
    PAGE.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
