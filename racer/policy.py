"""What is deployed and what is certified: who is called, in which order, whose answer is returned, or that none is.

A policy calls the models of a query in the order of s (`SetRule.distance`), as far as a cut and a size allow: all at
once (`parallel`); one after the other until the rest can change nothing (`settled`: the same answers, fewer calls); or
also until the confidence so far reaches the threshold (`sequential`). It returns the answer that an aggregator votes
for if its confidence is at least the threshold, else it abstains. Every call is billed, those whose answers were lost
too.

Policies of one order and one aggregator see the same votes, those after each call: a `Ladder`. Everything that such a
policy does is read off it, so a grid of thousands of policies costs a few votes.
"""

from dataclasses import dataclass, replace

import numpy as np

from racer.aggregate import Outlook
from racer.bounded import EVERYTHING
from racer.estimate import Estimate
from racer.recorded import Recorded
from racer.rule import SetRule
from racer.scores import Scores
from racer.sets import select
from racer.voters import Voter

CALLING = ("parallel", "settled", "sequential")
IN_WORDS = {"parallel": "at once", "settled": "one after the other until nothing can change",
            "sequential": "one after the other until sure"}


@dataclass(frozen=True)
class Track:
    """Who is called before whom: the order of a rule's s, or one model alone (`only`, a column), whatever the query."""

    rule: SetRule
    only: int | None = None

    def of_scores(self, rows: Scores) -> np.ndarray:
        """Return s (n, M+1) of rows whose null is the rule's; +inf for models that are never called."""
        return self._alone(self.rule.of_scores(rows), rows.probabilities)

    def of_estimate(self, estimate: Estimate) -> np.ndarray:
        """Return the same from what the router says, as the rule reads it (`SetRule.estimate`)."""
        p = estimate.probabilities(self.rule.null)
        return self._alone(self.rule.distance(p, estimate.joint, estimate.cost), p)

    def _alone(self, s: np.ndarray, p: np.ndarray) -> np.ndarray:
        if self.only is not None:
            s[:, :-1] = np.where(np.arange(s.shape[1] - 1) == self.only, 1 - p[:, :-1], np.inf)
        return s


@dataclass(frozen=True)
class Policy:
    """A track with its limits, an aggregator by name, and the least confidence with which an answer is returned.

    `cut`: models with s <= cut may be called; EVERYTHING: all. `size`: the most that may be; None: any number.
    `calling` is one of CALLING. `threshold` in [0, 1]; 0: answer whenever some called model has an answer.
    """

    track: Track
    cut: float
    size: int | None
    aggregator: str
    calling: str
    threshold: float

    def limits(self, s: np.ndarray) -> np.ndarray:
        """Return how many models of each query may be called (n,): the first so many in the order of `s` (n, M+1)."""
        within = select(s[:, :-1], self.cut).sum(axis=1)
        return within if self.size is None else np.minimum(within, self.size)

    def is_stricter_twin_of(self, other: "Policy") -> bool:
        """Return whether it is the other policy, but for a higher threshold."""
        return self.threshold > other.threshold and replace(self, threshold=other.threshold) == other

    def text(self, models: tuple[str, ...]) -> str:
        """Return the policy in words."""
        rule, only = self.track.rule, self.track.only
        power = f", cost^{rule.cost_power:g}" if rule.family == "coverage" and rule.prices is not None else ""
        parts = [f"{models[only]} alone" if only is not None else f"{rule.family}{power}"]
        parts += [] if self.cut == EVERYTHING else [f"s <= {self.cut:.4g}"]
        parts += [] if self.size is None or only is not None else [f"at most {self.size} models"]
        return "; ".join([*parts, IN_WORDS[self.calling], f"{self.aggregator} vote",
                          f"answers if its confidence >= {self.threshold:.4g}"])


