"""The learned vote: how much each model's word counts, alone and in agreement, fitted to validation rows. Ours.

An answer a scores sum_{m says a} (u_m + v_m logit p_m) + sum_{m < m' both say a} w_mm', plus the strongest logit p
among those that say it, plus for each vote what agreement is worth at K options. A softmax over the distinct answers
and "none of these" turns scores into probabilities. What may speak for none: how many were asked, how many of their
answers were lost, and how little the router expected.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from racer.ballots import Ballots, Sample, log_odds, row_sum
from racer.votes import Aggregator

RIDGES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0)  # on what tells models apart
SLIGHT = 0.01  # ridge on what they share, enough for a column that is constant
FOLDS = 5


@dataclass(frozen=True)
class Learned(Aggregator):
    """The fitted vote, as in the head of this file; `none` (4,) are the weights of `_context`."""

    u: tuple[float, ...]  # (M,)
    v: tuple[float, ...]  # (M,)
    w: tuple[tuple[float, ...], ...]  # (M, M), symmetric, 0 on the diagonal
    strongest: float
    per_option: float  # of a vote, times log(K - 1), where K is known
    per_open: float  # of a vote where K is open
    none: tuple[float, ...]  # (4,)
    name = "learned"

    @classmethod
    def fit(cls, sample: Sample, rng: np.random.Generator) -> "Learned":
        """Return the vote of least log loss on the right answer, the ridge by cross-validation over queries."""
        design, m = _Design.of(sample), sample.codes.shape[1]
        fold = rng.permutation(np.arange(sample.query.max() + 1) % FOLDS)[sample.query]
        ridge = RIDGES[int(np.argmin(_held_out_losses(design, fold)))]
        shared, none, u, v, pairs = design.parts(_minimise(design, ridge))
        return cls(tuple((shared[0] + u).tolist()), tuple((shared[1] + v).tolist()),
                   tuple(map(tuple, _symmetric(pairs, m).tolist())), *shared[2:].tolist(), tuple(none.tolist()))

    def vote(self, members, codes, options, estimate):
        ballots, p = Ballots.of(members, codes), estimate.models
        x = log_odds(p)
        each = np.array(self.u) + np.array(self.v) * x + (self.per_option * _log_wrong(options)
                                                         + self.per_open * (options == 0))[:, None]
        score = ballots.tally(each) + self.strongest * _strongest(ballots, x)
        for m, row in enumerate(self.w):
            for other in range(m):
                score += np.where(ballots.same[:, :, m] & ballots.same[:, :, other], row[other], 0.0)
        none = row_sum(_context(ballots, x) * np.array(self.none))
        return ballots.elect(score, ballots.softmax(score, none), p)


def _log_wrong(options: np.ndarray) -> np.ndarray:
    """Return log(K - 1) (n,), 0 where K is open: what a vote counts for if wrong answers are uniform."""
    return np.log(np.maximum(options, 2) - 1)


def _strongest(ballots: Ballots, x: np.ndarray) -> np.ndarray:
    """Return the largest `x` (n, M) among those that gave this column's answer (n, M), 0 where it gave none."""
    top = np.where(ballots.same, x[:, None, :], -np.inf).max(axis=2)
    return np.where(ballots.given, top, 0.0)


def _context(ballots: Ballots, x: np.ndarray) -> np.ndarray:
    """Return (n, 4) of those asked: 1, the log of their number, how many lost their answer, their mean `x` (n, M)."""
    asked = np.maximum(ballots.members.sum(axis=1), 1)
    lost = (ballots.members & ~ballots.given).sum(axis=1)
    return np.column_stack([np.ones(len(x)), np.log(asked), lost, row_sum(np.where(ballots.members, x, 0.0)) / asked])


