"""Facts found in files, before any conclusion."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "package",  # of a lock file, requirements or pyproject.toml
    "import",  # module, dotted
    "call",  # qualified name if imports reveal it, else `.method`
    "name",  # of a function, class or variable that is defined
    "text",  # a string literal that looks like an address or a name
    "run",  # a command that a machine runs
    "step",  # an action, task or image that a CI job uses
    "trigger",  # of a workflow: push, tag, schedule, manual, event
    "key",  # dotted path in a YAML or TOML file, with its value if that is short: `a.b=c`
    "file",  # a file with that name
    "test",  # a test function with an assertion
    "derived",  # concluded from other facts: see evidence.Facts._derived
]
# code: a module; test: a module of tests; notebook; ci: a job of CI; flow: an orchestrator or scheduler;
# recipe: Makefile, Dockerfile, compose, scripts: started by a person; config: any other file.
Role = Literal["code", "test", "notebook", "ci", "flow", "recipe", "config"]


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact found in a file. `off` says why it has no effect; `when` is its trigger."""

    kind: Kind
    name: str
    file: str
    line: int
    role: Role = "config"
    when: tuple[str, ...] = ()
    off: str = ""
    job: str = ""  # of a CI file: the job it belongs to

    @property
    def place(self) -> str:
        """`file:line`, or the file alone."""
        return f"{self.file}:{self.line}" if self.line else self.file
