"""Votes that also hear how sure the models themselves are: any vote whose name ends in `+confidence`. Ours.

What a model says of its own answer, c (a table's column `confidence`), moves the router's probability p that it is
right by a weight of evidence w (Good, "Probability and the weighing of evidence", 1950; log P(c | right, p) / P(c |
wrong, p)), here linear:

    logit P(m is right | p, c) = logit p + w_m,    w_m = a_m + b_m logit c + k logit p.

It is fitted to validation rows: k is shared, since p and c partly know the same; each model has its own a and b, drawn
towards those of all. Then the vote is held with the moved probabilities, a joint's logits being moved by as much. Who
says nothing of its answer, or gives none, stays where the router puts it. Means of asking are not told apart: token
likelihood, P(true) (Kadavath et al., arXiv 2207.05221), a number in words (Tian et al., arXiv 2305.14975).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special

from racer.ballots import log_odds
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.votes import Aggregator

SUFFIX = "+confidence"
RIDGE = 4.0  # on how a model differs from all: a log-odds of 1/2 is one standard deviation
SLIGHT = 0.01  # on what they share
SPREAD = 1e-6  # of log-odds; confidences that vary by less are all the same


@dataclass(frozen=True)
class Evidence:
    """How far a model's word on its own answer moves the odds that it is right: a and b of each model, and k.

    `says`: whether any word of a model was recorded; others are not listened to, now or later.
    """

    says: tuple[bool, ...]  # (M,)
    a: tuple[float, ...]  # (M,)
    b: tuple[float, ...]  # (M,)
    k: float

    @classmethod
    def fit(cls, codes: np.ndarray, outcomes: np.ndarray, estimate: Estimate) -> "Evidence":
        """Return the evidence of least log loss, `codes` and `outcomes` (n, M) as in `racer.aggregate.fit`."""
        query, model = np.nonzero((codes >= 0) & ~np.isnan(_told(estimate)))
        c, p = log_odds(_told(estimate)[query, model]), log_odds(estimate.models[query, model])
        centre, scale = (c.mean(), c.std()) if c.size else (0.0, 0.0)
        scale = scale if scale > SPREAD else 1.0
        x, m, y = (c - centre) / scale, codes.shape[1], outcomes[query, model]
        mine = np.eye(m)[model]  # (N, M)
        design = np.column_stack([np.ones(len(x)), x, p, mine, mine * x[:, None]])  # (N, 3 + 2M)
        ridge = np.concatenate([np.full(3, SLIGHT), np.full(2 * m, RIDGE)])

        def cost(w):
            odds = p + design @ w
            loss = np.logaddexp(0, odds) - y * odds
            return loss.sum() + 0.5 * ridge @ w**2, design.T @ (special.expit(odds) - y) + ridge * w
        w = optimize.minimize(cost, np.zeros(len(ridge)), jac=True, method="L-BFGS-B").x
        b = (w[1] + w[3 + m:]) / scale
        return cls(tuple(mine.any(axis=0).tolist()), tuple((w[0] + w[3:3 + m] - b * centre).tolist()),
                   tuple(b.tolist()), float(w[2]))

    def heard(self, answered: np.ndarray, estimate: Estimate) -> Estimate:
        """Return the estimate once those who `answered` (n, M) bool have been heard."""
        odds = log_odds(estimate.models)
        w = np.array(self.a) + np.array(self.b) * log_odds(_told(estimate)) + self.k * odds
        w = np.where(answered & np.array(self.says) & ~np.isnan(w), w, 0.0)
        joint = estimate.joint
        return replace(estimate, models=np.where(w == 0, estimate.models, special.expit(odds + w)),
                       joint=None if joint is None else replace(joint, logits=joint.logits + w))


@dataclass(frozen=True)
class Confident(Aggregator):
    """A vote held after the models have been heard. What one not yet called will say of itself is unknown, so no such
    vote knows that it is settled.
    """

    inner: Aggregator
    evidence: Evidence

    @property
    def name(self) -> str:
        return self.inner.name + SUFFIX

    @property
    def hears(self) -> tuple[bool, ...]:
        return self.evidence.says

    def vote(self, members, codes, options, estimate):
        return self.inner.vote(members, codes, options, self.evidence.heard(members & (codes >= 0), estimate))

    def to_json(self):
        return super().to_json() | {"inner": self.inner.to_json()}


def _told(estimate: Estimate) -> np.ndarray:
    """Return what the models say of their answers (n, M); raise `ConfigError` where none was asked."""
    if estimate.own_confidence is None:
        raise ConfigError(f"votes whose names end in {SUFFIX} hear how sure models are of their own answers, which is "
                          "not known here: give a table with a column `confidence` (a pool file's key `confidence` has "
                          "it collected), or leave these votes out")
    return estimate.own_confidence