@dataclass(frozen=True)
class _Design:
    """The distinct answers of all sets, B in all, in the order of their sets; what is linear in the parameters."""

    owner: np.ndarray  # (B,) whose answer: set 0..N-1, ascending
    says: np.ndarray  # (B, M) 1.0 where the model gave it
    heard: np.ndarray  # (B, M) its log odds there
    shared: np.ndarray  # (B, 5)
    right: np.ndarray  # (B,) bool
    context: np.ndarray  # (N, 4)
    weight: float  # of a set: those of one query together count about once

    @classmethod
    def of(cls, sample: Sample) -> "_Design":
        ballots, x = Ballots.of(sample.members, sample.codes), log_odds(sample.estimate.models)
        owner, column = np.nonzero(ballots.first)
        says = ballots.same[owner, column].astype(float)
        heard, votes = says * x[owner], says.sum(axis=1)
        shared = np.column_stack([votes, heard.sum(axis=1), _strongest(ballots, x)[owner, column],
                                  votes * _log_wrong(sample.options)[owner], votes * (sample.options == 0)[owner]])
        right = (says.astype(bool) & sample.outcomes[owner]).any(axis=1)
        weight = len(np.unique(sample.query)) / len(sample.query)
        return cls(owner, says, heard, shared, right, _context(ballots, x), weight)

    def take(self, sets: np.ndarray) -> "_Design":
        """Return the design of some sets (N,) bool."""
        mine, renumbered = sets[self.owner], np.cumsum(sets) - 1
        return _Design(renumbered[self.owner[mine]], self.says[mine], self.heard[mine], self.shared[mine],
                       self.right[mine], self.context[sets], self.weight)

    def parts(self, parameters: np.ndarray) -> list[np.ndarray]:
        m = self.says.shape[1]
        return np.split(parameters, np.cumsum([5, 4, m, m]))

    def information(self) -> np.ndarray:
        """Return the Fisher information (P, P) of the parameters at zero, where all answers are equally likely."""
        first, second = np.triu_indices(self.says.shape[1], 1)
        none = np.zeros((len(self.owner), 4))
        x = np.hstack([self.shared, none, self.says, self.heard, self.says[:, first] * self.says[:, second]])  # (B, P)
        n, context = len(self.context), np.zeros((len(self.context), x.shape[1]))
        context[:, 5:9] = self.context
        likely = 1 / (np.bincount(self.owner, minlength=n) + 1.0)  # (N,)
        mean = (np.add.reduceat(x, np.searchsorted(self.owner, np.arange(n))) + context) * likely[:, None]
        second_moment = (x * likely[self.owner, None]).T @ x + (context * likely[:, None]).T @ context
        return self.weight * (second_moment - mean.T @ mean)

    def loss(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the weighted log loss of the right answers, or of none where none is right, and its gradient."""
        shared, none, u, v, pairs = self.parts(parameters)
        w = _symmetric(pairs, len(u))
        score = self.shared @ shared + self.says @ u + self.heard @ v + 0.5 * ((self.says @ w) * self.says).sum(axis=1)
        for_none, n = self.context @ none, len(self.context)
        start = np.searchsorted(self.owner, np.arange(n))
        top = np.maximum(np.maximum.reduceat(score, start), for_none)
        each, rest = np.exp(score - top[self.owner]), np.exp(for_none - top)
        total = np.bincount(self.owner, each, n) + rest
        solved = np.bincount(self.owner, self.right, n) > 0
        hit = np.where(solved, np.bincount(self.owner, each * self.right, n), rest)
        hit = np.maximum(hit, np.finfo(float).tiny)
        pull = each / total[self.owner] - np.where(self.right, each / hit[self.owner], 0.0)
        pull_none = rest / total - ~solved
        together = (self.says * pull[:, None]).T @ self.says
        gradient = np.concatenate([pull @ self.shared, pull_none @ self.context, pull @ self.says, pull @ self.heard,
                                   together[np.triu_indices(len(u), 1)]])
        return self.weight * float(np.log(total / hit).sum()), self.weight * gradient


def _symmetric(pairs: np.ndarray, m: int) -> np.ndarray:
    w = np.zeros((m, m))
    w[np.triu_indices(m, 1)] = pairs
    return w + w.T


def _minimise(design: _Design, ridge: float, start: np.ndarray | None = None) -> np.ndarray:
    """Return the parameters of least loss with `ridge` on what tells models apart.

    By L-BFGS in coordinates in which the curvature at zero is 1 in all directions: columns may be nearly collinear, as
    where all queries have as many options.
    """
    m = design.says.shape[1]
    penalty = np.concatenate([np.full(9, SLIGHT), np.full(2 * m + m * (m - 1) // 2, ridge)])
    root = linalg.cholesky(design.information() + np.diag(penalty))  # (P, P), upper

    def cost(coordinates):
        parameters = linalg.solve_triangular(root, coordinates)
        loss, gradient = design.loss(parameters)
        gradient = linalg.solve_triangular(root, gradient + penalty * parameters, trans="T")
        return loss + 0.5 * penalty @ parameters**2, gradient

    start = np.zeros(len(penalty)) if start is None else root @ start
    return linalg.solve_triangular(root, optimize.minimize(cost, start, jac=True, method="L-BFGS-B").x)


def _held_out_losses(design: _Design, fold: np.ndarray) -> np.ndarray:
    """Return the loss of each ridge, on every fold (N,) of the vote fitted to the others; empty folds are skipped."""
    losses = np.zeros(len(RIDGES))
    for held_out in range(FOLDS):
        inside = fold == held_out
        if not inside.any() or inside.all():
            continue
        seen, unseen, found = design.take(~inside), design.take(inside), None
        for i, ridge in enumerate(RIDGES):  # from the stiffest on, each from where the last one ended
            found = _minimise(seen, ridge, found)
            losses[i] += unseen.loss(found)[0]
    return losses
