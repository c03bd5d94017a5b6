"""Score a CSV of weather forecasts: python score.py day.csv predictions.csv"""

# Written from the README.txt of the email, some weeks after the notebook.
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

FEATURES = ["hour", "weekday", "workingday", "holiday", "weather"]
FEATURES += ["temp_c", "feels_like_c", "humidity", "windspeed_kmh"]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 2:
        print("usage: python score.py IN.csv OUT.csv", file=sys.stderr)
        return 2
    try:
        model = pickle.loads(Path("live/model.pkl").read_bytes())
    except (OSError, ValueError, AttributeError, ImportError, EOFError, pickle.UnpicklingError) as error:
        print(f"error: cannot load live/model.pkl: {error}", file=sys.stderr)
        return 1
    try:
        frame = pd.read_csv(arguments[0], parse_dates=["timestamp"])
        frame["hour"] = frame["timestamp"].dt.hour
        frame["weekday"] = frame["timestamp"].dt.dayofweek
        frame["workingday"] = ((frame["weekday"] < 6) & (frame["holiday"] == 0)).astype(int)
        X = frame[FEATURES].to_numpy(np.float32)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        print(f"error: cannot read {arguments[0]}: {error}", file=sys.stderr)
        return 1
    frame["prediction"] = model.predict(X)
    frame[["timestamp", "prediction"]].to_csv(arguments[1], index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
