"""From one number per calibration query to a cut with a promise.

For a 0/1 loss that never rises as sets grow, S_i is the smallest cut that serves query i
(`racer.losses.least_cut`). Each method only decides how many calibration queries `j` may stay
unserved; the cut is then the order statistic of S that leaves just so many.

`crc`: (j + 1) / (n + 1) <= alpha. Then E[loss of a new query] <= alpha, on average over calibration
       sets. Angelopoulos et al., "Conformal Risk Control", ICLR 2024, arXiv 2208.02814, Theorem 1.
`pac`: BinCDF(j; n, alpha) <= delta. Then P(risk of this very cut <= alpha) >= 1 - delta over calibration
       sets. Bates et al., arXiv 2101.02703; Vovk, "Conditional validity", 2012, Proposition 2.
Both are exact for every n, every router and ties, if calibration and new queries are exchangeable (`crc`)
or i.i.d. (`pac`), and no calibration query chose anything.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from racer.bounds import beta_binomial_cdf, binomial_upper
from racer.context import OneCut
from racer.errors import ConfigError, Infeasible

METHODS = ("crc", "pac")


@dataclass(frozen=True)
class Calibration(OneCut):
    """A cut and the promise it keeps: at most `allowed` of `n` calibration queries are unserved at `cut`.

    `bound` <= alpha is what the method attains: (unserved + 1) / (n + 1) under `crc`, the Clopper-Pearson
    upper bound under `pac`. `delta` is None under `crc`. `cut` is -inf if every set may be empty.
    """

    kind: ClassVar[str] = "count"
    method: str
    alpha: float
    delta: float | None
    cut: float
    n: int
    allowed: int
    unserved: int
    bound: float

    def expected(self, m: int) -> dict[str, float]:
        """Return where the observed risk on `m` new queries should lie: `observed_band`."""
        return observed_band(self, m)

    def lines(self) -> list[str]:
        """Return what a person should know of the cut."""
        return [f"cut {self.cut:.6g}: {self.unserved} of {self.n} calibration queries unserved, {self.allowed} "
                f"allowed; bound {self.bound:.4f}"]


def allowed_unserved(n: int, alpha: float, method: str, delta: float | None = None) -> int:
    """Return the largest number of `n` calibration queries that may stay unserved; -1 if not even 0 may."""
    _check(alpha, method, delta)
    return bisect_left(range(n), True, key=lambda j: not _within(j, n, alpha, method, delta)) - 1


def least_n(alpha: float, method: str, delta: float | None = None) -> int:
    """Return the fewest calibration queries with which `alpha` can be promised at all (with none unserved)."""
    _check(alpha, method, delta)
    n = max(int(1 / alpha - 1 if method == "crc" else np.log(delta) / np.log1p(-alpha)), 1)
    while not _within(0, n, alpha, method, delta):  # at most two steps: `n` was rounded down
        n += 1
    return n


def least_alpha(n: int, method: str, delta: float | None = None) -> float:
    """Return the smallest alpha that `n` calibration queries can promise: that of none unserved."""
    return attained(0, n, method, delta) if n else 1.0


def check_feasible(n: int, alpha: float, method: str, delta: float | None = None) -> None:
    """Raise `Infeasible` if `n` calibration queries cannot promise `alpha`, naming the n needed."""
    _check(alpha, method, delta)
    if n and _within(0, n, alpha, method, delta):
        return
    at = f" at delta={delta:g}" if method == "pac" else ""
    raise too_few(n, least_n(alpha, method, delta), alpha, f"{method}{at}", least_alpha(n, method, delta))


def too_few(n: int, needed: int, alpha: float, how: str, reachable: float) -> Infeasible:
    """Return the error that says how many calibration queries are needed, and what alpha those at hand can promise."""
    rounded = float(np.ceil(reachable * 1e4) / 1e4)
    instead = f", or raise risk.alpha to {rounded}" if rounded < 1 else ""
    return Infeasible(f"alpha={alpha:g} by {how} needs n >= {needed} calibration queries, got n = {n}: "
                      f"calibrate on {needed - n} more{instead}", n=n, needed=needed, reachable=reachable)


def calibrate(served: np.ndarray, alpha: float, method: str = "pac", delta: float | None = 0.1) -> Calibration:
    """Return the smallest cut that keeps the promise of `method` at `alpha`; raise `Infeasible` if none does.

    `served` (n,) is S: the smallest cut that serves each calibration query, +inf if none does; no NaN.
    `alpha` and `delta` lie in (0, 1); `crc` has no delta.
    """
    served = np.asarray(served, dtype=np.float64)
    if np.isnan(served).any():
        raise ConfigError("a calibration query has S = NaN: probabilities must be numbers in [0, 1]")
    n, delta = len(served), delta if method == "pac" else None
    check_feasible(n, alpha, method, delta)
    allowed = allowed_unserved(n, alpha, method, delta)
    cut = float(np.partition(served, n - allowed - 1)[n - allowed - 1])  # (n - allowed)-th smallest
    unserved = int(np.count_nonzero(served > cut))  # fewer than allowed where S is tied at the cut
    if cut == np.inf:
        lost = int(np.count_nonzero(served == np.inf))
        raise out_of_reach(alpha, lost, n, allowed, attained(lost, n, method, delta))
    return Calibration(method, alpha, delta, cut, n, allowed, unserved, attained(unserved, n, method, delta))


def out_of_reach(alpha: float, lost: int, n: int, allowed: int, reachable: float) -> Infeasible:
    """Return the error that says how many calibration queries the hard limits leave unserved at every cut."""
    return Infeasible(f"alpha={alpha:g} is out of reach: within sets.max_size and sets.max_cost {lost} of {n} "
                      f"calibration queries cannot be served, {allowed} may be unserved: raise risk.alpha above "
                      f"{reachable:.4f}, or loosen the limits", n=n, needed=None, reachable=reachable)


def attained(unserved: int, n: int, method: str, delta: float | None) -> float:
    """Return the smallest alpha that `unserved` of `n` calibration queries can promise."""
    return (unserved + 1) / (n + 1) if method == "crc" else float(binomial_upper(unserved, n, delta))


def observed_band(calibration: Calibration, m: int, level: float = 0.95) -> dict[str, float]:
    """Return where the observed risk on `m` new queries should lie, and how often it exceeds alpha by chance.

    The unserved count is Beta-Binomial(m; j + 1, n - j): exact without ties at the cut, stochastically
    smaller with them. `low`, `high`: central interval of the rate; `above_alpha`: P(observed rate > alpha).
    """
    j, n = calibration.allowed, calibration.n
    cdf = beta_binomial_cdf(m, j + 1, n - j)
    low, high = np.searchsorted(cdf, [(1 - level) / 2, (1 + level) / 2])
    rates = np.arange(m + 1) / m
    above = 1 - cdf[rates <= calibration.alpha][-1]
    return {"low": float(low / m), "high": float(min(high, m) / m), "above_alpha": float(max(above, 0.0))}


def _within(j: int, n: int, alpha: float, method: str, delta: float | None) -> bool:
    """Return whether the promise holds with `j` of `n` unserved: true up to some j, false above."""
    if method == "crc":
        return (j + 1) / (n + 1) <= alpha  # both sides are correctly rounded: equal rationals compare equal
    return bool(special.bdtr(j, n, alpha) <= delta)


def _check(alpha: float, method: str, delta: float | None) -> None:
    if method not in METHODS:
        raise ConfigError(f"risk.method is {method!r}, expected one of {', '.join(METHODS)}")
    if not 0 < alpha < 1:
        raise ConfigError(f"risk.alpha is {alpha}, expected a risk level between 0 and 1, both excluded")
    if method == "pac" and not (delta is not None and 0 < delta < 1):
        raise ConfigError(f"risk.delta is {delta}, expected a probability between 0 and 1, both excluded, for pac")
