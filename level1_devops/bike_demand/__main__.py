"""The command line: `python -m bike_demand COMMAND`, in the project's folder."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bike_demand.core import settings
from bike_demand.core.current import PROBLEM
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
    from bike_demand.data import ingest as ingestion
    from bike_demand.data.source import Source

    config = settings.load_settings()
    result = ingestion.ingest(
        Source(config.feed),
        settings.DATA,
        config.first_month,
        as_of=as_of,
        progress=lambda months: progress_bar(months, "Ingesting months"),
    )
    typer.echo(
        f"{len(result.months)} months, {result.months[0]} to {result.months[-1]}, in {settings.DATA}:"
        f" {_count(result.changed)} new or changed, {_count(result.removed)} removed"
    )


@app.command(epilog="Example: python -m bike_demand train --as-of 2012-01-01")
def train(
    as_of: AsOf = None, out: Annotated[Path, typer.Option(help="Folder for the hand-off.")] = settings.HANDOFF
) -> None:
    """Train a model on the ingested data and write the hand-off folder."""
    config = settings.load_settings()

    from bike_demand.core.current import loss_with_unit
    from bike_demand.core.files import recover_folder
    from bike_demand.data.frames import features_of, time_range
    from bike_demand.data.ingested import read_labeled_rows
    from bike_demand.handoff import write_handoff

    recover_folder(out)
    rows = read_labeled_rows(settings.DATA, as_of)

    with spinner("Training"):
        from bike_demand.training import train as training
        from bike_demand.training.export import check_parity, golden_rows, to_onnx

        trained = training.train(rows, config.training)
        model = to_onnx(trained.pipeline)
        difference = check_parity(model, trained.pipeline, features_of(rows))
    version = write_handoff(out, model, golden_rows(model, rows))
    first, last = time_range(rows)
    typer.echo(f"Trained on {len(rows)} rows, {first:%Y-%m-%d} to {last:%Y-%m-%d}.")
    typer.echo(
        f"Holdout error: {loss_with_unit(trained.holdout_loss)} ({PROBLEM.loss.name}), of a model trained"
        f" without the last {config.training.holdout_days} days and evaluated on them."
    )
    for name, value in trained.metrics.items():
        typer.echo(f"  {name} {value:.3f}")
    typer.echo(
        f"ONNX and scikit-learn predictions match on all rows (within {difference:.2g} {PROBLEM.unit})."
    )
    typer.echo(f"Model {version} is in {out}, ready to hand over.")


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
    model: Annotated[Path, typer.Option(help="Hand-off folder of the model.")] = settings.MODEL,
) -> None:
    """Predict each row of a CSV file with the model that the service uses."""
    from bike_demand.batch import predict_file
    from bike_demand.serving.onnx_model import load_model_if_present, no_model_message

    loaded = load_model_if_present(model)
    if loaded is None:
        raise UserError(no_model_message(model))
    rows = predict_file(loaded, input_file, output_file)
    typer.echo(f"{rows} predictions of model {loaded.version} written to {output_file}")


@app.command(epilog="Example: python -m bike_demand serve --port 8080 --workers 2")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: serving.host).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Number of worker processes.")] = None,
) -> None:
    """Serve predictions over HTTP with the model in state/model, until SIGTERM or Ctrl-C."""
    config = settings.load_settings().serving

    from bike_demand.serving import server

    server.serve(
        host if host is not None else config.host,
        port if port is not None else config.port,
        workers if workers is not None else config.workers,
        settings.MODEL,
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
