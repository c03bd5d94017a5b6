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

from ladder import UserError
from ladder.lab import machine
from ladder.lab.definition import Criterion, Lab
from ladder.lab.work import run
from ladder.source import Loader, parsed_yaml, text_of

TIMEOUT = 180.0  # seconds, for one criterion
AT_ONCE = 2
USER_ERROR = "ladder.UserError: "  # as a traceback ends


class CheckerError(Exception):
    """A criterion could not be checked, which says nothing about the participant's work."""


@dataclass(frozen=True)
class Finding:
    """The result of a criterion: passed, not passed, or None if the checker failed; and the value found."""

    criterion: Criterion
    passed: bool | None
    found: str


def check(lab: Lab, folder: Path) -> list[Finding]:
    """Check all criteria, in order. A place used by several criteria is read once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked: dict[str, Future[Any]] = {}
        for each in lab.criteria:
            if (place := _place(each)) not in looked:
                looked[place] = pool.submit(_value, each, folder)
        return [_finding(each, looked[_place(each)]) for each in lab.criteria]


def _place(criterion: Criterion) -> str:
    """The place that the criterion reads."""
    return criterion.model_dump_json(
        include={"file", "sql", "database", "mlflow", "python", "machine", "folder"}
    )


def _finding(criterion: Criterion, looked: "Future[Any]") -> Finding:
    try:
        value = reach(looked.result(), criterion.at)
    except UserError as error:
        return Finding(criterion, False, str(error))
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
    expected = criterion.model_fields_set & {"equals", "min", "max", "matches"}
    if not expected or value is None:
        return bool(value)
    number = _number(value)
    return (
        ("equals" not in expected or _same(value, criterion.equals))
        and (criterion.min is None or (number is not None and number >= criterion.min))
        and (criterion.max is None or (number is not None and number <= criterion.max))
        and (criterion.matches is None or re.search(criterion.matches, str(value)) is not None)
    )


def _same(value: Any, expected: Any) -> bool:
    """People write `Saturday` and `saturday`, `yes` and `"yes"`, and a number as commands print it."""
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        return _number(value) == expected
    return _normalized(value) == _normalized(expected)


def _number(value: Any) -> float | None:
    """A number, or the one that a text begins with: `22.9%`, `30,3 bikes`, `3,567`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    if re.match(r"[1-9]\d{0,2}(,\d{3})+(?!\d)", text):
        text = text.replace(",", "")
    found = re.match(r"-?\d+([.,]\d+)?", text)
    return None if found is None else float(found[0].replace(",", "."))


def _normalized(value: Any) -> str:
    text = str(value).strip().casefold()
    return {"yes": "true", "no": "false"}.get(text, text)  # as YAML reads them without quotation marks


def _value(criterion: Criterion, folder: Path) -> Any:
    """The value in the criterion's place; None if there is none. Raises UserError and CheckerError."""
    if criterion.file is not None:
        return _of_file(folder / criterion.file)
    if criterion.sql is not None:
        return _of_table(folder / criterion.database, criterion.sql)
    if criterion.mlflow is not None:
        return _of_registry(folder / criterion.mlflow)
    if criterion.machine is not None:
        return machine.CHECKS[criterion.machine]()
    return _of_process(criterion, folder)


def answers() -> dict[str, Any]:
    """The participant's answers, for the code of criteria. Raises UserError if the file cannot be read."""
    return _of_file(Path("answers.yaml")) or {}


def _of_file(path: Path) -> Any:
    if not path.is_file():
        return None
    text = text_of(path.read_bytes(), "replace")
    if path.suffix not in {".json", ".yaml", ".yml"}:
        return text
    content = parsed_yaml(text, Loader, path.name)  # which JSON is, too
    if isinstance(content, str):
        raise UserError(f"{path.name}: write `key: value`, with a blank after the colon")
    return content


def _of_table(database: Path, query: str) -> Any:
    if not database.is_file():
        return None
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row is not None and len(row) == 1 else row


def _of_registry(database: Path) -> Any:
    if not database.is_file():
        return None
    module = [sys.executable, "-m", "ladder.lab.registry", f"sqlite:///{database.as_posix()}"]
    return _printed(*run(module, database.parent, TIMEOUT))


def _of_process(criterion: Criterion, folder: Path) -> Any:
    """In a copy, so that nothing that participants have is changed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        whole = Path(place) / "copy"
        shutil.copytree(folder, whole, symlinks=True)
        code = [sys.executable, "-c", criterion.python or ""]
        return _printed(*run(code, whole / criterion.folder, TIMEOUT, LAB_FOLDER=str(folder)))


def _printed(status: int, output: str) -> Any:
    """The JSON in the last line. Raises UserError if the code did."""
    last = output.strip().rpartition("\n")[2]
    if status and last.startswith(USER_ERROR):
        raise UserError(last.removeprefix(USER_ERROR))
    if status:
        raise CheckerError(last or f"it ended with status {status}")
    try:
        return json.loads(last)
    except ValueError:
        raise CheckerError(f"not JSON: {last}") from None
