"""What users notice of model changes: failed requests and latencies while versions go live 20 times.

Example: python -m benchmarks.changes --level 3 --seconds 60
"""

import importlib
import json
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from benchmarks import load
from benchmarks.released import Released, released
from ladder import users
from ladder.service import APPLICATION
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import INPUTS, read_feed

MODEL, ALIAS = "bike-demand", "champion"
CHANGES = 20
TIMES_P99 = 2.0  # largest p99, as a multiple of the p99 without changes


def main(
    number: Annotated[
        int, typer.Option("--level", min=2, max=4, help="The level that follows a registry.")
    ] = 3,
    seconds: Annotated[float, typer.Option(min=10, max=120, help="Length of the load with changes.")] = 60.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Where the numbers go as JSON.")] = None,
) -> None:
    """Load without changes, with them, and without again; status 1 if a request fails or waits too long."""
    console = Console()
    body = json.dumps(users.as_bodies(read_feed(COMMITTED_FEED)[INPUTS].iloc[-20:])[4]).encode()
    with tempfile.TemporaryDirectory(prefix="ladder-bench-") as name:
        command = [*APPLICATION, "--workers", str(workers)]
        with (
            console.status("releasing two versions"),
            released(number, Path(name) / "level", command=command, twice=True) as mine,
        ):
            versions = _two_versions(mine)
            seen: list[str] = []
            runs = []
            for title, span, changes in (
                ("without changes", seconds / 3, 0),
                (f"{CHANGES} changes", seconds, CHANGES),
                ("without changes", seconds / 3, 0),
            ):
                console.print(f"{title}: {span:g} s of load", highlight=False)
                mover = threading.Thread(target=_move, args=(mine, versions, changes, span, seen))
                mover.start()
                runs.append((title, load.post(f"{mine.url}/predict", body, span, headers=mine.headers)))
                mover.join()
    title = f"level {number}, {workers} workers, 16 connections"
    console.print(load.table(title, [(name, [run]) for name, run in runs]))
    quiet = (runs[0][1].percentile(0.99) + runs[2][1].percentile(0.99)) / 2
    times = runs[1][1].percentile(0.99) / quiet
    failed = sum(run.failed for _, run in runs)
    taken = sum(before != after for before, after in pairwise(seen))
    console.print(
        f"p99 with changes / p99 without: {times:.2f} (at most {TIMES_P99:g}); failed requests: {failed}"
        f" (none); changes that were seen to be live before the next one: {taken} of {CHANGES - 1}",
        highlight=False,
    )
    if out is not None:
        out.write_text(json.dumps({"times_p99": times, "failed": failed, "seen": taken}, indent=1))
    if failed or times > TIMES_P99 or taken < CHANGES - 1:
        console.print("users would notice these changes", style="red")
        raise typer.Exit(1)


def _client(mine: Released) -> Any:
    uri = f"sqlite:///{(mine.folder / 'state' / 'mlflow.db').as_posix()}"
    return importlib.import_module("mlflow").MlflowClient(uri, uri)


def _two_versions(mine: Released) -> tuple[str, str]:
    """The version that is live, and another one."""
    client = _client(mine)
    live = str(client.get_model_version_by_alias(MODEL, ALIAS).version)
    numbers = [str(each.version) for each in client.search_model_versions(f"name = '{MODEL}'")]
    others = [each for each in numbers if each != live]
    if not others:
        raise typer.BadParameter(f"level with one version only: {numbers}")
    return live, others[0]


def _move(mine: Released, versions: tuple[str, str], changes: int, seconds: float, seen: list[str]) -> None:
    """Move the alias `changes` times within `seconds`; before each move, record which version users get."""
    client = _client(mine)
    for turn in range(changes):
        time.sleep(seconds / (changes + 1))
        if turn:
            answer = httpx.get(f"{mine.url}/model", headers=mine.operator, timeout=30)
            seen.append(str(answer.json().get("version")))
        client.set_registered_model_alias(MODEL, ALIAS, versions[(turn + 1) % 2])
    if changes:
        time.sleep(seconds / (changes + 1) - 0.5)
        seen.append(
            str(httpx.get(f"{mine.url}/model", headers=mine.operator, timeout=30).json().get("version"))
        )


if __name__ == "__main__":
    typer.run(main)
