"""The command line: `python -m bike_demand COMMAND`, in the project's folder."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bike_demand.core import settings
from bike_demand.core.current import PROBLEM, loss_with_unit
from bike_demand.core.errors import UserError
from bike_demand.progress import progress_bar, spinner

# Each command imports what it needs when it runs, so that `ingest` does not wait for scikit-learn.

app = typer.Typer(
    help=PROBLEM.title,
    epilog="Example: python -m bike_demand ingest",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _require_plausible(as_of: datetime | None) -> datetime | None:
    from bike_demand.core.problem import MIN_TIME, is_plausible

    if as_of is not None and not is_plausible(as_of):
        raise UserError(f"--as-of {as_of.date()}: give a date from {MIN_TIME.date()} to ten years from now")
    return as_of


AsOf = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        metavar="DATE",
        callback=_require_plausible,
        help="Use only what was known at this time: rows before it, and labels due by then.",
    ),
]


@app.command(epilog="Example: python -m bike_demand ingest --as-of 2012-01-01")
def ingest(as_of: AsOf = None) -> None:
    """Update the ingested data from the feed."""
    from bike_demand.training.inputs import lock_data, update

    config = settings.load_settings()
    with lock_data():
        result = update(config, as_of, lambda months: progress_bar(months, "Ingesting months"))
    typer.echo(
        f"{len(result.months)} months, {result.months[0]} to {result.months[-1]}, in {settings.DATA}:"
        f" {_count(result.changed)} new or changed, {_count(result.removed)} removed"
    )


@app.command(epilog="Example: python -m bike_demand validate --as-of 2012-01-01")
def validate(as_of: AsOf = None) -> None:
    """Check whether the ingested data are fit for training."""
    config = settings.load_settings()

    from bike_demand.data.frames import time_range
    from bike_demand.data.ingested import read_rows
    from bike_demand.data.quality import check, require_no_violations

    rows = read_rows(settings.DATA, as_of)
    if rows.empty:
        raise UserError("no rows before --as-of were ingested; give a later date, or run ingest again")
    require_no_violations(rows, check(rows, config.quality), config, as_of)
    first, last = time_range(rows)
    typer.echo(f"{len(rows)} rows, {first:%Y-%m-%d} to {last:%Y-%m-%d}, are fit for training.")


@app.command(epilog="Example: python -m bike_demand train --as-of 2012-01-01")
def train(
    as_of: AsOf = None,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Train with uncommitted code; the run keeps its changes.")
    ] = False,
) -> None:
    """Ingest, validate, train, evaluate and register a model; does nothing if nothing changed."""
    with spinner("Training"):
        from bike_demand.launch import train as run

        made, new = run(as_of, allow_dirty, typer.echo)
    if new:
        typer.echo(f"Run {made.run_id} is registered as version {made.version}. {made.data_summary}")
    else:
        typer.echo(f"Nothing changed since run {made.run_id}, version {made.version}: nothing to do.")
    days = settings.load_settings().training.holdout_days
    typer.echo(
        f"Holdout model (run {made.holdout_run_id}): {PROBLEM.loss.name} {loss_with_unit(made.holdout_error)}"
        f" on the last"
        f" {days} days, which it was not trained on."
    )
    typer.echo(f"Release it with: python -m bike_demand release {made.version}")


@app.command(epilog="Example: python -m bike_demand reproduce 7")
def reproduce(
    wanted: Annotated[
        str, typer.Argument(metavar="VERSION", help="Version number or run id, as printed by `train`.")
    ],
) -> None:
    """Train a version again from its recorded code and data, and compare the result."""
    with spinner("Restoring and training"):
        from bike_demand.training.reproduce import reproduce as again

        result = again(wanted)
    typer.echo(f"Code and data of the run are in {result.folder}.")
    if (data := result.data) is not None:
        typer.echo(f"Trained on {data.rows} rows, {data.first} to {data.last} (data digest {data.digest}).")
    if result.differences:
        raise UserError(f"{wanted} was not reproduced: {'; '.join(result.differences)}")
    typer.echo(f"identical: model {result.digest} and its {len(result.metrics)} metrics")


problem = typer.Typer(help="Check or draft the problem definition.", no_args_is_help=True)
app.add_typer(problem, name="problem", epilog="Example: python -m bike_demand problem check")


@problem.command("check", epilog="Example: python -m bike_demand problem check")
def problem_check() -> None:
    """Check the problem definition on the newest rows of the feed. Writes nothing."""
    config = settings.load_settings()

    from bike_demand.data.ingest import newest_rows
    from bike_demand.data.source import Source

    with spinner("Checking"):
        from bike_demand.training.problem_check import check

        months = 2 + config.training.holdout_days // 28  # enough to have rows before the holdout
        found = check(newest_rows(Source(config.feed), config.first_month, months), config.training)
    typer.echo(f"{PROBLEM.name}: {PROBLEM.title}")
    for part, result in found:
        typer.echo(f"  {part:<16}  {result}")


@problem.command("draft", epilog="Example: python -m bike_demand problem draft churn.csv --label churned")
def problem_draft(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Your table: CSV, .csv.gz or Parquet.")],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Event time (default: guessed).")] = None,
    time_of_day: Annotated[str | None, typer.Option(metavar="COLUMN", help="Separate time of day.")] = None,
    key: Annotated[str | None, typer.Option(metavar="COLUMN", help="Separates rows of equal time.")] = None,
    label_delay: Annotated[
        str | None, typer.Option(metavar="30D", help="Longest time from the event until its label is known.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of times with UTC offsets, like Europe/Berlin.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model (default: that of the last draft, or of FILE).")
    ] = None,
) -> None:
    """Replace problem/, the feed and data settings with a draft from your own table; keeps the old ones."""
    config = settings.load_settings()

    from bike_demand.draft import command, guess

    columns = guess.ColumnChoices(label, time, time_of_day, key, label_delay, timezone)
    command.draft(file, columns, config.feed, settings.PARAMS, typer.echo, name=name)


@app.command(epilog="Example: python -m bike_demand predict rows.csv predictions.csv")
def predict(
    input_file: Annotated[Path, typer.Argument(metavar="IN.csv", help="Rows with the input columns.")],
    output_file: Annotated[Path, typer.Argument(metavar="OUT.csv", help="Where to write the predictions.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a hand-off; default: the live version.")
    ] = None,
) -> None:
    """Predict each row of a CSV file with the model that the service uses."""
    from bike_demand.batch import live_model, predict_file
    from bike_demand.serving.onnx_model import load_model

    loaded = live_model(settings.load_settings()) if model is None else load_model(model)
    rows = predict_file(loaded, input_file, output_file)
    typer.echo(f"{rows} predictions of model {loaded.version} written to {output_file}")


@app.command(epilog="Example: python -m bike_demand release 7")
def release(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Its number, or `latest`.", show_default=False)
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Undo: make the previous version live again.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare and test, but change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    override: Annotated[
        str | None, typer.Option(metavar="REASON", help="Release it although refused; kept as a tag.")
    ] = None,
) -> None:
    """Compare a registered version with the live one, ask for confirmation, and make it live."""
    from bike_demand.release import interactive

    interactive.run(settings.load_settings(), version, back=back, check=check, yes=yes, override=override)


@app.command(epilog="Example: python -m bike_demand serve --port 8080 --workers 2")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: serving.host).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Number of worker processes.")] = None,
) -> None:
    """Serve predictions over HTTP with the live version, until SIGTERM or Ctrl-C."""
    config = settings.load_settings().serving

    from bike_demand.serving import server

    server.serve(
        host if host is not None else config.host,
        port if port is not None else config.port,
        workers if workers is not None else config.workers,
    )


def _count(months: list[str]) -> str:
    return f"{len(months)} ({', '.join(months)})" if 0 < len(months) <= 3 else str(len(months))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, or another status after one line on stderr: what is wrong, what to do."""
    try:
        status = app(
            args=None if argv is None else list(argv),
            prog_name="python -m bike_demand",
            standalone_mode=False,
        )
    except typer.Abort:
        return 130
    except TyperException as error:  # a usage error: an unknown option, a missing argument
        reason = error.format_message().replace("Value error, ", "")
        typer.echo(f"error: {' '.join(reason.split())} (see --help)", err=True)
        return error.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", __package__):
            raise
        remedy = "install the project with its extras `training` and `dev` (the service's image has neither)"
        typer.echo(f"error: {error.name} is not installed; {remedy}", err=True)
        return 1
    except (UserError, OSError) as error:  # OSError: a full disk, a missing permission
        typer.echo(f"error: {error}", err=True)
        return 1
    return status if isinstance(status, int) else 0  # 130 after Ctrl-C


if __name__ == "__main__":
    sys.exit(main())
