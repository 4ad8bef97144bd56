"""A measured number with its interval: `{"value", "low", "high"}`, 95 %."""

import math

import numpy as np
from scipy import special

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


def over_splits(values: np.ndarray, test_share: float = 0.5) -> dict | None:
    """Return the mean of a number measured on R random calibration/test splits of the same rows, values (R,), R >= 2.

    The splits share rows, so they are no R independent trials: the variance of their mean is taken as
    (1/R + t/(1-t)) times theirs, t = `test_share`, the share of all rows that is judged in a split (Nadeau and Bengio,
    "Inference for the generalization error", 2003, equation 9), with Student's t. Where few of the other rows calibrate
    it is wider than need be, since calibration sets then share little. None if a value is NaN.
    """
    if np.isnan(values).any():
        return None
    repeats = len(values)
    spread = math.sqrt((1 / repeats + test_share / (1 - test_share)) * float(np.var(values, ddof=1)))
    value, half = float(np.mean(values)), float(special.stdtrit(repeats - 1, 0.975)) * spread
    return {"value": value, "low": value - half, "high": value + half}


def over_seeds(values: np.ndarray) -> dict:
    """Return the mean of a number over R >= 2 independent trainings, values (R,), with Student's t."""
    value, count = float(np.mean(values)), len(values)
    half = float(special.stdtrit(count - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return {"value": value, "low": value - half, "high": value + half}


def paired(differences: np.ndarray, rng: np.random.Generator, repeats: int = 2000) -> dict:
    """Return the mean of what two methods differ by on the same queries, (n,), with its bootstrap interval.

    Queries are drawn anew with replacement, `repeats` times; the interval lies between the 2.5 and 97.5 % points of the
    means (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3).
    """
    n = len(differences)
    means = [differences[rng.integers(n, size=n)].mean() for _ in range(repeats)]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(np.mean(differences)), "low": float(low), "high": float(high)}
