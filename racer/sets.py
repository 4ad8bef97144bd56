"""Which models are in the set: the null column, the nested families, the one comparison.

A family gives each (query, model) a number `s`; the set at a cut is every model with
`s <= cut`. Sets therefore only grow with the cut, which is all that calibration needs.
Column M, the last, is the null model: right exactly when no model of the pool is.
Hao et al., "RACER", ICML 2026, arXiv 2603.06616.
"""

import numpy as np

from racer.errors import ConfigError

FAMILIES = ("probability", "gap")
NULLS = ("learned", "one_minus_max", "product", "free")


def null_probability(p: np.ndarray, null: str, learned: np.ndarray | None = None) -> np.ndarray:
    """Return the probability `(n,)` that no model is right, from the models' own `p` (n, M) in [0, 1].

    `learned` is the router's own null `(n,)`; `one_minus_max` is 1 - max_m p_m; `product` is
    prod_m (1 - p_m), as if errors were independent; `free` has no probability (its column is 0):
    the null is in every set, see `distance`.
    """
    if null == "one_minus_max":
        return 1 - p.max(axis=1)
    if null == "product":
        return np.prod(1 - p, axis=1)
    if null == "free":
        return np.zeros(len(p))
    if null != "learned":
        raise ConfigError(f"sets.null is {null!r}, expected one of {', '.join(NULLS)}")
    if learned is None:
        raise ConfigError("sets.null=learned, but this router has learned no null: "
                          "set sets.null=one_minus_max, product or free, or train with head=multilabel")
    return learned


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
        raise ConfigError(f"sets.family is {family!r}, expected one of {', '.join(FAMILIES)}")
    if null == "free":
        s[:, -1] = -np.inf
    return s


def select(s: np.ndarray, cut: float) -> np.ndarray:
    """Return the sets at this cut, (n, M+1) bool. The only comparison of scores with a cut in the code."""
    return s <= cut
