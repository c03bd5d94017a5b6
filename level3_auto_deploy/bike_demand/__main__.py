"""The command line: `python -m bike_demand COMMAND`, in the project's folder."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

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
    deploy: Annotated[
        bool | None, typer.Option(help="Deploy it too; default: as in params.yaml.", show_default=False)
    ] = None,
) -> None:
    """Ingest, validate, train, evaluate, register and deploy a model; does nothing if nothing changed."""
    with spinner("Training"):
        from bike_demand.launch import train as run

        made, new = run(as_of, allow_dirty, deploy, typer.echo)
    if new:
        typer.echo(f"Run {made.run_id} is registered as version {made.version}. {made.data_summary}")
    else:
        typer.echo(f"Nothing changed since run {made.run_id}, version {made.version}: nothing to do.")
    config = settings.load_settings()
    days = config.training.holdout_days
    typer.echo(
        f"Holdout model (run {made.holdout_run_id}): {PROBLEM.loss.name} {loss_with_unit(made.holdout_error)}"
        f" on the last"
        f" {days} days, which it was not trained on."
    )
    if deploy is False or (deploy is None and not config.deploy.automatic):
        typer.echo(f"Deploy it with: python -m bike_demand deploy {made.version}")
        return
    from bike_demand.launch import deploy_after_training

    deploy_after_training(config, str(made.version), as_of, typer.echo)


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


@problem.command(
    "draft",
    epilog="Example: python -m bike_demand problem draft churn.csv --label left --time day --label-delay 30d",
)
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
    command.draft(file, columns, config.feed, settings.PARAMS, typer.echo, name=name, has_monitoring=True)


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


@app.command(epilog="Example: python -m bike_demand deploy latest")
def deploy(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Version number, or `latest`.")],
    as_of: AsOf = None,
) -> None:
    """Take a version through all gates and start its A/B test; resumes an interrupted deployment."""
    with spinner("Deploying"):
        from bike_demand.release import deploy as delivery

        delivery.deploy(settings.load_settings(), version, as_of, typer.echo)


@app.command(epilog="Example: python -m bike_demand promote 7 --to https://mlflow.example.org")
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Number, `latest` or `champion`.")],
    to: Annotated[
        str, typer.Option("--to", metavar="URI", help="Target tracking store; default: deploy.promote_to.")
    ] = "",
) -> None:
    """Copy a version that passed its gates to the registry of the next environment."""
    from bike_demand.release import deploy as delivery
    from bike_demand.release import promotion
    from bike_demand.store.deployments import open_deployments

    config = settings.load_settings()
    if not (address := to or config.deploy.promote_to):
        raise UserError("--to: give the target registry, here or as deploy.promote_to in params.yaml")
    with spinner("Promoting"), open_deployments(config, None, typer.echo) as deployments:
        found = delivery.find(deployments.tracking, version)
        promoted = promotion.promote(deployments, found, address)
    typer.echo(promoted or f"Version {found.number} was promoted before; nothing was changed.")


@app.command(epilog='Example: python -m bike_demand rollback --reason "predictions are far too low"')
def rollback(
    reason: Annotated[str | None, typer.Option(help="Why; stored with the rolled-back version.")] = None,
    as_of: AsOf = None,
) -> None:
    """Return to the last good version at once; the rolled-back version cannot be deployed again."""
    from bike_demand.release.rollback import roll_back_champion
    from bike_demand.store.deployments import open_deployments

    with open_deployments(settings.load_settings(), as_of, typer.echo, locked=False) as deployments:
        typer.echo(roll_back_champion(deployments, (reason or "").strip() or "no reason given"))


@app.command(epilog='Example: python -m bike_demand release 7 --reason "the live model predicts nonsense"')
def release(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Number, `latest` or `champion`.")],
    reason: Annotated[str | None, typer.Option(help="Why there is no time for an A/B test.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Run the gates without releasing.")] = False,
    as_of: AsOf = None,
) -> None:
    """Emergency release: skips the A/B test, but none of the gates."""
    from bike_demand.release import deploy as delivery

    config, reason = settings.load_settings(), (reason or "").strip()
    if not check and not reason:
        raise UserError("--reason: give the reason to skip the A/B test, or use `deploy` to run it")
    with spinner("Running the gates"):
        if check:
            delivery.check(config, version, as_of, typer.echo)
        else:
            delivery.release(config, version, reason, as_of, typer.echo)


ab = typer.Typer(help="The A/B test of a version that passed all gates.", rich_markup_mode=None)
app.add_typer(ab, name="ab", epilog="Example: python -m bike_demand ab status")


@ab.command("step", epilog="Example: python -m bike_demand ab step --as-of 2012-01-08")
def ab_step(as_of: AsOf = None) -> None:
    """Evaluate the A/B test or watch and act on it: continue, promote, reject, roll back. Run it daily."""
    with spinner("Evaluating"):
        from bike_demand.release.ab.step import ingest_feed, step

        config = settings.load_settings()
        ingest_feed(config, as_of, typer.echo)
        step(config, as_of, typer.echo)


@ab.command("status", epilog="Example: python -m bike_demand ab status")
def ab_status(as_of: AsOf = None) -> None:
    """Show the state of the running A/B test or watch; decides nothing."""
    from bike_demand.release.ab.step import status

    status(settings.load_settings(), as_of, typer.echo)


@ab.command("stop", epilog='Example: python -m bike_demand ab stop --reason "the world changed"')
def ab_stop(
    reason: Annotated[str, typer.Option(help="Why; stored with the evidence.")],
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="A version that is tested, queued or watched.")
    ] = None,
    as_of: AsOf = None,
) -> None:
    """End the running A/B test, withdraw a queued version, or end a watch; the champion stays live."""
    from bike_demand.release.ab.step import stop

    if not reason.strip():
        raise UserError("--reason: give the reason, which is stored with the version")
    stop(settings.load_settings(), f"stopped by a person: {reason.strip()}", as_of, typer.echo, version)


@app.command(epilog="Example: python -m bike_demand trace 0a1b2c3d4e5f60718293a4b5c6d7e8f9 --rows")
def trace(
    prediction_id: Annotated[
        str, typer.Argument(metavar="PREDICTION_ID", help="Field `id` of a response of /predict.")
    ],
    rows: Annotated[
        bool, typer.Option("--rows", help="Restore the rows that the model was trained on.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Trace a prediction to its deployment, A/B test, version, run, code, environment and data."""
    with spinner("Tracing"):
        from bike_demand.release.trace import command

        command(settings.load_settings(), prediction_id, rows=rows, as_json=json, report=typer.echo)


