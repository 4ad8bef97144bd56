"""Upper bounds and p-values of a mean loss: exact binomial tails, and five bounds behind one seam.

`upper` and `p_value` take a table of losses (n, L), one column per cut or configuration, whose rows are i.i.d. queries.
They say the same: `upper(losses, delta, bound) <= alpha` exactly when `p_value(losses, alpha, bound) <= delta`.

`binomial`: Clopper-Pearson, exact, for losses of 0 or 1 only. The others take any losses in [0, 1]:
`hoeffding`: Hoeffding, JASA 1963, (2.3). Needs the mean only.
`hoeffding_bentkus`: the better of Hoeffding's (2.1), with the relative entropy, and Bentkus, Ann. Prob. 2004; put
       together in arXiv 2101.02703 and arXiv 2110.01052. Needs the mean only.
`empirical_bernstein`: Maurer and Pontil, COLT 2009, Theorem 4. Uses the variance over the queries.
`wsr`: Waudby-Smith and Ramdas, arXiv 2010.09686, see `racer.betting`. Mostly the tightest for fractional losses.
       Its gambler meets the queries one after the other; tables are often sorted by task, so the rows are shuffled
       first, by a permutation drawn once for each n. The promise counts that draw in. A gambler lucky with the first
       queries may end below the mean of all; the bound is then that mean, which promises no less.
"""

from collections.abc import Callable

import numpy as np
from scipy import special

from racer.betting import most_log_capital
from racer.errors import ConfigError

BOUNDS = ("binomial", "hoeffding", "hoeffding_bentkus", "empirical_bernstein", "wsr")
CELLS = 2**21  # losses in float64 at a time: 16 MB per intermediate table
STEPS = 48  # of bisection, each halves the distance to the bound


# ---------------------------------------------------------------- any losses in [0, 1]


def upper(losses: np.ndarray, delta: float, bound: str) -> np.ndarray | float:
    """Return the level-`delta` upper bound (L,) of the mean of each column: P(mean > bound) <= delta, per column.

    `losses` (n, L) in [0, 1], rows i.i.d.; a single column (n,) gives a float. `delta` in (0, 1), `bound` one of
    `BOUNDS`; `binomial` takes only losses of 0 and 1. It is 1 where the data say nothing, so for n = 0.
    """
    _check("delta", delta, bound)
    return _by_columns(losses, bound, lambda x: np.minimum(UPPER[bound](x, delta), 1.0))


def p_value(losses: np.ndarray, alpha: float, bound: str) -> np.ndarray | float:
    """Return a p-value (L,) of "the mean is alpha or more" for each column: P(p <= u) <= u for all u if it is true.

    Arguments as in `upper`, `alpha` in (0, 1). It is 1 where the data say nothing, so for n = 0.
    """
    _check("alpha", alpha, bound)
    return _by_columns(losses, bound, lambda x: np.minimum(P_VALUE[bound](x, alpha), 1.0))


def dkw_width(n: int, delta: float) -> float:
    """Return w such that risk(cut) <= observed risk(cut) + w at all cuts at once, with probability >= 1 - delta.

    So alpha may be chosen after looking. For a 0/1 loss that never rises as sets grow, on `n` i.i.d. queries, ties or
    not: the risk of a cut is then P(S > cut), one minus a distribution function. One-sided Dvoretzky-Kiefer-Wolfowitz
    inequality with Massart's constant, which he proved for `delta` <= 1/2 only (Ann. Prob. 1990, Theorem 1).
    """
    if not 0 < delta <= 0.5:
        raise ConfigError(f"risk.delta is {delta}, expected a probability above 0 and at most 0.5 for a DKW band")
    return float(min(np.sqrt(-np.log(delta) / (2 * n)), 1.0)) if n else 1.0


def chernoff_n(mean: float, alpha: float, delta: float) -> int:
    """Return about how many queries of mean loss `mean` < `alpha` have a p-value of at most `delta`.

    So many suffice for Hoeffding's (2.1), with the relative entropy, hence for `hoeffding_bentkus` and `binomial`.
    """
    return int(np.ceil(-np.log(delta) / _relative_entropy(mean, alpha)))


# ---------------------------------------------------------------- losses of 0 and 1, by their count


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


# ---------------------------------------------------------------- each bound, on columns (n, k) in float64


def _binomial_upper(x: np.ndarray, delta: float) -> np.ndarray:
    return binomial_upper(x.sum(axis=0), len(x), delta)


def _binomial_p(x: np.ndarray, alpha: float) -> np.ndarray:
    return special.bdtr(x.sum(axis=0), len(x), alpha)


def _hoeffding_upper(x: np.ndarray, delta: float) -> np.ndarray:
    return x.mean(axis=0) + np.sqrt(-np.log(delta) / (2 * len(x)))


