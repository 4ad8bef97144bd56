"""What counts as an error of a set: named losses in [0, 1] per query, or a function of the user's own.

Of 0 or 1, never rising as a set grows; each says which elements serve a query, and which queries need one:
`misrouting`: the set holds no right element, the null included (the paper's loss).
`miss`: some model of the pool is right and no chosen model is.
`over_abstention`: some model of the pool is right and no model is chosen.
`harm`: the reference, the single model best on train, is right and no chosen model is. A set with a right member is
        counted as right, an abstention is not. So accuracy of sets >= accuracy of the reference - harm.
Between 0 and 1:
`regret`: the best graded outcome of the pool minus the best of the chosen models, 0 for an empty set; never rises.
`cost`: spend over the cost of asking all; rises with the set, so only `ltt` can promise it.
`package.module:function`: called with sets (n, M+1) bool and a `Truth`, returns (n,) in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from racer.errors import ConfigError


@dataclass(frozen=True)
class Truth:
    """What happened on `n` queries, as far as losses need it; what is unknown is None.

    `graded` (n, M) in [0, 1] are outcomes before they were binarised. `reference` is a column of the pool.
    """

    outcomes: np.ndarray  # (n, M) bool
    graded: np.ndarray | None = None  # (n, M) float64
    cost: np.ndarray | None = None  # (n, M) float64, USD
    reference: int | None = None

    @classmethod
    def of(cls, known: "Truth | np.ndarray") -> "Truth":
        """Return `known`; an array is taken for the outcomes."""
        return known if isinstance(known, Truth) else cls(known)


def with_null(outcomes: np.ndarray) -> np.ndarray:
    """Return outcomes (n, M+1) bool: the null is right exactly when no model is."""
    return np.column_stack([outcomes, ~outcomes.any(axis=1)])


def _models(serving: np.ndarray) -> np.ndarray:
    return np.column_stack([serving, np.zeros(len(serving), dtype=bool)])


def _reference_right(truth: Truth) -> np.ndarray:
    if truth.reference is None:
        raise ConfigError("risk.loss=harm needs a reference, the best single model on train, and there is no train "
                          "row: give train rows, or use risk.loss=miss")
    return truth.outcomes[:, truth.reference]


# what serves a query (n, M+1), and which queries need it (n,): the loss is 1 where it is needed and not in the set
SERVED: dict[str, Callable[[Truth], tuple[np.ndarray, np.ndarray]]] = {
    "misrouting": lambda t: (with_null(t.outcomes), np.ones(len(t.outcomes), dtype=bool)),
    "miss": lambda t: (_models(t.outcomes), t.outcomes.any(axis=1)),
    "over_abstention": lambda t: (_models(np.ones_like(t.outcomes)), t.outcomes.any(axis=1)),
    "harm": lambda t: (_models(t.outcomes), _reference_right(t)),
}


def regret(chosen: np.ndarray, truth: Truth) -> np.ndarray:
    """Return the best graded outcome of the pool minus that of the chosen (n,); graded by 0 and 1 it is `miss`."""
    graded = truth.outcomes.astype(np.float64) if truth.graded is None else truth.graded
    return graded.max(axis=1) - np.where(chosen[:, :-1], graded, 0.0).max(axis=1)


def cost(chosen: np.ndarray, truth: Truth) -> np.ndarray:
    """Return spend over the cost of asking all (n,); 0 where asking all costs nothing."""
    if truth.cost is None:
        raise ConfigError("the loss `cost` needs the cost of every call, and this table does not have them: bring a "
                          "cost for every query and model, or leave it out")
    spend, everyone = np.where(chosen[:, :-1], truth.cost, 0.0).sum(axis=1), truth.cost.sum(axis=1)
    return np.minimum(np.divide(spend, everyone, out=np.zeros(len(spend)), where=everyone > 0), 1.0)


GRADED: dict[str, Callable[[np.ndarray, Truth], np.ndarray]] = {"regret": regret, "cost": cost}
LOSSES = (*SERVED, *GRADED)


def loss(chosen: np.ndarray, truth: Truth | np.ndarray, name: str) -> np.ndarray:
    """Return the loss of each set, (n,), bool where it is 0 or 1 by name, for sets `chosen` (n, M+1) bool.

    `truth`, or the outcomes (n, M) alone. `name` is one of LOSSES or `package.module:function`.
    """
    truth = Truth.of(truth)
    if name in SERVED:
        serving, needed = SERVED[name](truth)
        return needed & ~(chosen & serving).any(axis=1)
    if name in GRADED:
        return GRADED[name](chosen, truth)
    return _in_range(function(name)(chosen, truth), len(chosen), name)


def least_cut(s: np.ndarray, truth: Truth | np.ndarray, name: str) -> np.ndarray:
    """Return S (n,): the smallest cut at which the loss of each query is 0; -inf if it is so with an empty set.

    `s` (n, M+1) from `SetRule.distance`, `name` a loss of SERVED. The loss at a cut is 1{S > cut}.
    """
    if name not in SERVED:
        check_name(name)
        raise ConfigError(f"risk.loss={name} is not 0 or 1, so no single cut serves a query: this needs one of "
                          f"{', '.join(SERVED)}")
    serving, needed = SERVED[name](Truth.of(truth))
    return np.where(needed, np.where(serving, s, np.inf).min(axis=1), -np.inf)


def check_name(name: str) -> None:
    """Raise `ConfigError` unless `name` is one of LOSSES, or has the form `package.module:function`."""
    if name not in LOSSES and ":" not in name:
        raise ConfigError(f"risk.loss is {name!r}, expected one of {', '.join(LOSSES)}, or package.module:function")


def function(name: str) -> Callable[[np.ndarray, Truth], np.ndarray]:
    """Return the user's function that `package.module:function` names; raise `ConfigError` if there is none."""
    check_name(name)
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigError(f"risk.loss={name}: {error}; the module must be importable (PYTHONPATH=FOLDER) and hold the "
                          "function") from None
    if not callable(found):
        raise ConfigError(f"risk.loss={name} is a {type(found).__name__}, expected a function of (chosen, truth)")
    return found


def _in_range(values, n: int, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,) or values.dtype.kind not in "biuf":
        raise ConfigError(f"risk.loss={name} returned shape {values.shape} of {values.dtype} for {n} queries, expected "
                          f"numbers ({n},)")
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)))  # NaN is bad as well
    if bad.size:
        raise ConfigError(f"risk.loss={name} returned {values[bad[0]]} for query {bad[0]}, expected a loss in [0, 1]")
    return values.astype(np.float64)
