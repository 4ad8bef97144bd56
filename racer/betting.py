"""The capital of a gambler who bets that a mean loss is small: the process behind the bound `wsr`.

Before query i the gambler stakes a share nu_i of the capital, on odds that are fair if the mean is r:

    K_i(r) = prod_{j <= i} (1 - nu_j (x_j - r)),    K_0 = 1.

If the mean is r or more and the losses are in [0, 1], K(r) is a nonnegative supermartingale for any nu_i in [0, 1] that
looks only at x_1 .. x_{i-1}, as long as the order of the queries owes nothing to their losses. By Ville's inequality
1 / max_i K_i(r) is then a p-value of "the mean is r or more", and since K_i(r) never falls in r, the means not rejected
at level delta are those below an upper bound. One process of level delta; nothing is split. Waudby-Smith and Ramdas,
JRSS-B 2024, arXiv 2010.09686; one-sided as in Bates et al., arXiv 2101.02703, Proposition 5.

The stakes follow the spread seen so far (predictable plug-in): nu_i = min(1, sqrt(2 ln(1 / TUNED) / (n v_{i-1}))), with
v the running variance, as if one query of loss 1/2 and variance 1/4 had come first. In the papers TUNED is the level
delta. Ours is one value for all levels: the same p-value then serves every level, also those that Holm's procedure
picks. Measured over 20 settings, n = 50 to 5000, the distance of the bound from the mean is 4 % smaller to 5 % larger
than with TUNED = delta at delta = .1, 10 % smaller to 5 % larger at .01, 20 % smaller to 12 % larger at .001.
"""

from collections.abc import Callable

import numpy as np

TUNED = 0.05  # the level at which the stakes are best


def most_log_capital(x: np.ndarray) -> Callable[[np.ndarray | float], np.ndarray]:
    """Return a function of r, (k,) or scalar in (0, 1]: the log of max_i K_i(r), (k,), for losses `x` (n, k).

    i runs from 1 to n, so the result is negative where every bet so far has lost.
    """
    nu = stakes(x)

    def most(r: np.ndarray | float) -> np.ndarray:
        gain = r - x  # (n, k)
        gain *= nu
        np.log1p(gain, out=gain)
        np.cumsum(gain, axis=0, out=gain)
        return gain.max(axis=0)

    return most


def stakes(x: np.ndarray) -> np.ndarray:
    """Return nu (n, k) in [0, 1] for losses `x` (n, k): row i depends on rows 0 to i - 1 of x only."""
    n = len(x)
    seen = np.arange(2, n + 2)[:, None]  # queries seen, with the imagined first one
    mean = (0.5 + np.cumsum(x, axis=0)) / seen
    variance = np.empty_like(mean)
    variance[0] = 0.25
    variance[1:] = ((0.25 + np.cumsum((x - mean) ** 2, axis=0)) / seen)[:-1]
    return np.minimum(1.0, np.sqrt(-2 * np.log(TUNED) / (n * variance)))
