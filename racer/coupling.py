"""A joint for a router that has none: which models are right together, fitted to its marginals after the fact.

The router's probability p_m(x) becomes a logit a_m(x) = shift_m + scale_m logit p_m(x), calibrated by the way, and a
hidden difficulty z ~ N(0, 1) of each query, with one loading b_m per model, makes models right and wrong together:
P(Y_m = 1 | x, z) = sigmoid(a_m(x) + b_m z). Fitted by maximum likelihood of whole outcome rows, on validation rows: on
train rows a router looks surer than it is, and calibration rows choose nothing.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from racer.errors import ConfigError
from racer.estimate import Estimate, Joint, quadrature

JOINTS = ("auto", "own", "fitted", "none")  # where the joint comes from: racer/choice.py
NODES, MAX_LOADING = 32, 3.0  # accurate to 1e-3, see racer/router/heads.py
EDGE = 1e-6  # probabilities nearer to 0 and 1 than this say no more than this


@dataclass(frozen=True)
class Coupling:
    """The map from a router's own probabilities to a joint: three numbers per model (M,)."""

    shift: tuple[float, ...]
    scale: tuple[float, ...]
    loading: tuple[float, ...]

    def estimate(self, own: Estimate) -> Estimate:
        """Return the joint and its marginals, in place of the router's own `models` (n, M); its null is kept."""
        a = np.array(self.shift) + np.array(self.scale) * _logit(own.models)
        joint = Joint(a, np.broadcast_to(self.loading, a.shape), *quadrature(NODES))
        return Estimate(joint.marginals(), own.learned_null, joint, own.cost)


def couple(p: np.ndarray, outcomes: np.ndarray) -> Coupling:
    """Return the coupling under which `outcomes` (n, M) bool are most likely, from marginals `p` (n, M) in [0, 1].

    A standard normal around shift 0, scale 1 and loading 1 keeps it sound on few rows. Raises `ConfigError` if n = 0.
    """
    n, m = p.shape
    if n == 0:
        raise ConfigError("a joint is fitted on validation rows, and there are none: set sets.joint=none, or add "
                          "validation rows")
    x, start = _logit(p), np.repeat([0.0, 1.0, 1.0], m)
    bounds = [(None, None)] * m + [(0.0, None)] * m + [(-MAX_LOADING, MAX_LOADING)] * m
    found = optimize.minimize(_cost, start, (x, outcomes.astype(float), *quadrature(NODES)), jac=True, bounds=bounds,
                              method="L-BFGS-B", options={"maxiter": 500})
    return Coupling(*(tuple(part.tolist()) for part in np.split(found.x, 3)))


def _cost(parameters: np.ndarray, x: np.ndarray, y: np.ndarray, nodes: np.ndarray,
          weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Return minus the log posterior of (shift, scale, loading) (3M,), and its gradient."""
    shift, scale, loading = np.split(parameters, 3)
    given_z = (shift + scale * x)[:, :, None] + loading[:, None] * nodes  # (n, M, Q)
    rows = (y[:, :, None] * given_z - np.logaddexp(0, given_z)).sum(axis=1) + np.log(weights)  # (n, Q)
    total = special.logsumexp(rows, axis=1, keepdims=True)
    pull = np.exp(rows - total)[:, None, :] * (y[:, :, None] - special.expit(given_z))  # (n, M, Q)
    at_z, per_row = pull.sum(axis=0), pull.sum(axis=2)
    gradient = np.concatenate([per_row.sum(axis=0), (x * per_row).sum(axis=0), at_z @ nodes])
    away = parameters - np.repeat([0.0, 1.0, 1.0], len(shift))
    return 0.5 * away @ away - float(total.sum()), away - gradient


def _logit(p: np.ndarray) -> np.ndarray:
    return special.logit(np.clip(p, EDGE, 1 - EDGE))
