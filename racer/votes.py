"""The votes that need little or no fitting: `majority`, `weighted`, `bayes`, `best`; and what every vote must do."""

from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import special

from racer.ballots import EDGE, Ballots, Sample, Vote, log_odds, row_sum
from racer.estimate import BLOCK, Estimate

TEMPERATURES, DOUBTS = np.geomspace(0.1, 10, 41), np.geomspace(0.05, 20, 61)
OPEN_OPTIONS = np.geomspace(2, 2000, 121)
ROUNDING = 1e-9  # far more than sums of a few probabilities in another order differ by


@dataclass(frozen=True)
class Outlook:
    """What a vote in which some members are yet to be called may come to, whatever they answer.

    `settled`: the winner stays the same. The confidence in the final winner lies in [`low`, `high`]; `low` is for the
    leader of now, where it is settled.
    """

    settled: np.ndarray  # (n,) bool
    low: np.ndarray  # (n,)
    high: np.ndarray  # (n,)


@dataclass(frozen=True)
class Aggregator:
    """A fitted way to vote. `hears` says of which models (M,) it reads `Estimate.own_confidence`; empty: of none."""

    name: ClassVar[str]
    hears: ClassVar[tuple[bool, ...]] = ()

    def vote(self, members: np.ndarray, codes: np.ndarray, options: np.ndarray, estimate: Estimate) -> Vote:
        """Return the vote of `members` (n, M) bool.

        `codes` (n, M) int64 and `options` (n,) int64 are those of `racer.answers.Answers`; `estimate` is what the
        router says of these n queries. A member without an answer was asked all the same.
        """
        raise NotImplementedError

    def so_far(self, called: np.ndarray, members: np.ndarray, codes: np.ndarray, options: np.ndarray,
               estimate: Estimate) -> Vote:
        """Return the vote when only `called` of `members` (n, M) have answered."""
        return self.vote(called, codes, options, estimate)

    def outlook(self, called: np.ndarray, members: np.ndarray, codes: np.ndarray, options: np.ndarray,
                estimate: Estimate) -> Outlook | None:
        """Return what the calls to come can change; None for a vote of which this is not known in closed form."""
        return None

    def to_json(self) -> dict:
        """Return the aggregator as a plain record that `from_json` reads, every bit of it."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class Majority(Aggregator):
    """The answer of most; confidence is its share of the votes of all who were asked."""

    name = "majority"

    def vote(self, members, codes, options, estimate):
        ballots = Ballots.of(members, codes)
        votes = ballots.tally(np.ones(codes.shape))
        return ballots.elect(votes, votes / np.maximum(members.sum(axis=1), 1)[:, None], estimate.models)

    def so_far(self, called, members, codes, options, estimate):
        """Return the vote so far; its share is that of all members, so that the first vote is not unanimous."""
        return self.vote(members, np.where(called, codes, -1), options, estimate)

    def outlook(self, called, members, codes, options, estimate):
        p, ballots, asked = estimate.models, Ballots.of(called, codes), np.maximum(members.sum(axis=1), 1)
        left, later = _to_come(called, members, p)
        votes, weight = ballots.tally(np.ones(p.shape)), ballots.tally(p)
        leader = ballots.winner(votes, p)
        others = ballots.without(leader)
        rival = others.winner(votes, p)
        lead, most = ballots.at(leader, votes), others.at(rival, votes) + left
        tie_stays = (lead == most) & (ballots.at(leader, weight) > others.at(rival, weight) + later + ROUNDING)
        return Outlook((lead > most) | tie_stays, lead / asked, (lead + left) / asked)


@dataclass(frozen=True)
class Weighted(Aggregator):
    """The answer with most weight, a vote weighing p^(1/temperature), p the router's probability of who casts it.

    Towards temperature 0 this is `best`, towards infinity `majority`. Confidence is the answer's share of all weight,
    where "none of these" weighs `doubt` times the mean 1 - p of those asked. Weights tempered on held-out rows are
    those of Taubenfeld et al., "Confidence improves self-consistency in LLMs", 2025; the doubt is ours: without it one
    vote alone would be certain.
    """

    temperature: float
    doubt: float
    name = "weighted"

    @classmethod
    def fit(cls, sample: Sample) -> "Weighted":
        """Return the vote whose winners' confidences have the least log loss."""
        ballots, p = Ballots.of(sample.members, sample.codes), sample.estimate.models
        found = []
        for temperature in TEMPERATURES.tolist():
            vote = cls(temperature, 1.0)
            score, none, everyone = vote._weights(ballots, p)
            won = ballots.winner(score, p)
            confidence = ballots.at(won, score)[:, None] / (everyone[:, None] + none[:, None] * DOUBTS)
            right = (ballots.tally(sample.outcomes.astype(float)) > 0)[np.arange(len(p)), won]
            loss = _log_loss(confidence, right[:, None]).mean(axis=0)
            found.append((loss.min(), replace(vote, doubt=float(DOUBTS[loss.argmin()]))))
        return min(found, key=lambda pair: pair[0])[1]

    def vote(self, members, codes, options, estimate):
        ballots = Ballots.of(members, codes)
        score, none, everyone = self._weights(ballots, estimate.models)
        return ballots.elect(score, score / (everyone + none)[:, None], estimate.models)

    def outlook(self, called, members, codes, options, estimate):
        p, ballots = estimate.models, Ballots.of(called, codes)
        _, later = _to_come(called, members, p ** (1 / self.temperature))
        score, _, everyone = self._weights(ballots, p)
        none = self._weights(Ballots.of(members, codes), p)[1]
        leader = ballots.winner(score, p)
        others = ballots.without(leader)
        lead, most = ballots.at(leader, score), others.at(others.winner(score, p), score) + later
        total = everyone + later + none
        return Outlook(lead > most + ROUNDING, lead / total - ROUNDING, (lead + later) / total + ROUNDING)

    def _weights(self, ballots: Ballots, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the weight of each answer (n, M), of none of these (n,), and of all answers together (n,)."""
        weight = p ** (1 / self.temperature)
        doubts = row_sum(np.where(ballots.members, 1 - p, 0.0)) / np.maximum(ballots.members.sum(axis=1), 1)
        everyone = row_sum(np.where(ballots.given, weight, 0.0))
        return ballots.tally(weight), self.doubt * np.maximum(doubts, EDGE), everyone


@dataclass(frozen=True)
class Bayes(Aggregator):
    """The posterior of each answer, if models are right as the router's joint says and wrong answers are uniform.

    pi(a) ~ E_z[prod_{says a} p_m prod_{says other} (1 - p_m)/(K - 1) prod_{no answer} (1 - p_m)], normalised over the
    answers seen and, for the K - d others, (K - d) E_z[prod_{answered} (1 - p_m)/(K - 1) prod_{no answer} (1 - p_m)].
    K is the number of options, and where that is open, `open_options`, fitted to validation rows, but at least one
    more than the d answers seen. Models share mistakes, so the posterior is surer than it should be. That a wrong
    answer may get lost is left out, so where many do, agreement counts for a little less than it should. Without a
    joint, models are taken for independent.
    """

    open_options: float
    name = "bayes"

    @classmethod
    def fit(cls, sample: Sample) -> "Bayes":
        """Return the vote under which the answers that are right on open queries are most likely.

        Without any open query it is 2, the least: agreement then adds nothing to the odds of who agrees.
        """
        rows = sample.take(sample.options == 0)
        if not len(rows.codes):
            return cls(2.0)
        ballots = Ballots.of(rows.members, rows.codes)
        right, evidence = ballots.tally(rows.outcomes.astype(float)) > 0, _evidence(ballots, rows.estimate)
        losses = []
        for k in OPEN_OPTIONS.tolist():
            posterior = np.where(ballots.first, ballots.softmax(*cls(k).scores(ballots, rows.options, evidence)), 0.0)
            hit = row_sum(np.where(right, posterior, 0.0))
            losses.append(_log_loss(np.where(right.any(axis=1), hit, row_sum(posterior)), right.any(axis=1)).mean())
        return cls(float(OPEN_OPTIONS[np.argmin(losses)]))

    def vote(self, members, codes, options, estimate):
        ballots = Ballots.of(members, codes)
        score, none = self.scores(ballots, options, _evidence(ballots, estimate))
        return ballots.elect(score, ballots.softmax(score, none), estimate.models)

    def scores(self, ballots, options, evidence):
        """Return log pi of each answer (n, M), and of all others together (n,), up to one constant per query."""
        seen = ballots.distinct()
        k = np.where(options > 0, np.maximum(options, np.maximum(seen, 2)), np.maximum(self.open_options, seen + 1))
        unseen = np.log(k - seen, out=np.full(k.shape, -np.inf), where=k > seen)
        return evidence[0] + ballots.tally(np.ones(ballots.given.shape)) * np.log(k - 1)[:, None], evidence[1] + unseen


@dataclass(frozen=True)
class Best(Aggregator):
    """The answer of the member with the highest router probability among those that gave one, and that probability."""

    name = "best"

    def vote(self, members, codes, options, estimate):
        p, ballots = estimate.models, Ballots.of(members, codes)
        model = np.where(ballots.given, p, -1.0).argmax(axis=1)
        return Vote(np.where(ballots.given.any(axis=1), model, -1), ballots.at(model, p))

    def outlook(self, called, members, codes, options, estimate):
        p, ballots = estimate.models, Ballots.of(called, codes)
        hopes = np.where(ballots.given | (members & ~called), p, -1.0)  # (n, M)
        last, now = hopes.argmax(axis=1), self.vote(called, codes, options, estimate)
        return Outlook(last == now.model, now.confidence, np.maximum(hopes.max(axis=1), 0.0))


def _to_come(called: np.ndarray, members: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many members are yet to be called (n,), and the sum of their `p` (n,)."""
    waiting = members & ~called
    return waiting.sum(axis=1), row_sum(np.where(waiting, p, 0.0))


def _log_loss(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    confidence = np.clip(confidence, EDGE, 1 - EDGE)
    return -np.where(right, np.log(confidence), np.log1p(-confidence))


def _evidence(ballots: Ballots, estimate: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Return log E_z[prod_{says a} odds_m(z) prod_{asked} (1 - p_m(z))] of each answer (n, M), and of none (n,).

    What `Bayes.scores` knows of a query but K: the factors 1/(K - 1) are constant but for those of who says a.
    """
    n, m = ballots.given.shape
    score, none = np.empty((n, m)), np.empty(n)
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        x, log_weights = _log_odds(estimate, rows)  # (k, M, Q), (Q,)
        wrong = log_weights + sum(np.where(ballots.members[rows, j, None], special.log_expit(-x[:, j]), 0.0)
                                  for j in range(m))  # (k, Q)
        none[rows] = special.logsumexp(wrong, axis=1)
        for a in range(m):
            says = sum(np.where(ballots.same[rows, a, j, None], x[:, j], 0.0) for j in range(m))
            score[rows, a] = special.logsumexp(wrong + says, axis=1)
    return score, none


def _log_odds(estimate: Estimate, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    joint = estimate.joint
    if joint is None:
        return log_odds(estimate.models[rows])[:, :, None], np.zeros(1)
    log_weights = np.log(np.maximum(joint.weights, np.finfo(float).tiny))
    return joint.logits[rows, :, None] + joint.loadings[rows, :, None] * joint.nodes, log_weights
