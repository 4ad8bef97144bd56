"""A measured number with its interval: `{"value", "low", "high"}`, 95 %."""

import math

import numpy as np

from racer.bounds import binomial_interval

Z = 1.959963984540054  # 97.5 % point of the normal


def share(hits: np.ndarray) -> dict | None:
    """Return the share of True in `hits` (n,) with its exact (Clopper-Pearson) interval; None if n = 0."""
    n, k = len(hits), int(np.count_nonzero(hits))
    if n == 0:
        return None
    low, high = binomial_interval(k, n)
    return {"value": k / n, "low": low, "high": high}


def mean(values: np.ndarray) -> dict | None:
    """Return the mean of `values` (n,) with its normal interval, kept within their range; None if n = 0.

    With one value the interval is the point itself.
    """
    n = len(values)
    if n == 0:
        return None
    value = float(np.clip(np.mean(values), np.min(values), np.max(values)))  # rounding may leave the range by a bit
    half = Z * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return {"value": value, "low": max(value - half, float(np.min(values))),
            "high": min(value + half, float(np.max(values)))}
