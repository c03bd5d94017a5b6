"""Reports what a level did automatically, in short lines, each fact once, from its status document."""

from collections.abc import Iterator, Mapping
from typing import Any

Status = Mapping[str, Any]


class News:
    """Compares the status document of an application with the one before."""

    def __init__(self, status: Status) -> None:
        self._seen = dict(_facts(status))
        self._open = dict(_signals(status))

    def lines(self, status: Status) -> Iterator[str]:
        """What is new since the last call, in the order in which it happens."""
        now = dict(_signals(status))
        for key, text in self._open.items():
            if key not in now:
                yield f"resolved   {text.partition(':')[0]}"
        for key, text in now.items():
            if key not in self._open:
                yield f"signal     {text}"
        self._open = now
        for fact, text in _facts(status):
            if fact not in self._seen:
                yield text
            self._seen[fact] = text


def _signals(status: Status) -> Iterator[tuple[int, str]]:
    for each in status["signals"]:
        what = each["message"].partition(" (")[0].partition(",")[0].rstrip(".")
        yield each["id"], f"{each['kind'].replace('-', ' ')}, {each['subject']}: {what}"


def _facts(status: Status) -> Iterator[tuple[tuple[Any, ...], str]]:
    for each in status["trainings"]:
        if each["version"] is not None:
            yield ("training", each["id"]), f"training   version {each['version']}"
        if each["state"] == "failed":
            yield ("failed", each["id"]), f"           {each['detail'].get('result')}"
    for compared in (each["comparison"] for each in status["comparisons"]):
        name = "A/B test  " if compared["kind"] == "test" else "watch     "
        text = f"{name} version {compared['version']} against version {compared['against']}"
        yield (compared["kind"], compared["version"], compared["began"]), text
    for each in status["releases"]:
        back = f", version {each['rolled_back']} was rolled back" if each["rolled_back"] else ""
        yield ("release", each["at"]), f"release    version {each['version']} is live{back}"
