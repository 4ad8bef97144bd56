"""One more model beside those that a router knows, fitted to a few hundred outcomes of its own.

Where the router has a joint, what the other models answered says of each query how hard it was: the posterior of z. The
new model is P(right | x, z) = sigmoid(a(x) + b z), a(x) linear in features of the query, fitted by the likelihood of
its outcomes given those of the others, E[P(y | x, z) | the others]; nothing else moves, so it joins the scale that is
there. In item response theory this is fixed parameter calibration (Kim, "A comparative study of IRT fixed parameter
calibration methods", Journal of Educational Measurement 43, 2006). Without a joint it is logistic regression.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special

from racer.estimate import Joint

MAX_LOADING = 3.0  # see racer/router/heads.py
LOADING, PULL = 1.0, 4.0  # where the prior of the loading is, and how strong: that of the coupling, four times
INTERCEPT = 0.1  # ridge of the intercept: a model that was always right gets no infinite logit
CURVATURE = 0.15  # of the log-likelihood per row, about: sets the scale of the search, not what it finds


@dataclass(frozen=True)
class Hidden:
    """What is known of each query's z: `weights` (n, Q) at `nodes` (Q,), rows summing to 1."""

    nodes: np.ndarray
    weights: np.ndarray

    @classmethod
    def given(cls, joint: Joint | None, targets: np.ndarray) -> "Hidden":
        """Return the posterior of z after outcomes (n, M) in [0, 1] of the joint's models; without a joint z = 0."""
        if joint is None:
            return cls(np.zeros(1), np.ones((len(targets), 1)))
        return cls(joint.nodes, special.softmax(joint.log_likelihood(targets) + np.log(joint.weights), axis=1))


@dataclass(frozen=True)
class Item:
    """One model given a query's features x (F,) and z: sigmoid(weights . x + intercept + loading z)."""

    weights: np.ndarray  # (F,)
    intercept: float
    loading: float

    def loss(self, rows: "Rows") -> float:
        """Return minus the mean log-likelihood of the outcomes given what is known of z."""
        a = rows.features @ self.weights + self.intercept
        return -float(_rows_likelihood(a, self.loading, rows)[0].mean())

    def of_unscaled(self, mean: np.ndarray, scale: np.ndarray) -> "Item":
        """Return the same model of features x, where this one reads (x - mean) / scale, each (F,)."""
        weights = self.weights / scale
        return replace(self, weights=weights, intercept=self.intercept - float(weights @ mean))


@dataclass(frozen=True)
class Rows:
    """Queries on which the new model was seen."""

    features: np.ndarray  # (n, F)
    targets: np.ndarray  # (n,) in [0, 1]
    hidden: Hidden


def link(rows: Rows, ridge: np.ndarray) -> Item:
    """Return the model under which the outcomes are likeliest, with a penalty ridge w^2 / 2 on each weight (F,)."""
    n = len(rows.targets)
    design, ridge = np.column_stack([rows.features, np.ones(n)]), np.append(ridge, INTERCEPT)
    curvature = CURVATURE * design.T @ design + np.diag(ridge)
    back = np.linalg.inv(np.linalg.cholesky(curvature)).T  # the search is for u, weights = back u: a round valley
    unit = (CURVATURE * n + PULL) ** -0.5
    start = np.append(np.zeros(len(ridge)), LOADING / unit)
    bounds = [(None, None)] * len(ridge) + [(-MAX_LOADING / unit, MAX_LOADING / unit)]
    found = optimize.minimize(_cost, start, (design @ back, rows, back.T @ (ridge[:, None] * back), unit), jac=True,
                              bounds=bounds, method="L-BFGS-B", options={"maxiter": 500})
    weights = back @ found.x[:-1]
    return Item(weights[:-1], float(weights[-1]), float(found.x[-1] * unit))


def best_link(train: Rows, held_out: Rows, ridges: Iterable[np.ndarray]) -> tuple[Item, float]:
    """Return the model fitted to `train` with the ridge that fits `held_out` best, and its loss there."""
    items = [link(train, ridge) for ridge in ridges]
    losses = [item.loss(held_out) for item in items]
    best = int(np.argmin(losses))
    return items[best], losses[best]


def _cost(u: np.ndarray, design: np.ndarray, rows: Rows, ridge: np.ndarray, unit: float) -> tuple[float, np.ndarray]:
    """Return minus the log posterior of u (F+2,), the loading last, and its gradient."""
    loading = u[-1] * unit
    likelihood, by_a, by_b = _rows_likelihood(design @ u[:-1], loading, rows)
    pull = ridge @ u[:-1]
    cost = 0.5 * u[:-1] @ pull + 0.5 * PULL * (loading - LOADING) ** 2 - likelihood.sum()
    return float(cost), np.append(pull - design.T @ by_a, unit * (PULL * (loading - LOADING) - by_b.sum()))


def _rows_likelihood(a: np.ndarray, loading: float, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log E[P(y | z)] of each row (n,), and its derivatives by a (n,) and by the loading (n,)."""
    y, nodes = rows.targets[:, None], rows.hidden.nodes
    given_z = a[:, None] + loading * nodes  # (n, Q)
    with np.errstate(divide="ignore"):  # a weight of 0: the logarithm is -inf, and the node says nothing
        each = y * given_z - np.logaddexp(0, given_z) + np.log(rows.hidden.weights)
    total = special.logsumexp(each, axis=1)
    pull = np.exp(each - total[:, None]) * (y - special.expit(given_z))
    return total, pull.sum(axis=1), pull @ nodes
