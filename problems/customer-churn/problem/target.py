"""What is learned, how wrong a prediction is, and what else is reported."""

from typing import TypeVar

import numpy as np

from bike_demand.core.problem import Floats

Number = TypeVar("Number", float, Floats)
BINS = 10


def target(left: Number) -> Number:
    """The target of these labels: 1 for customers who left, 0 for others."""
    return left * 1.0


def squared_error(prediction: Number, target: Number) -> Number:
    """The squared error of each probability; its mean is the Brier score."""
    return (prediction - target) ** 2


def roc_auc(predictions: Floats, targets: Floats) -> float:
    """Area under the ROC curve: share of (left, stayed) pairs in order, ties half. NaN without both."""
    order = np.unique(predictions, return_inverse=True)[1]
    counts = np.bincount(order)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[order]  # from 1 on, the mean of ties
    positives = int(targets.sum())
    pairs = positives * (len(targets) - positives)
    return float((ranks[targets == 1].sum() - positives * (positives + 1) / 2) / pairs) if pairs else np.nan


def calibration_error(predictions: Floats, targets: Floats) -> float:
    """Expected calibration error over BINS equal-sized bins."""
    bins = np.array_split(np.argsort(predictions, kind="stable"), min(BINS, len(predictions)))
    gaps = [abs(predictions[each].mean() - targets[each].mean()) * len(each) for each in bins]
    return float(sum(gaps) / len(predictions))
