"""Throughput of a level for one-row requests, compared with a FastAPI application that returns a constant.

Example: python -m benchmarks.serving --level 1 --rounds 7 --seconds 3
"""

import json
import logging
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import pandas as pd
import tenacity
import typer
from rich.console import Console
from rich.progress import track

from benchmarks import bare, load
from benchmarks.released import released
from ladder import ROOT, users
from ladder.service import Service, free_port
from ladder.steps import environment
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import INPUTS, read_feed

MIN_RATE_SHARE = {1: 0.5, 2: 0.5, 3: 0.55, 4: 0.55}  # smallest share of the constant's rate, by level
MAX_P99_RATIO = 5.0  # largest p99 in multiples of the constant's
MAX_BATCH_COST = 15.0  # largest cost of a request with 100 rows, in multiples of one with one row
ROW = [17.0, 2.0, 1.0, 0.0, 1.0, 24.6, 26.1, 0.55, 13.0]  # a row as the model itself takes it
MIN_MLFLOW_RATIO = 50.0  # the least, of the rate of `mlflow models serve` with the same model


def main(
    number: Annotated[int, typer.Option("--level", help="The level whose application is measured.")] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="Turns; each measures both, one after the other.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.5, max=30, help="Length of one measurement.")] = 3.0,
    mlflow: Annotated[
        bool, typer.Option(help="Measure `mlflow models serve` of the same model too.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Where the numbers go as JSON.")] = None,
) -> None:
    """Measure in turns, print the ratios and their spread; status 1 if a limit is missed."""
    console = Console()
    feed = read_feed(COMMITTED_FEED)
    bodies = users.as_bodies(feed[INPUTS].iloc[-100:])
    one, hundred = json.dumps(bodies[84]).encode(), json.dumps(bodies).encode()
    frame = {"columns": bare.FEATURES, "data": [ROW]}
    with tempfile.TemporaryDirectory(prefix="ladder-bench-") as name:
        folder = Path(name)
        with ExitStack() as stack:
            mine = stack.enter_context(released(number, folder / "level"))
            limit = stack.enter_context(_constant(folder))
            peers = [
                (f"{stack.enter_context(_mlflow(mine.folder, model))}/invocations", body)
                for model, body in (
                    (str(_as_fitted(feed, folder / "fitted")), {"dataframe_split": frame}),
                    ("models:/bike-demand@champion", {"inputs": {"features": frame["data"]}}),
                )
                if mlflow
            ]

            def measure(body: bytes, span: float) -> load.Load:
                return load.post(f"{mine.url}/predict", body, span, headers=mine.headers)

            measure(one, 1.0)  # warm-up
            load.post(f"{limit}/predict", one, 1.0)
            runs = [
                (
                    measure(one, seconds),
                    load.post(f"{limit}/predict", one, seconds),
                    measure(hundred, seconds / 3),
                    *(load.post(url, json.dumps(body).encode(), seconds) for url, body in peers),
                )
                for _ in track(range(rounds), "rounds", console=console)
            ]
    titles = [f"level {number}, one row", "constant, one row", f"level {number}, 100 rows"]
    titles += ["mlflow models serve, scikit-learn", "mlflow models serve, ONNX"] if mlflow else []
    title = f"16 connections, {rounds} turns of {seconds:g} s, medians"
    console.print(load.table(title, list(zip(titles, zip(*runs, strict=True), strict=True))))
    ratios = {
        "rate of the level / rate of the constant": [turn[0].rate / turn[1].rate for turn in runs],
        "p99 of the level / p99 of the constant": [
            turn[0].percentile(0.99) / turn[1].percentile(0.99) for turn in runs
        ],
        "one request of 100 rows / one request of 1 row, in time": [
            turn[0].rate / turn[2].rate for turn in runs
        ],
    }
    limits = [(MIN_RATE_SHARE[number], math.inf), (0, MAX_P99_RATIO), (0, MAX_BATCH_COST)]
    if mlflow:
        for position, flavour in enumerate(("scikit-learn", "ONNX"), start=3):
            name = f"rate of the level / rate of mlflow models serve, {flavour}"
            ratios[name] = [turn[0].rate / turn[position].rate for turn in runs]
        limits += [(MIN_MLFLOW_RATIO, math.inf), (1, math.inf)]
    missed = sum(turn.failed for turns in runs for turn in turns)
    for (says, values), (least, most) in zip(ratios.items(), limits, strict=True):
        middle = statistics.median(values)
        bound = f"at least {least:g}" if least else f"at most {most:g}"
        missed += not least <= middle <= most
        console.print(
            f"{says}: median {middle:.2f}, from {min(values):.2f} to {max(values):.2f} ({bound})",
            highlight=False,
        )
    if out is not None:
        out.write_text(json.dumps(ratios, indent=1), encoding="utf-8")
    if missed:
        console.print("a limit is missed, or requests failed", style="red")
        raise typer.Exit(1)


@contextmanager
def _constant(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.constant", str(port)]
    with (folder / "constant.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True
        ):
            with attempt:
                httpx.get(f"http://127.0.0.1:{port}/live").raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _mlflow(folder: Path, model: str) -> Iterator[str]:
    """MLflow's own scoring server with a model, started as documented, without limits on threads."""
    env = environment() | {"MLFLOW_TRACKING_URI": f"sqlite:///{(folder / 'state' / 'mlflow.db').as_posix()}"}
    del env["OMP_NUM_THREADS"]
    program = shutil.which("mlflow", path=env["PATH"])
    if program is None:
        raise typer.BadParameter("there is no program `mlflow`")
    command = [program, "models", "serve", "--model-uri", model, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", "{port}"]
    log = folder / "state" / "models-serve.log"
    with Service(folder, log, env=env, command=command, probe="/health") as server:
        server.start()
        yield server.url


def _as_fitted(rows: pd.DataFrame, folder: Path) -> Path:
    """The same recipe as MLflow is given scikit-learn models, with a signature."""
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # it warns of pickles
    rows = rows.assign(hour=rows["timestamp"].dt.hour, weekday=rows["timestamp"].dt.dayofweek)
    fitted = bare.fit(rows)
    shown = rows[bare.FEATURES].head(100).astype(float)
    mlflow.sklearn.save_model(
        fitted,
        folder,
        signature=mlflow.models.infer_signature(shown, fitted.predict(shown.to_numpy("float32"))),
        serialization_format="cloudpickle",
        pip_requirements=["mlflow"],
    )
    return folder


if __name__ == "__main__":
    typer.run(main)