@dataclass(frozen=True)
class Votes:
    """The vote after k = 0..D calls: `model` (n, D+1) whose answer it returns, -1 for none, `confidence` in [0, 1].

    `outlook` (n, D+1 each): what the calls to come can change, None where that is not known.
    """

    model: np.ndarray
    confidence: np.ndarray
    outlook: Outlook | None = None

    def one_by_one(self, limits: np.ndarray, thresholds: np.ndarray, bet: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return how many models are called one after the other and the confidence told, (n, T) each, for T thresholds.

        As `racer.sequential.call` does: up to `limits` (n,), or to where the confidence so far is at least the
        threshold (if `bet`), or to where nothing can change whether and what is answered.
        """
        k, model = np.arange(self.model.shape[1])[:, None], self.model[:, :, None]  # (D+1, 1), (n, D+1, 1)
        sure = (model >= 0) & (self.confidence[:, :, None] >= thresholds) & bet  # (n, D+1, T)
        settled = np.zeros(sure.shape, dtype=bool)
        if (look := self.outlook) is not None:
            kept = look.settled[:, :, None] & (look.low[:, :, None] >= thresholds)
            settled = kept | (look.high[:, :, None] < thresholds)
        calls = (sure | settled | (k >= limits[:, None, None])).argmax(axis=1)  # (n, T)
        told = np.take_along_axis(self.confidence, calls, axis=1)
        if look is None:
            return calls, told
        early = ~np.take_along_axis(sure, calls[:, None], axis=1)[:, 0] & (calls < limits[:, None])
        return calls, np.where(early, np.maximum(np.take_along_axis(look.low, calls, axis=1), 0.0), told)


@dataclass(frozen=True)
class Ladder:
    """The votes of a track on n rows, in the order in which it calls: `order` (n, M), columns, first to last."""

    s: np.ndarray  # (n, M+1)
    order: np.ndarray
    votes: Votes
    voter: Voter

    @property
    def depth(self) -> int:
        """The most models that any query allows to call."""
        return self.votes.model.shape[1] - 1

    def so_far(self, limits: np.ndarray) -> Votes:
        """Return the votes so far while models are called one after the other, up to `limits` (n,)."""
        called = [self.first(np.minimum(k, limits)) for k in range(int(limits.max(initial=0)) + 1)]
        model, confidence = (table[:, :len(called)] for table in (self.votes.model, self.votes.confidence))
        if not self.voter.whole_at_once:
            votes = [self.voter.so_far(those, called[-1]) for those in called]
            model, confidence = (np.column_stack([getattr(v, name) for v in votes]) for name in ("model", "confidence"))
        looks = [self.voter.outlook(those, called[-1]) for those in called]
        if looks[0] is None:
            return Votes(model, confidence)
        columns = (np.column_stack([getattr(look, name) for look in looks]) for name in ("settled", "low", "high"))
        return Votes(model, confidence, Outlook(*columns))

    def first(self, k: np.ndarray | int) -> np.ndarray:
        """Return the first `k` models of each query (n, M) bool, those that are never called left out."""
        return _first(self.order, k) & select(self.s[:, :-1], EVERYTHING)


def climb(track: Track, rows: Recorded, voter: Voter) -> Ladder:
    """Return the ladder of a track on these rows, where `voter` votes."""
    s = track.of_scores(rows.scores)
    order, callable_ = np.argsort(s[:, :-1], axis=1, kind="stable"), select(s[:, :-1], EVERYTHING)
    depth = int(callable_.sum(axis=1).max(initial=0))
    model, confidence = np.full((len(s), depth + 1), -1), np.zeros((len(s), depth + 1))
    for k in range(1, depth + 1):
        vote = voter.vote(_first(order, k) & callable_)
        model[:, k], confidence[:, k] = vote.model, vote.confidence
    return Ladder(s, order, Votes(model, confidence), voter)


def _first(order: np.ndarray, k: np.ndarray | int) -> np.ndarray:
    return np.argsort(order, axis=1) < np.reshape(k, (-1, 1))


@dataclass(frozen=True)
class Played:
    """What policies that differ in their threshold only do on n queries: every array is (n, T).

    `model` is whose answer the vote returns, -1 for none, and `confidence` its; the answer is given where `answered`.
    `right`: answered, and right. `spend` in USD (calls where costs are unknown), `share` of the cost of asking all.
    """

    calls: np.ndarray
    model: np.ndarray
    confidence: np.ndarray
    answered: np.ndarray
    right: np.ndarray
    spend: np.ndarray
    share: np.ndarray

    def take(self, rows: np.ndarray) -> "Played":
        """Return what they do on these rows (numbers or a mask), in their order."""
        return Played(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def losses(self, rows: Recorded) -> dict[str, np.ndarray]:
        """Return the losses (n, T) that policies may promise, by name; `wrong` counts over all queries.

        `harm` only where the reference is known: it is right, and we are not, or abstain.
        """
        outcomes = rows.scores.outcomes
        found = {"wrong": self.answered & ~self.right,
                 "over_abstention": ~self.answered & outcomes.any(axis=1)[:, None], "cost": self.share}
        if rows.reference is not None:
            found["harm"] = outcomes[:, [rows.reference]] & ~self.right
        return found


def play(policy: Policy, ladder: Ladder, rows: Recorded, thresholds: np.ndarray | None = None) -> Played:
    """Return what the policy does on these rows, whose ladder is that of its track and aggregator.

    With `thresholds` (T,), what its twins with these thresholds do.
    """
    thresholds = np.array([policy.threshold]) if thresholds is None else thresholds
    limits, votes = policy.limits(ladder.s), ladder.votes
    if policy.calling == "parallel":
        calls = np.repeat(limits[:, None], len(thresholds), axis=1)
        confidence = np.take_along_axis(votes.confidence, calls, axis=1)
    else:
        votes = ladder.so_far(limits)
        calls, confidence = votes.one_by_one(limits, thresholds, bet=policy.calling == "sequential")
    model = np.take_along_axis(votes.model, calls, axis=1)
    answered = (model >= 0) & (confidence >= thresholds)
    right = answered & np.take_along_axis(rows.scores.outcomes, np.maximum(model, 0), axis=1)
    bill = np.cumsum(np.take_along_axis(rows.prices, ladder.order, axis=1), axis=1)
    bill = np.column_stack([np.zeros(len(bill)), bill])  # (n, M+1), after k calls
    spend, all_ = np.take_along_axis(bill, calls, axis=1), bill[:, -1:]
    share = np.minimum(np.divide(spend, all_, out=np.zeros(spend.shape), where=all_ > 0), 1.0)
    return Played(calls, model, confidence, answered, right, spend, share)
