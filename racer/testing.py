"""Many configurations, one level: which null hypotheses fall while a false one among them falls with chance <= delta.

Learn-then-Test (Angelopoulos et al., arXiv 2110.01052): each configuration has a p-value of "its risk is alpha or
more", from calibration data (`racer.bounds.p_value`). With probability 1 - delta no configuration that `rejected`
returns has such a risk (family-wise error), however the p-values depend on each other; they come from the same queries.
So one may take any of them, the cheapest for instance.
"""

import numpy as np

from racer.errors import ConfigError

PROCEDURES = ("fixed_sequence", "bonferroni", "holm")


def rejected(p: np.ndarray, delta: float, procedure: str) -> np.ndarray:
    """Return which hypotheses are rejected, (K,) bool; P(any true one is) <= `delta`, which lies in (0, 1).

    `p` (K,) in [0, 1], each super-uniform under its hypothesis; dependent in any way.
    `fixed_sequence`: in the given order at level delta each, up to the first failure. The order must be fixed before
    the data behind `p` are seen. `bonferroni`: each at delta / K. `holm`: Holm, Scand. J. Stat. 1979; rejects all that
    `bonferroni` does, and more.
    """
    p = np.asarray(p, dtype=np.float64)
    if not 0 < delta < 1:
        raise ConfigError(f"risk.delta is {delta}, expected a probability between 0 and 1, both excluded")
    if not ((p >= 0) & (p <= 1)).all():
        raise ConfigError("a p-value is outside [0, 1] or NaN: take them from racer.bounds.p_value")
    if procedure == "fixed_sequence":
        return np.logical_and.accumulate(p <= delta)
    if procedure == "bonferroni":
        return p <= delta / max(len(p), 1)
    if procedure == "holm":
        order = np.argsort(p, kind="stable")
        result = np.empty(len(p), dtype=bool)
        result[order] = np.logical_and.accumulate(p[order] <= delta / np.arange(len(p), 0, -1))
        return result
    raise ConfigError(f"risk.procedure is {procedure!r}, expected one of {', '.join(PROCEDURES)}")


def first_level(delta: float, tested: int, procedure: str) -> float:
    """Return the level at which the first of `tested` hypotheses must be rejected: all of `delta` in a sequence."""
    return delta / tested if procedure in ("bonferroni", "holm") else delta


def fallback(p: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return which hypotheses are rejected, (K,) bool; P(any true one is) <= the sum of `own`, however p (K,) depend.

    In the given order, with levels `own` (K,) >= 0 of each, all fixed before the data behind `p` are seen. Whoever is
    rejected hands its whole level on to the next, which adds it to its own. So one failure does not end it, unlike a
    `fixed_sequence`, which it is where all of the level is the first one's. Wiens and Dmitrienko, "The fallback
    procedure", J. Biopharm. Stat. 2005.
    """
    result, handed = np.zeros(len(p), dtype=bool), 0.0
    for k, value in enumerate(p):  # hypotheses are few
        level = own[k] + handed
        result[k] = value <= level
        handed = level if result[k] else 0.0
    return result


def all_risks(p: np.ndarray) -> np.ndarray:
    """Return a p-value (K,) of "some risk of this configuration is too high" from those of its risks, `p` (K, R).

    The largest: it is small only if every one is. No correction for R is needed (intersection-union test).
    """
    return np.max(p, axis=1)


def pareto_order(risks_validation: np.ndarray, p_validation: np.ndarray) -> np.ndarray:
    """Return the configurations worth testing, most promising first: indices (F,), for `fixed_sequence`.

    Those on the Pareto front of `risks_validation` (K, R), in order of `p_validation` (K,), ties in order of their
    index. The risks may include what is only to be small, as the cost; p is of the risks that are promised
    (`all_risks`). Both come from validation data, so that calibration data may test in this order.
    Pareto testing: Laufer-Goldshtein et al., ICLR 2023, arXiv 2210.07913.
    """
    risks, p = np.asarray(risks_validation, dtype=np.float64), np.asarray(p_validation, dtype=np.float64)
    if risks.ndim != 2 or p.shape != risks.shape[:1]:
        raise ConfigError(f"risks have shape {risks.shape} and p-values {p.shape}, expected (K, R) and (K,): "
                          "one row per configuration")
    if np.isnan(risks).any() or np.isnan(p).any():
        raise ConfigError("a validation risk or p-value is NaN: leave that configuration out")
    front = pareto_front(risks)
    return front[np.argsort(p[front], kind="stable")]


def pareto_front(risks: np.ndarray) -> np.ndarray:
    """Return the indices (F,), rising, of the rows of `risks` (K, R) that no other row dominates.

    A row dominates another if it is nowhere larger and somewhere smaller. Equal rows stay together.
    """
    waiting = np.lexsort(risks.T[::-1])  # a row that dominates another comes before it
    front = []
    while len(waiting):  # once per row of the front
        first, rest = waiting[0], waiting[1:]
        front.append(first)
        dominated = (risks[first] <= risks[rest]).all(axis=1) & (risks[first] < risks[rest]).any(axis=1)
        waiting = rest[~dominated]
    return np.sort(np.array(front, dtype=int))
