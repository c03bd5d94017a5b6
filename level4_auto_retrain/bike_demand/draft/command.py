"""`problem draft`: replaces the project's problem, feed and settings by a draft for a user's own table."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bike_demand.core.configuration import UniqueKeyLoader
from bike_demand.core.current import BACKUPS, PROBLEM_VARIABLE
from bike_demand.core.errors import UserError
from bike_demand.core.files import replace_folder, write_atomically
from bike_demand.core.problem import parse_duration
from bike_demand.core.settings import TrainingSettings
from bike_demand.draft.cells import read_raw_table
from bike_demand.draft.code import write_code
from bike_demand.draft.guess import Column, ColumnChoices, Draft, guess

# Tests that hold for any problem; the others in tests/problem are about the replaced one.
GENERIC_TESTS = ("__init__.py", "samples.py", "test_contract.py")
MIN_HOLDOUT_SHARE = 0.1  # smallest share of rows that are held out
MAX_HOLDOUT_SHARE = 1 / 3  # largest share of the time that is held out
MIN_ROWS = 40  # with fewer labeled rows, no draft is made


def draft(
    file: Path,
    given: ColumnChoices,
    feed: str,
    params: Path,
    report: Callable[[str], None],
    *,
    name: str | None = None,
    has_monitoring: bool = False,
) -> None:
    """Draft a problem from a table and install it. Raises UserError, and then nothing has changed.

    Everything is prepared and loaded aside first. The replaced problem, tests, months and params.yaml are
    kept in a new folder in BACKUPS. Without a `name`, a drafted problem keeps its own. With `has_monitoring`,
    predictions are compared with outcomes, so that event time and label delay must be given, not guessed.
    """
    if has_monitoring and (given.time is None or given.delay is None):
        raise UserError(
            "--time and --label-delay are required here, like --time sold_at --label-delay 30D: A/B tests and"
            " monitoring compare predictions with labels, and must know when these are due"
        )
    if given.delay is not None:
        try:
            parse_duration(delay := re.sub(r"d$", "D", given.delay))
            given = replace(given, delay=delay)
        except ValueError as error:
            raise UserError(f"--label-delay: {error}") from None
    package = Path(__file__).resolve().parents[1]
    root = package.parent
    if root != Path.cwd().resolve():
        raise UserError(f"run this in {root}: it replaces the problem of that project")
    if "://" in feed:
        raise UserError(
            f"feed in params.yaml is {feed}: set it to a folder; the table is written there, a file per month"
        )
    found = guess(read_raw_table(file), given)
    if len(found.rows) < MIN_ROWS:
        raise UserError(
            f"{file}: {len(found.rows)} rows have event time and label and are not in the future; at least"
            f" {MIN_ROWS} are needed"
        )
    text = settings_of(found, params.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=root) as scratch:
        code, months = Path(scratch, package.name, "problem"), Path(scratch, "feed")
        shutil.copytree(package, code.parent, ignore=shutil.ignore_patterns("problem", "__pycache__"))
        code.mkdir()
        months.mkdir()
        write_code(found, *_names(package.name, file, name), code)
        for arguments in (("check", "--fix", "--quiet", "--exit-zero"), ("format", "--quiet")):
            _run(root, "-m", "ruff", *arguments, "--no-cache", str(code))
        _run(Path(scratch), "-Bc", f"import {package.name}.data.model_inputs")
        _write_feed(found, months)
        report(_summary(found, sorted(months.iterdir())))
        before = _install_draft(root, package / "problem", code, root / Path(feed).expanduser(), months, text)
    report(f"The previous problem is in {before.relative_to(root)}. Next:")
    for command in ("problem check", "ingest", "train"):
        report(f"  python -m {package.name} {command}")


def _names(package: str, file: Path, given: str | None) -> tuple[str, str]:
    """The title and the name. A problem that was drafted keeps them, unless a name is given."""
    own = sys.modules.get(f"{package}.problem")  # loaded, unless another one is in force
    if given is None and own and "Drafted from a table" in (own.__doc__ or ""):
        return own.PROBLEM.title, own.PROBLEM.name
    title = re.sub(r"[\W_]+", " ", given or file.name.split(".")[0]).strip().capitalize() or "Problem"
    return title, re.sub(r"[^\w-]+", "-", given) if given else title.lower().replace(" ", "-")


def _run(folder: Path, *arguments: str) -> None:
    """Run Python on the draft. Raises UserError with the end of its output if that fails."""
    command, environment = [sys.executable, *arguments], os.environ | {PROBLEM_VARIABLE: ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()).removeprefix("error: ")[-200:]
        remedy = "install requirements.lock, or rename or leave out the column named here"
        raise UserError(f"the draft cannot be formatted or loaded ({reason}); {remedy}")


def _write_feed(found: Draft, folder: Path) -> None:
    """Write the feed, one file per month. Raises UserError if a month in between has no rows."""
    frame = pd.DataFrame({each: _format_column(found, each) for each in found.rows.columns})
    header = [found.column(each).original or each for each in frame.columns]
    month = found.times.dt.strftime("%Y-%m")
    for name in map(str, pd.period_range(month.min(), month.max(), freq="M")):
        rows = frame[month == name]
        if rows.empty:
            raise UserError(
                f"no rows in {name}: a feed needs rows in every month; remove the rows before the gap"
            )
        rows.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", header=header)


def _format_column(found: Draft, name: str) -> Any:
    values, kind = found.rows[name], found.column(name).kind
    if kind == "time":
        return found.times.map(pd.Timestamp.isoformat)
    if kind == "boolean":
        return values.map({1.0: "true", 0.0: "false"})
    if kind == "integer":
        return values.astype("Int64").astype("string")
    return values


def settings_of(found: Draft, text: str) -> str:
    """The text of params.yaml, with settings adapted to the data.

    Raises UserError if it is written in a form that cannot be edited.
    """
    times = found.rows[found.time.name]
    day, last = timedelta(days=1), times.max()
    fewest = -((times.iloc[-max(1, int(MIN_HOLDOUT_SHARE * len(times)))] - last) // day) + 1
    most = int((last - times.min()) * MAX_HOLDOUT_SHARE / day)
    holdout_days = max(1, min(max(7, fewest), most))
    past = int((times < last - holdout_days * day).sum())
    if past < MIN_ROWS / 2:
        raise UserError(
            f"only {past} rows are left if the newest {holdout_days} days are held out to evaluate a model;"
            " give more days"
        )
    changes: dict[str, Any] = {
        "half_life_days": None,
        "min_rows": min(500, len(times) // 2, past),
        "holdout_days": holdout_days,
    }
    if found.is_classification and "worst_ratio" in TrainingSettings.model_fields:
        # The limit of the evaluation gate: a Brier score is rarely far below that of the constant mean.
        changes["worst_ratio"] = 1.0
    wanted = yaml.safe_load(text) or {}
    wanted["first_month"] = f"{found.times.min():%Y-%m}"
    wanted["training"] = (wanted.get("training") or {}) | changes
    text = _edit(text, wanted, changes)
    with suppress(yaml.YAMLError):
        if yaml.load(text, UniqueKeyLoader) == wanted:
            return text
    raise UserError(
        "params.yaml cannot be edited: write first_month and `training:` without quotes, each key of the"
        " section indented in a line of its own"
    )


def _edit(text: str, wanted: dict[str, Any], changes: dict[str, Any]) -> str:
    text = _set_value(text, "first_month", wanted["first_month"])
    # Limited to one section, because other sections have keys with the same names.
    block = re.search(r"(?m)^training:[ \t]*(?:#.*)?\n(?:(?:\n|#.*\n)*[ \t]+.*(?:\n|\Z))*", text)
    if block is None:  # left out, or in one line
        section = yaml.safe_dump({"training": wanted["training"]}, sort_keys=False)
        return re.sub(r"(?m)^training:.*\n?", "", text) + f"\n{section}"
    section, keys = block[0], re.search(r"(?m)^[ \t]+(?=[^\s#])", block[0])
    for key, value in changes.items():
        section = _set_value(section, key, value, keys[0] if keys else "  ")
    return text.replace(block[0], section)


def _set_value(text: str, key: str, value: Any, indent: str = "") -> str:
    """The YAML text with a new value for a key, added at the end if it was left out. Comments are kept."""
    line = f"{indent}{key}: {json.dumps(value)}"
    text, found = re.subn(rf"(?m)^{indent}{key}:[^#\n]*?([ \t]*(?:#.*)?)$", rf"{line}\g<1>", text)
    return text if found else text.rstrip("\n") + f"\n{line}\n"


def _summary(found: Draft, months: list[Path]) -> str:
    lines = [f"{len(found.rows)} rows, {months[0].stem} to {months[-1].stem}. Label: {found.label.name}, "]
    lines[0] += "yes or no" if found.is_classification else f"a number ({found.label.kind})"
    lines += [
        f"  {each.name:<28} {each.kind}"
        + (_format_ranges(each) if each.kind in ("integer", "number") else "")
        + (f", {len(each.categories)} values" if each.categories else "")
        + (", may be missing" if each.nullable else "")
        for each in found.inputs
    ]
    more = ["params.yaml: first_month and the section training are set for this table"]
    more.append("problem/__init__.py: the prediction range, and the baseline that a model has to beat")
    return "\n".join([*lines, "Guessed, please check:", *(f"  - {note}" for note in (*found.notes, *more))])


def _format_ranges(column: Column) -> str:
    low, high = column.expected
    return f", expected {low:g} to {high:g}, valid {column.low:g} to {column.high:g}"


def _install_draft(root: Path, problem: Path, code: Path, feed: Path, months: Path, settings: str) -> Path:
    """Back up what is there and install the draft. Returns the backup folder.

    Always a new folder: an earlier draft's backup may hold work that was never committed. If something fails,
    everything is back in its place.
    """
    feed.mkdir(parents=True, exist_ok=True)
    params, new, begun = root / "params.yaml", problem.with_name(".problem.new"), list[tuple[Path, Path]]()
    before = root / BACKUPS / f"{datetime.now():%Y-%m-%dT%H-%M-%S.%f}"
    shutil.copytree(problem, before / "problem")
    (before / "feed").mkdir()
    shutil.copy(params, before)
    tests = (each for each in (root / "tests" / "problem").glob("*.py") if each.name not in GENERIC_TESTS)
    moves = [(test, before / test.name) for test in tests]
    replaced = feed.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].*")
    moves += [(month, before / "feed" / month.name) for month in replaced]
    moves += [(month, feed / month.name) for month in months.iterdir()]
    try:
        for move in moves:
            begun.append(move)
            shutil.move(*move)  # maybe to another disk
        write_atomically(params, settings.encode())
        replace_folder(code.rename(new), problem)
    except BaseException:
        for source, target in reversed(begun):
            if source.exists():
                target.unlink(missing_ok=True)  # half of a copy
            else:
                shutil.move(target, source)
        shutil.copy(before / "params.yaml", params)
        shutil.rmtree(new, ignore_errors=True)
        raise
    return before
