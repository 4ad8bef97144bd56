"""What one would do without sets: single models, the top two, everyone, and the oracle.

A baseline is a policy: for each test query, which models it calls, `(n, M)`. What was chosen,
was chosen on the train split. Random is kept exact: its accuracy is a mean, not a draw.
"""

import numpy as np

from racer.intervals import mean, share
from racer.scores import Scores


def all_baselines(train: Scores, test: Scores) -> dict:
    """Return accuracy (a called model is right), size and cost in USD of each baseline on `test`, with intervals.

    `best_single` and `best_per_task` are None where there is no train row to choose them on.
    """
    n, m = test.outcomes.shape
    policies = {"best_single": _chosen(best_single(train), n, m), "best_per_task": _best_per_task(train, test),
                "top2": _top(test.probabilities[:, :-1], 2), "all": np.ones((n, m), dtype=bool),
                "oracle": _oracle(test)}
    measured = {name: None if called is None else _measure(called, test) for name, called in policies.items()}
    return {"random": _random(test), **measured}


def best_single(train: Scores) -> int | None:
    """Return the column of the model that is right most often on the train rows; None without any."""
    return int(train.outcomes.mean(axis=0).argmax()) if len(train.ids) else None


def _chosen(column: int | np.ndarray | None, n: int, m: int) -> np.ndarray | None:
    return None if column is None else np.arange(m) == np.broadcast_to(column, n)[:, None]


def _best_per_task(train: Scores, test: Scores) -> np.ndarray | None:
    """Each query goes to its task's best model on train; a task unseen in train to the best single."""
    single = best_single(train)
    if single is None:
        return None
    column = np.full(len(test.ids), single)
    for task in np.unique(train.task):
        column[test.task == task] = train.outcomes[train.task == task].mean(axis=0).argmax()
    return _chosen(column, *test.outcomes.shape)


def _top(p: np.ndarray, k: int) -> np.ndarray:
    """The `k` best-scored models of each query; earlier columns win ties."""
    order = np.argsort(-p, axis=1, kind="stable")[:, :k]  # (n, k)
    called = np.zeros(p.shape, dtype=bool)
    np.put_along_axis(called, order, True, axis=1)
    return called


def _oracle(test: Scores) -> np.ndarray:
    """The cheapest right model of each query, nobody where no model is right."""
    price = np.ones(test.outcomes.shape) if test.cost is None else test.cost
    cheapest = np.where(test.outcomes, price, np.inf).argmin(axis=1)  # (n,)
    return _chosen(cheapest, *test.outcomes.shape) & test.outcomes


def _measure(called: np.ndarray, test: Scores) -> dict:
    return {"accuracy": share((called & test.outcomes).any(axis=1)), "size": mean(called.sum(axis=1)),
            "cost": None if test.cost is None else mean((called * test.cost).sum(axis=1))}


def _random(test: Scores) -> dict:
    """One model drawn uniformly: the expectation over the draw, per query."""
    return {"accuracy": mean(test.outcomes.mean(axis=1)), "size": mean(np.ones(len(test.ids))),
            "cost": None if test.cost is None else mean(test.cost.mean(axis=1))}
