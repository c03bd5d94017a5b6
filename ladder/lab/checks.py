"""Checks a lab's criteria against the state of its folder, without changing it."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from ladder import UserError
from ladder.lab import machine
from ladder.lab.definition import Criterion, Lab
from ladder.lab.work import edit, fill_placeholders, run
from ladder.source import text_of
from ladder.steps import resolve_command

TIMEOUT = 180.0  # seconds, for one criterion
AT_ONCE = 2


class CheckerError(Exception):
    """A criterion could not be checked, which says nothing about the participant's work."""


@dataclass(frozen=True)
class Finding:
    """The result of a criterion: passed, not passed, or None if the checker failed; and the value found."""

    criterion: Criterion
    passed: bool | None
    found: str


def check(lab: Lab, folder: Path, port: int) -> list[Finding]:
    """Check all criteria, in order. A place used by several criteria is read once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked: dict[str, Future[Any]] = {}
        for each in lab.criteria:
            if (place := _place(each)) not in looked:
                looked[place] = pool.submit(_value, each, folder, port)
        return [_finding(each, looked[_place(each)]) for each in lab.criteria]


def _place(criterion: Criterion) -> str:
    """The place that the criterion reads."""
    return criterion.model_dump_json(
        include={"file", "sql", "database", "http", "mlflow", "run", "python", "machine", "folder", "changes"}
    )


def _finding(criterion: Criterion, looked: "Future[Any]") -> Finding:
    try:
        value = reach(looked.result(), criterion.at)
    except CheckerError as error:
        return Finding(criterion, None, str(error))
    except subprocess.TimeoutExpired:
        return Finding(criterion, None, f"no result within {TIMEOUT:.0f} seconds; is the machine busy?")
    except Exception as error:  # a bug in the check is not the participant's fault
        return Finding(criterion, None, f"{type(error).__name__}: {error}")
    return Finding(criterion, fits(criterion, value), _short(value))


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return "nothing" if value is None else text if len(text) < 60 else f"{text[:57]}..."


def reach(value: Any, path: str) -> Any:
    """The value at a path like `versions.2.metrics.holdout_error`; None if there is none."""
    for name in path.split(".") if path else ():
        if isinstance(value, dict):
            value = {str(key): each for key, each in value.items()}.get(name)
        elif isinstance(value, Sequence) and not isinstance(value, str) and name.lstrip("-").isdecimal():
            value = value[int(name)] if -len(value) <= int(name) < len(value) else None
        else:
            return None
    return value


def fits(criterion: Criterion, value: Any) -> bool:
    """Whether a value is as the criterion expects it."""
    expected = criterion.model_fields_set & {"equals", "differs", "min", "max", "matches"}
    if not expected:
        return value == 0 if criterion.run is not None and criterion.at == "status" else bool(value)
    if value is None:
        return False
    number = value if isinstance(value, int | float) else None
    return (
        ("equals" not in expected or _same(value, criterion.equals))
        and ("differs" not in expected or not _same(value, criterion.differs))
        and (criterion.min is None or (number is not None and number >= criterion.min))
        and (criterion.max is None or (number is not None and number <= criterion.max))
        and (criterion.matches is None or re.search(criterion.matches, str(value)) is not None)
    )


def _same(value: Any, expected: Any) -> bool:
    """People write `Saturday` and `saturday`, `2` and `"2"`, `yes` and `"yes"`."""
    return _normalized(value) == _normalized(expected)


def _normalized(value: Any) -> str:
    text = str(value).strip().casefold()
    return {"yes": "true", "no": "false"}.get(text, text)  # as YAML reads them without quotation marks


def _value(criterion: Criterion, folder: Path, port: int) -> Any:
    """The value in the criterion's place; None if there is none. Raises CheckerError."""
    if criterion.file is not None:
        return _of_file(folder / criterion.file)
    if criterion.sql is not None:
        return _of_table(folder / criterion.database, criterion.sql)
    if criterion.http is not None:
        return _of_address(fill_placeholders(criterion.http, port))
    if criterion.mlflow is not None:
        return _of_registry(folder / criterion.mlflow)
    if criterion.machine is not None:
        return machine.CHECKS[criterion.machine]()
    return _of_process(criterion, folder, port)


def _of_file(path: Path) -> Any:
    if not path.is_file():
        return None
    text = text_of(path.read_bytes(), "replace")
    if path.suffix not in {".json", ".yaml", ".yml"}:
        return text
    try:
        return yaml.safe_load(text)  # which JSON is, too
    except yaml.YAMLError:
        return None


def _of_table(database: Path, query: str) -> Any:
    if not database.is_file():
        return None
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row is not None and len(row) == 1 else row


def _of_address(url: str) -> Any:
    try:
        response = httpx.get(url, timeout=10, trust_env=False)
        return response.json() if response.is_success else None
    except (httpx.TransportError, ValueError):
        return None


def _of_registry(database: Path) -> Any:
    if not database.is_file():
        return None
    module = [sys.executable, "-m", "ladder.lab.registry", f"sqlite:///{database.as_posix()}"]
    return _printed(*run(module, database.parent, TIMEOUT))


def _of_process(criterion: Criterion, folder: Path, port: int) -> Any:
    """In a copy, so that nothing that participants have is changed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        whole = Path(place) / "copy"
        copy = whole / criterion.folder
        shutil.copytree(folder, whole, symlinks=True)
        try:
            for change in criterion.changes:
                edit(change, copy)
        except UserError as error:
            raise CheckerError(f"it cannot be tried out: {error}") from None
        if criterion.run is not None:
            status, output = run(resolve_command(fill_placeholders(criterion.run, port)), copy, TIMEOUT)
            return {"status": status, "output": output}
        code = [sys.executable, "-c", criterion.python or ""]
        return _printed(*run(code, copy, TIMEOUT, LAB_FOLDER=str(folder)))


def _printed(status: int, output: str) -> Any:
    """The JSON in the last line."""
    last = output.strip().rpartition("\n")[2]
    if status:
        raise CheckerError(last or f"it ended with status {status}")
    try:
        return json.loads(last)
    except ValueError:
        raise CheckerError(f"not JSON: {last}") from None
