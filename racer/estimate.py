"""What a router says of its queries: each model's probability, perhaps a null of its own, perhaps a joint.

The joint is a 2-parameter item response model: some queries are just hard. z ~ N(0, 1) per query, and given z
the models are right independently, P(model m is right | z) = sigmoid(a_m + b_m z), with logits a and loadings b
that depend on the query. Integrals over z are Gauss-Hermite sums over `nodes` with `weights`.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from racer.sets import null_probability

BLOCK = 8192  # queries whose (M, Q) tables are in memory at once


@dataclass(frozen=True)
class Joint:
    """The joint distribution of which models are right, for `n` queries: everything needed to recompute it."""

    logits: np.ndarray  # (n, M) float64, a
    loadings: np.ndarray  # (n, M) float64, b
    nodes: np.ndarray  # (Q,) values of z
    weights: np.ndarray  # (Q,) positive, summing to 1

    def take(self, rows: np.ndarray) -> "Joint":
        return replace(self, logits=self.logits[rows], loadings=self.loadings[rows])

    def blocks(self):
        """Yield (rows, right): `right` (k, M, Q) is P(model is right | z at the node) for a slice of the queries."""
        for start in range(0, len(self.logits), BLOCK):
            rows = slice(start, start + BLOCK)
            yield rows, special.expit(self.logits[rows, :, None] + self.loadings[rows, :, None] * self.nodes)

    def marginals(self) -> np.ndarray:
        """Return P(model is right) (n, M)."""
        p = np.empty(self.logits.shape)
        for rows, right in self.blocks():
            p[rows] = np.einsum("nmq,q->nm", right, self.weights)
        return p

    def log_likelihood(self, outcomes: np.ndarray) -> np.ndarray:
        """Return log P(outcomes of the row | z at the node) (n, Q), outcomes (n, M) in [0, 1]."""
        total = np.empty((len(self.logits), len(self.nodes)))
        for start in range(0, len(total), BLOCK):
            rows = slice(start, start + BLOCK)
            given_z = self.logits[rows, :, None] + self.loadings[rows, :, None] * self.nodes  # (k, M, Q)
            total[rows] = (outcomes[rows, :, None] * given_z - np.logaddexp(0, given_z)).sum(axis=1)
        return total

    def none_right(self) -> np.ndarray:
        """Return P(no model is right) (n,)."""
        p = np.empty(len(self.logits))
        for rows, right in self.blocks():
            p[rows] = np.einsum("nq,q->n", np.prod(1 - right, axis=1), self.weights)
        return p


def quadrature(q: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes (q,) and weights (q,) that integrate over a standard normal (Gauss-Hermite, probabilists')."""
    nodes, weights = special.roots_hermitenorm(q)
    return nodes, weights / weights.sum()


@dataclass(frozen=True)
class Estimate:
    """What a router says of `n` queries; `models` (n, M) in [0, 1], the rest where the router has it.

    `own_confidence` is no router's: how sure the models themselves are of what they answered, NaN where they do not
    say. It is known only once they have answered, so sets cannot depend on it, and votes may.
    """

    models: np.ndarray
    learned_null: np.ndarray | None = None  # (n,)
    joint: Joint | None = None
    cost: np.ndarray | None = None  # (n, M) USD that each call is expected to cost
    own_confidence: np.ndarray | None = None  # (n, M) in [0, 1] or NaN

    @classmethod
    def of_columns(cls, p: np.ndarray) -> "Estimate":
        """Return what probabilities `p` (n, M+1) say, the router's own null last."""
        return cls(p[:, :-1], learned_null=p[:, -1])

    def take(self, rows: np.ndarray) -> "Estimate":
        """Return what is said of these rows (numbers or a mask), in their order."""
        columns = {c: v[rows] for c in ("learned_null", "cost", "own_confidence")
                   if (v := getattr(self, c)) is not None}
        return Estimate(self.models[rows], joint=None if self.joint is None else self.joint.take(rows), **columns)

    def probabilities(self, null: str) -> np.ndarray:
        """Return (n, M+1) float64: the models, and last the null made as `null` says (`racer.sets.NULLS`)."""
        none_right = None if self.joint is None or null != "joint" else self.joint.none_right()
        return np.column_stack([self.models, null_probability(self.models, null, self.learned_null, none_right)])
