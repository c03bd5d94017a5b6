"""The same training as a bare script: read the feed, fit holdout model and refit, save the refit.

python -m benchmarks.bare FEED_FOLDER UNTIL
"""

import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error

FEATURES = ["hour", "weekday", "workingday", "holiday", "weather"]
FEATURES += ["temp_c", "feels_like_c", "humidity", "windspeed_kmh"]


def fit(rows: pd.DataFrame) -> HistGradientBoostingRegressor:
    """The levels' recipe."""
    age = (rows["timestamp"].max() - rows["timestamp"]) / pd.Timedelta(days=1)
    model = HistGradientBoostingRegressor(loss="poisson", early_stopping=False, random_state=0)
    return model.fit(rows[FEATURES].to_numpy(np.float32), rows["count"], sample_weight=0.5 ** (age / 30))


if __name__ == "__main__":
    folder, until = Path(sys.argv[1]), pd.Timestamp(sys.argv[2])
    rows = pd.concat(pd.read_csv(path, parse_dates=["timestamp"]) for path in sorted(folder.glob("*.csv")))
    rows = rows[rows["timestamp"] < until].assign(
        hour=lambda frame: frame["timestamp"].dt.hour, weekday=lambda frame: frame["timestamp"].dt.dayofweek
    )
    held_out = rows["timestamp"] >= until - pd.Timedelta(days=7)
    holdout = fit(rows[~held_out])
    predictions = holdout.predict(rows[held_out][FEATURES].to_numpy(np.float32))
    print(mean_absolute_error(rows[held_out]["count"], predictions))
    (folder / "model.pkl").write_bytes(pickle.dumps(fit(rows)))
