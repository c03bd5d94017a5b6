"""A participant's progress: a plain YAML file next to the labs' folders, which may be edited and deleted."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from ladder.output import save
from ladder.source import read_yaml
from ladder.workcopy import home


class Entry(BaseModel):
    """The record of one lab; `port` is that of its application."""

    model_config = ConfigDict(extra="forbid")

    started: datetime | None = None
    passed: datetime | None = None
    hints: int = 0
    solution_shown: bool = False
    port: int = 8000

    def restart(self, port: int) -> None:
        """Record that the lab begins anew."""
        self.started, self.passed = datetime.now().replace(microsecond=0), None
        self.hints, self.solution_shown, self.port = 0, False, port

    @property
    def state(self) -> str:
        """In words."""
        done = "solved for you" if self.solution_shown else "passed"
        if self.passed:
            return f"{done} {self.passed:%Y-%m-%d}"
        return f"started {self.started:%Y-%m-%d}" if self.started else ""


class Progress(BaseModel):
    """The file's content: an entry for each lab that was begun."""

    model_config = ConfigDict(extra="forbid")

    labs: dict[int, Entry] = {}

    def of(self, number: int) -> Entry:
        """The entry of a lab, created if there is none."""
        return self.labs.setdefault(number, Entry())


def path() -> Path:
    """The path of the file."""
    return home() / "lab-progress.yaml"


def load() -> Progress:
    """The progress so far. Raises UserError if the file is not valid."""
    return read_yaml(Progress, path()) if path().exists() else Progress()


@contextmanager
def change(number: int) -> Iterator[Entry]:
    """The entry of a lab, to be changed inside the block; commands for other labs may run at the same time.

    Raises UserError if the file is not valid.
    """
    path().parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path().with_name(f".{path().name}.lock")):
        done = load()
        yield done.of(number)
        content = yaml.safe_dump(done.model_dump(exclude_defaults=True), sort_keys=False)
        save(content, path())
