"""What counts as an error of a set, and from which cut on a query is free of it.

`misrouting`: the set holds no right element, the null included (the paper's loss).
`miss`: some model of the pool is right and no chosen model is.
Both are 0 or 1 and never rise as the set grows, so each query is described by one number:
the smallest cut that serves it.
"""

import numpy as np

from racer.errors import ConfigError

LOSSES = ("misrouting", "miss")


def with_null(outcomes: np.ndarray) -> np.ndarray:
    """Return outcomes (n, M+1) bool: the null is right exactly when no model is."""
    return np.column_stack([outcomes, ~outcomes.any(axis=1)])


def loss(chosen: np.ndarray, outcomes: np.ndarray, name: str) -> np.ndarray:
    """Return the loss of each set, (n,) bool, for sets `chosen` (n, M+1) and `outcomes` (n, M), bool."""
    _check(name)
    served = (chosen & with_null(outcomes)).any(axis=1)
    return ~served if name == "misrouting" else ~served & outcomes.any(axis=1)


def least_cut(s: np.ndarray, outcomes: np.ndarray, name: str) -> np.ndarray:
    """Return S (n,): the smallest cut at which the loss of each query is 0; -inf if it is so with an empty set.

    `s` (n, M+1) from `racer.sets.distance`, `outcomes` (n, M) bool. The loss at a cut is 1{S > cut}.
    """
    _check(name)
    least = np.where(with_null(outcomes), s, np.inf).min(axis=1)
    return least if name == "misrouting" else np.where(outcomes.any(axis=1), least, -np.inf)


def _check(name: str) -> None:
    if name not in LOSSES:
        raise ConfigError(f"risk.loss is {name!r}, expected one of {', '.join(LOSSES)}")
