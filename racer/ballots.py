"""Who says the same as whom, and which answer wins: what all votes share.

An answer is known by the columns that gave it: every array (n, M) of answers holds the same number in each of these
columns. All sums run over columns in their order, entry by entry, so a query gets the same numbers alone and among
others.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from racer.estimate import Estimate

EDGE = 1e-6  # probabilities nearer to 0 and 1 than this say no more than this
SUBSETS = 4  # random sets of each query that stand beside the whole pool when fitting


@dataclass(frozen=True)
class Vote:
    """The outcome of a vote on n queries.

    `model` is the column whose verbatim answer is returned, -1 where no member gave one: of those that gave the
    winning answer, the one with the highest router probability. `confidence` is that the answer is right, 0 without.
    """

    model: np.ndarray  # (n,) int64
    confidence: np.ndarray  # (n,) float64 in [0, 1]


@dataclass(frozen=True)
class Ballots:
    """The answers of `members` (n, M) bool, out of `codes` (n, M) int64 with -1 where there is none."""

    members: np.ndarray  # (n, M) bool: who is asked
    given: np.ndarray  # (n, M) bool: who of them answered
    same: np.ndarray  # (n, M, M) bool: both answered, and the same
    first: np.ndarray  # (n, M) bool: no earlier column gave this answer; one entry per distinct answer

    @classmethod
    def of(cls, members: np.ndarray, codes: np.ndarray) -> "Ballots":
        given = members & (codes >= 0)
        same = (codes[:, :, None] == codes[:, None, :]) & given[:, :, None] & given[:, None, :]
        return cls(members, given, same, given & (same.argmax(axis=2) == np.arange(codes.shape[1])))

    def tally(self, weight: np.ndarray) -> np.ndarray:
        """Return (n, M): the sum of `weight` (n, M) over all who gave this column's answer."""
        total = np.zeros(weight.shape)
        for m in range(weight.shape[1]):
            total += np.where(self.same[:, :, m], weight[:, m, None], 0.0)
        return total

    def distinct(self) -> np.ndarray:
        """Return how many different answers were given (n,)."""
        return self.first.sum(axis=1)

    def winner(self, score: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Return a column (n,) of the answer with the highest `score` (n, M), 0 where nobody answered.

        Of equal answers that with the highest sum of `p` (n, M) over its givers, then that given by the lowest column.
        """
        score = np.where(self.given, score, -np.inf)
        support = np.where(score == score.max(axis=1, keepdims=True), self.tally(p), -1.0)
        return np.where(self.given, support, -2.0).argmax(axis=1)

    def without(self, column: np.ndarray) -> "Ballots":
        """Return the ballots but for the answer of `column` (n,)."""
        gone = self.same[np.arange(len(column)), column]
        return replace(self, given=self.given & ~gone, first=self.first & ~gone)

    def at(self, column: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return `values` (n, M) at `column` (n,), 0 where nobody answered."""
        return np.where(self.given.any(axis=1), values[np.arange(len(column)), column], 0.0)

    def elect(self, score: np.ndarray, confidence: np.ndarray, p: np.ndarray) -> Vote:
        """Return the vote for the answers with the highest `score` (n, M), `confidence` (n, M) being that of each."""
        query, won, answered = np.arange(len(p)), self.winner(score, p), self.given.any(axis=1)
        model = np.where(self.same[query, won], p, -1.0).argmax(axis=1)
        return Vote(np.where(answered, model, -1), np.where(answered, confidence[query, won], 0.0))

    def softmax(self, score: np.ndarray, none: np.ndarray) -> np.ndarray:
        """Return P(this column's answer is right) (n, M), 0 where it gave none.

        A softmax over the distinct answers, by their `score` (n, M), and "none of these", by `none` (n,) >= -inf.
        """
        top = np.maximum(none, np.where(self.given, score, -np.inf).max(axis=1))
        each = np.exp(np.where(self.given, score - top[:, None], -np.inf))
        total = np.exp(none - top)
        for m in range(score.shape[1]):
            total = total + np.where(self.first[:, m], each[:, m], 0.0)
        return each / total[:, None]


def row_sum(values: np.ndarray) -> np.ndarray:
    """Return the sum over columns (n,) of `values` (n, M), in their order."""
    total = np.zeros(len(values))
    for m in range(values.shape[1]):
        total += values[:, m]
    return total


def log_odds(p: np.ndarray) -> np.ndarray:
    """Return the log odds of probabilities, kept finite."""
    return special.logit(np.clip(p, EDGE, 1 - EDGE))


@dataclass(frozen=True)
class Sample:
    """What votes are fitted to: N sets of models asked, each with the answers to one query and who was right.

    Every query comes with the whole pool and with SUBSETS random sets, so that confidence is sound for sets of any
    size. Which set a policy calls depends on the query alone, and when it stops on answers that the vote sees, so the
    chance that an answer is right, given what the vote sees, is the same as for sets drawn at random.
    """

    query: np.ndarray  # (N,) row number of the query
    members: np.ndarray  # (N, M) bool
    codes: np.ndarray  # (N, M)
    options: np.ndarray  # (N,)
    outcomes: np.ndarray  # (N, M) bool
    estimate: Estimate  # of N rows

    @classmethod
    def draw(cls, codes: np.ndarray, options: np.ndarray, outcomes: np.ndarray, estimate: Estimate,
             rng: np.random.Generator) -> "Sample":
        """Return the sample of n queries; sets in which nobody answered are left out: there is nothing to vote on."""
        n, m = codes.shape
        query = np.tile(np.arange(n), 1 + SUBSETS)
        members = np.vstack([np.ones((n, m), dtype=bool), random_sets(rng, n * SUBSETS, m)])
        answered = (members & (codes[query] >= 0)).any(axis=1)
        query, members = query[answered], members[answered]
        return cls(query, members, codes[query], options[query], outcomes[query], estimate.take(query))

    def take(self, rows: np.ndarray) -> "Sample":
        return Sample(self.query[rows], self.members[rows], self.codes[rows], self.options[rows], self.outcomes[rows],
                      self.estimate.take(rows))


def random_sets(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Return n random sets of m models (n, M) bool: a size uniform on 1..m, then any models."""
    rank = rng.permuted(np.tile(np.arange(m), (n, 1)), axis=1)
    return rank < rng.integers(1, m + 1, size=(n, 1))