def _hoeffding_p(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.exp(-2 * len(x) * np.maximum(alpha - x.mean(axis=0), 0) ** 2)


def _hoeffding_bentkus_upper(x: np.ndarray, delta: float) -> np.ndarray:
    """Return the smaller of the two bounds: their tails are functions of the mean, so their minimum is a tail too."""
    mean, n = x.mean(axis=0), len(x)
    by_entropy = _least(lambda r: n * _relative_entropy(mean, r) >= -np.log(delta), mean)
    return np.minimum(by_entropy, binomial_upper(_ceil(x.sum(axis=0)), n, delta / np.e))


def _hoeffding_bentkus_p(x: np.ndarray, alpha: float) -> np.ndarray:
    by_entropy = np.exp(-len(x) * _relative_entropy(x.mean(axis=0), alpha))
    return np.minimum(by_entropy, np.e * special.bdtr(_ceil(x.sum(axis=0)), len(x), alpha))


def _empirical_bernstein_upper(x: np.ndarray, delta: float) -> np.ndarray:
    if len(x) == 1:
        return np.ones(x.shape[1])  # no variance from one query
    a, b, log = *_bernstein_terms(x), np.log(2 / delta)
    return x.mean(axis=0) + a * np.sqrt(log) + b * log


def _empirical_bernstein_p(x: np.ndarray, alpha: float) -> np.ndarray:
    if len(x) == 1:
        return np.ones(x.shape[1])
    a, b = _bernstein_terms(x)
    gap = np.maximum(alpha - x.mean(axis=0), 0)
    denominator = a + np.sqrt(a**2 + 4 * b * gap)
    root = np.divide(2 * gap, denominator, out=np.zeros_like(gap), where=denominator > 0)  # a root + b root^2 = gap
    return 2 * np.exp(-root**2)


def _bernstein_terms(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the factors of sqrt(ln(2 / delta)), (k,), and of ln(2 / delta)."""
    n = len(x)
    return np.sqrt(2 * x.var(axis=0, ddof=1) / n), 7 / (3 * (n - 1))


def _wsr_upper(x: np.ndarray, delta: float) -> np.ndarray:
    low = np.full(x.shape[1], np.expm1(-np.log(delta) / len(x)))  # below it not even losses of 0 pay enough
    most = most_log_capital(_shuffled(x))
    won = _least(lambda r: most(r) >= -np.log(delta), np.minimum(low, 1.0))
    return np.maximum(won, x.mean(axis=0))


def _wsr_p(x: np.ndarray, alpha: float) -> np.ndarray:
    p = np.exp(-np.maximum(most_log_capital(_shuffled(x))(alpha), 0))
    return np.where(x.mean(axis=0) > alpha, 1.0, p)


def _shuffled(x: np.ndarray) -> np.ndarray:
    """Return the rows in an order that owes nothing to the losses: with the easy task first, wsr would always pass."""
    return np.take(x.T, np.random.default_rng(0).permutation(len(x)), axis=1).T  # columns stay in one piece


UPPER = {"binomial": _binomial_upper, "hoeffding": _hoeffding_upper, "hoeffding_bentkus": _hoeffding_bentkus_upper,
         "empirical_bernstein": _empirical_bernstein_upper, "wsr": _wsr_upper}
P_VALUE = {"binomial": _binomial_p, "hoeffding": _hoeffding_p, "hoeffding_bentkus": _hoeffding_bentkus_p,
           "empirical_bernstein": _empirical_bernstein_p, "wsr": _wsr_p}


def _relative_entropy(mean: np.ndarray, r: np.ndarray | float) -> np.ndarray:
    """Return the relative entropy of two coins, mean to r, and 0 where mean > r."""
    mean = np.minimum(mean, r)
    return special.rel_entr(mean, r) + special.rel_entr(1 - mean, 1 - r)


def _ceil(total: np.ndarray) -> np.ndarray:
    """Return the sum of losses, rounded up, where ten losses of .1 sum to 1. Sums of 0 and 1 are exact anyway.

    Rounding at 1e-9 changes no p-value that one could see: Bentkus's bound itself is log-linear between integers.
    """
    return np.ceil(np.round(total, 9))


def _least(rejected: Callable[[np.ndarray], np.ndarray], low: np.ndarray) -> np.ndarray:
    """Return the least mean in [low, 1] that is `rejected`, (k,), rounded up; 1 where none is. All above are, too."""
    high = np.ones_like(low)
    for _ in range(STEPS):
        middle = (low + high) / 2
        no = rejected(middle)
        low, high = np.where(no, low, middle), np.where(no, middle, high)
    return high


# ---------------------------------------------------------------- columns, a block at a time


def _by_columns(losses: np.ndarray, bound: str, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | float:
    """Return `statistic` of each column of `losses` (n, L), checked; a float if `losses` is one column (n,)."""
    losses = np.asarray(losses)
    if losses.ndim not in (1, 2):
        raise ConfigError(f"losses have shape {losses.shape}, expected (n,) or (n, L): one row per query")
    table = losses[:, None] if losses.ndim == 1 else losses
    n, width = table.shape
    result, block = np.ones(width), max(CELLS // max(n, 1), 1)
    for start in range(0, width if n else 0, block):
        columns = slice(start, start + block)
        result[columns] = statistic(_checked(table[:, columns], bound))
    return float(result[0]) if losses.ndim == 1 else result


def _checked(x: np.ndarray, bound: str) -> np.ndarray:
    """Return `x` (n, k) in float64 if it holds what the bound takes."""
    x = x.astype(np.float64, order="F")  # columns in one piece: numpy then sums them pairwise, the same in any block
    wrong = ~((x == 0) | (x == 1)) if bound == "binomial" else ~((x >= 0) & (x <= 1))  # NaN is wrong, too
    if wrong.any():
        wanted = f"0 or 1 for risk.bound=binomial: choose one of {', '.join(BOUNDS[1:])}" if bound == "binomial" \
            else "a number in [0, 1]: scale the losses"
        raise ConfigError(f"a loss is {x[wrong][0]:g}, expected {wanted}")
    return x


def _check(name: str, level: float, bound: str) -> None:
    if bound not in BOUNDS:
        raise ConfigError(f"risk.bound is {bound!r}, expected one of {', '.join(BOUNDS)}")
    if not 0 < level < 1:
        raise ConfigError(f"risk.{name} is {level}, expected a number between 0 and 1, both excluded")
