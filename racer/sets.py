"""Which models are in the set: the null column, the nested families, the one comparison.

A family gives each (query, model) a number `s`; the set at a cut is every model with
`s <= cut`. Sets therefore only grow with the cut, which is all that calibration needs.
Column M, the last, is the null model: right exactly when no model of the pool is.
Hao et al., "RACER", ICML 2026, arXiv 2603.06616.
"""

from collections.abc import Iterable

import numpy as np

from racer.errors import ConfigError

MARGINAL = ("probability", "gap")  # families of the probabilities alone
FAMILIES = (*MARGINAL, "coverage")
NULLS = ("learned", "joint", "one_minus_max", "product", "free")


def null_probability(p: np.ndarray, null: str, learned: np.ndarray | None = None,
                     none_right: np.ndarray | None = None) -> np.ndarray:
    """Return the probability `(n,)` that no model is right, from the models' own `p` (n, M) in [0, 1].

    `learned` is the router's own null `(n,)`; `joint` is `none_right` (n,), P(no model is right) under
    the router's joint; `one_minus_max` is 1 - max_m p_m; `product` is
    prod_m (1 - p_m), as if errors were independent; `free` has no probability (its column is 0):
    the null is in every set, see `distance`.
    """
    if null == "one_minus_max":
        return 1 - p.max(axis=1)
    if null == "product":
        return np.prod(1 - p, axis=1)
    if null == "free":
        return np.zeros(len(p))
    if null not in NULLS:
        raise ConfigError(f"sets.null is {null!r}, expected one of {', '.join(NULLS)}")
    own, head = (learned, "multilabel") if null == "learned" else (none_right, "latent")
    if own is None:
        raise ConfigError(f"sets.null={null}, but this router has learned no such null: "
                          f"set sets.null=one_minus_max, product or free, or train with head={head}"
                          + (", or set sets.joint=fitted" if null == "joint" else ""))
    return own


def distance(p: np.ndarray, family: str, null: str) -> np.ndarray:
    """Return `s` (n, M+1): how far each model is from being chosen, from probabilities `p` (n, M+1).

    `probability` (RACER-P): s = 1 - p. `gap` (RACER-G): s = max_j p_j - p, the largest over all
    M+1 columns. With the null `free`, its s is -inf: it is admitted at every cut.
    """
    if family == "probability":
        s = 1 - p
    elif family == "gap":
        s = p.max(axis=1, keepdims=True) - p
    else:
        raise ConfigError(f"sets.family is {family!r}, expected one of {', '.join(MARGINAL)} here")
    if null == "free":
        s[:, -1] = -np.inf
    return s


def coverage(blocks: Iterable[tuple[slice, np.ndarray]], weights: np.ndarray, cost: np.ndarray,
             p_null: np.ndarray, null_cost: float) -> np.ndarray:
    """Return `s` (n, M+1) of the family `coverage`: minus what a model adds to those before it, per cost.

    The gain of a model is the chance that it is right and none chosen before it is; models are chosen greedily
    by gain / cost. `blocks` yields (rows, right): P(right | z) (k, M, Q) of a slice of the queries, `weights` (Q,)
    those of z, `cost` (M,) or (n, M) >= 0. The null's s is -p_null / null_cost, and -inf if `null_cost` is 0. Ours.
    """
    cost = np.broadcast_to(cost, (len(p_null), cost.shape[-1]))
    s = np.empty((len(p_null), cost.shape[1] + 1))
    for rows, right in blocks:
        s[rows, :-1] = -_greedy_ratios(right, weights, cost[rows])
    s[:, -1] = -p_null / null_cost if null_cost > 0 else -np.inf
    return s


def _greedy_ratios(right: np.ndarray, weights: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return gain / cost (k, M) of each model at its turn; never rising along the greedy order of a query."""
    k, m, _ = right.shape
    query, missed = np.arange(k), np.tile(weights, (k, 1))  # (k, Q) chance of z, and of all chosen being wrong
    ratios, waiting, least = np.empty((k, m)), np.ones((k, m), dtype=bool), np.full(k, np.inf)
    for _ in range(m):
        gain = np.einsum("kmq,kq->km", right, missed)
        ratio = np.divide(gain, cost, out=np.where(gain > 0, np.inf, 0.0), where=cost > 0)  # a free model goes first
        best = np.where(waiting, ratio, -1.0).argmax(axis=1)  # (k,); earlier columns win ties
        least = np.minimum(least, ratio[query, best])  # absorbs rounding
        ratios[query, best] = least
        waiting[query, best] = False
        missed *= 1 - right[query, best]
    return ratios


def capped(s: np.ndarray, max_size: int | None, prices: np.ndarray | None, max_cost: float | None) -> np.ndarray:
    """Return `s` (n, M+1) with +inf for models past the hard limits: no cut ever puts them into the set.

    Models are counted in the order of s. `prices` (M,) or (n, M) and `max_cost` are USD. The sets stay nested.
    """
    if max_size is None and max_cost is None:
        return s
    order = np.argsort(s[:, :-1], axis=1, kind="stable")  # (n, M)
    over = np.zeros(order.shape, dtype=bool)
    if max_size is not None:
        over[:, max_size:] = True
    if max_cost is not None:
        over |= np.cumsum(np.take_along_axis(np.broadcast_to(prices, order.shape), order, axis=1), axis=1) > max_cost
    capped_s = s.copy()
    np.put_along_axis(capped_s[:, :-1], order, np.where(over, np.inf, np.take_along_axis(s, order, axis=1)), axis=1)
    return capped_s


def select(s: np.ndarray, cut: float | np.ndarray) -> np.ndarray:
    """Return the sets at this cut, or each at its own cut (n,): (n, M+1) bool. The only comparison of scores with a cut
    in the code."""
    cut = np.asarray(cut)
    return s <= (cut[:, None] if cut.ndim else cut)
