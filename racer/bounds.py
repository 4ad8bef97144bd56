"""Exact binomial tails: the bound behind `pac`, the intervals of the report, and what a new split may show."""

import numpy as np
from scipy import special


def binomial_upper(errors: np.ndarray | int, n: np.ndarray | int, delta: float) -> np.ndarray | float:
    """Return the level-`delta` upper bound (Clopper-Pearson) of a rate, after `errors` in `n` i.i.d. trials.

    P(rate > bound) <= delta whatever the rate. It is <= alpha exactly when BinCDF(errors; n, alpha) <= delta.
    """
    errors = np.asarray(errors, dtype=float)
    return np.where(errors >= n, 1.0, special.betainccinv(errors + 1, np.maximum(n - errors, 1e-300), delta))[()]


def binomial_interval(errors: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided Clopper-Pearson interval of a rate, after `errors` in `n` >= 1 i.i.d. trials."""
    tail = (1 - level) / 2
    low = 1 - binomial_upper(n - errors, n, tail)  # errors and successes change places
    return float(low), float(binomial_upper(errors, n, tail))


def beta_binomial_cdf(m: int, a: float, b: float) -> np.ndarray:
    """Return P(count <= k) for k = 0..m, (m+1,), of a Beta-Binomial(m; a, b) count."""
    k = np.arange(m + 1)
    log_choose = special.gammaln(m + 1) - special.gammaln(k + 1) - special.gammaln(m - k + 1)
    return np.cumsum(np.exp(log_choose + special.betaln(k + a, m - k + b) - special.betaln(a, b)))
