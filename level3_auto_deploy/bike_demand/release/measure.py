"""Measures what models cost, in a new process: `python -m bike_demand.release.measure FOLDER [OTHER]`."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from bike_demand.core.current import PROBLEM, Inputs
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.serving.request_body import MAX_ROWS

BLOCKS, BLOCK_ROWS = 60, 40  # a block is this many consecutive one-row predictions
ROW = Inputs.model_validate_json(json.dumps(PROBLEM.example))


def memory(model: OnnxModel) -> float:
    """Megabytes used by this process after loading the model and predicting a request of maximum size."""
    model.predict([ROW] * MAX_ROWS)
    return float(psutil.Process().memory_info().rss / 1e6)


def latency(models: Sequence[OnnxModel]) -> list[float]:
    """Microseconds per row for each model: the fastest of many blocks, in which the models alternate.

    Other load on the machine only ever adds time. With a machine busy half of the time, the median could
    fall on a busy block for one model and on an idle one for the other; the minimum cannot.
    """
    blocks: list[list[float]] = [[] for _ in models]
    for _ in range(BLOCKS):
        for model, times in zip(models, blocks, strict=True):
            model.predict([ROW])  # warm up: the other model's data are in the CPU caches
            began = time.perf_counter()
            for _ in range(BLOCK_ROWS):
                model.predict([ROW])
            times.append((time.perf_counter() - began) / BLOCK_ROWS * 1e6)
    return [min(times) for times in blocks]


def main(argv: Sequence[str]) -> None:
    """Print as JSON the memory with the first model alone and, given two, their latencies."""
    models = [load_model(Path(argv[0]))]
    megabytes = memory(models[0])
    models += [load_model(Path(folder)) for folder in argv[1:]]
    print(json.dumps({"megabytes": [megabytes], "microseconds": latency(models) if argv[1:] else []}))


if __name__ == "__main__":
    main(sys.argv[1:])
