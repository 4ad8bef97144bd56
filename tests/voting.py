"""Simulated votes that several tests share: the router knows the law, the answers follow it."""

import numpy as np

from racer.estimate import Estimate, Joint, quadrature


def simulate(rng, n, m, options, lost=0.0, loading=0.0, spread=1.0, centre=0.0):
    """Return (codes, outcomes, estimate) of n queries with `options` (n,) possible answers each.

    P(m is right | z) = sigmoid(a_m + loading z), a_m ~ N(centre, spread^2); wrong answers are uniform, and a share
    `lost` of them is lost. The estimate is the law itself. Codes are the possible answers, the right one anywhere.
    """
    logits = centre + spread * rng.standard_normal((n, m))
    joint = Joint(logits, np.full((n, m), float(loading)), *quadrature(40))
    outcomes = rng.logistic(size=(n, m)) < logits + loading * rng.standard_normal((n, 1))
    truth = rng.integers(0, options)[:, None]
    wrong = (truth + 1 + (rng.random((n, m)) * (options[:, None] - 1)).astype(int)) % options[:, None]
    codes = np.where(outcomes, truth, np.where(rng.random((n, m)) < lost, -1, wrong))
    return codes, outcomes, Estimate(joint.marginals(), joint=joint if loading else None)


def messy(rng, n, m):
    """Return (members, codes, options, estimate) with ties, lost answers, empty sets and equal probabilities."""
    codes = rng.integers(-1, 4, (n, m))
    p = rng.integers(0, 9, (n, m)) / 8  # sums of eighths are exact, so ties are ties in any order
    members = rng.random((n, m)) < 0.7
    options = rng.choice([0, 4, 7], n)
    joint = Joint(rng.standard_normal((n, m)), rng.standard_normal((n, m)), *quadrature(5))
    return members, codes, options, Estimate(p, joint=joint)


def right(vote, outcomes):
    """Return whether the answer returned is right (n,), False where there is none."""
    return np.where(vote.model >= 0, outcomes[np.arange(len(outcomes)), vote.model], False)