@app.command(epilog="Example: python -m bike_demand serve --port 8080 --workers 2")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: serving.host).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Number of worker processes.")] = None,
    environment: Annotated[
        Literal["test", "production"], typer.Option(help="Which environment to serve.")
    ] = "production",
) -> None:
    """Serve predictions over HTTP with the live version, until SIGTERM or Ctrl-C."""
    config = settings.load_settings().serving

    from bike_demand.serving import server

    server.serve(
        host if host is not None else config.host,
        port if port is not None else config.port,
        workers if workers is not None else config.workers,
        environment,
    )


@app.command(epilog="Example: python -m bike_demand key planning")
def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Owner of the key: a program or a person.")],
    operations: Annotated[
        bool, typer.Option("--operations", help="For /metrics and /model, not for predictions and outcomes.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the owner's earlier key, with its role.")
    ] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Delete the owner's key instead.")] = False,
) -> None:
    """Create an API key of the service and print it once; only its SHA-256 is stored."""
    from bike_demand.serving.keys import make_key, revoke_key

    file = Path(settings.load_settings().serving.keys)
    if not revoke:
        typer.echo(make_key(file, name, "operations" if operations else None, replace=replace))
        return
    if operations or replace:
        raise UserError("--revoke: give it without --operations and --replace")
    revoke_key(file, name)
    typer.echo(f"The key of {name} is revoked; services refuse it within a second.")


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
