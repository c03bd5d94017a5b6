"""Golden rows: kept with a model, to see wherever it is loaded that it still predicts the same for them."""

import numpy as np
import pandas as pd

from bike_demand.data.features import to_inputs
from bike_demand.data.frames import columns_of, to_records
from bike_demand.handoff import OUTPUT_NAME, Golden, GoldenRow
from bike_demand.runtime import open_session

SOME = 24


def golden_rows(model: bytes, rows: pd.DataFrame) -> Golden:
    """What a model predicts for some of its own rows: the newest, and as many that are spread over all."""
    spread = np.linspace(0, len(rows) - 1, num=SOME, dtype=int)
    chosen = rows.iloc[sorted({*spread.tolist(), *range(len(rows))[-SOME:]})]
    (predicted,) = open_session(model).run([OUTPUT_NAME], to_inputs(columns_of(chosen)))
    pairs = zip(to_records(chosen), predicted[:, 0].tolist(), strict=True)
    return tuple(GoldenRow(request=request, prediction=prediction) for request, prediction in pairs)
