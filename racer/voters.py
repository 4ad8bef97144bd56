"""Who votes on which rows: one fitted aggregator on all of them, or each row by one that was fitted without it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from racer.aggregate import Aggregator, Outlook, Vote, fit
from racer.recorded import Recorded


@dataclass(frozen=True)
class Voter:
    """Aggregators of one kind, each with rows of its own; together these are all n rows."""

    parts: tuple[tuple[np.ndarray, Aggregator, Recorded], ...]  # row numbers, who votes there, what is recorded there
    n: int

    @classmethod
    def of(cls, aggregator: Aggregator, rows: Recorded) -> "Voter":
        """Return one aggregator on all rows."""
        n = len(rows.scores.ids)
        return cls(((np.arange(n), aggregator, rows),), n)

    @classmethod
    def out_of_fold(cls, name: str, rows: Recorded, folds: np.ndarray) -> "Voter":
        """Return for each row the aggregator of this name that was fitted on the other folds (n,)."""
        where = [np.flatnonzero(folds == f) for f in np.unique(folds)]
        rest = [rows.take(np.flatnonzero(~np.isin(np.arange(len(folds)), those))) for those in where]
        parts = [(those, fitted(name, other), rows.take(those)) for those, other in zip(where, rest, strict=True)]
        return cls(tuple(parts), len(folds))

    @property
    def whole_at_once(self) -> bool:
        """Whether a vote so far is the vote of those called, whoever may be called later."""
        return all(type(aggregator).so_far is Aggregator.so_far for _, aggregator, _ in self.parts)

    def vote(self, members: np.ndarray) -> Vote:
        """Return how the rows vote if `members` (n, M) bool are called."""
        return self._votes(lambda a, those, known: a.vote(members[those], *known))

    def so_far(self, called: np.ndarray, members: np.ndarray) -> Vote:
        """Return how they vote when only `called` of `members` have answered."""
        return self._votes(lambda a, those, known: a.so_far(called[those], members[those], *known))

    def outlook(self, called: np.ndarray, members: np.ndarray) -> Outlook | None:
        """Return what the calls to come can change, None where that is not known."""
        found = Outlook(np.zeros(self.n, dtype=bool), np.zeros(self.n), np.ones(self.n))
        for those, aggregator, rows in self.parts:
            one = aggregator.outlook(called[those], members[those], *_known(rows))
            if one is None:
                return None
            found.settled[those], found.low[those], found.high[those] = one.settled, one.low, one.high
        return found

    def _votes(self, of: Callable[[Aggregator, np.ndarray, tuple], Vote]) -> Vote:
        model, confidence = np.full(self.n, -1), np.zeros(self.n)
        for those, aggregator, rows in self.parts:
            found = of(aggregator, those, _known(rows))
            model[those], confidence[those] = found.model, found.confidence
        return Vote(model, confidence)


def fitted(name: str, rows: Recorded) -> Aggregator:
    """Return the aggregator of this name, fitted on these rows."""
    return fit(name, rows.answers.codes, rows.answers.options, rows.scores.outcomes, rows.estimate)


def _known(rows: Recorded) -> tuple:
    return rows.answers.codes, rows.answers.options, rows.estimate
