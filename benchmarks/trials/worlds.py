"""Worlds whose true risk is known at every cut: what `benchmarks/validity.py` draws its calibration queries from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HOPELESS = 0.04  # share of queries that no set within the hard limits serves, in the world of that name


@dataclass(frozen=True)
class World:
    """S of queries, the smallest cut that serves each, and the risk P(S > cut) of a cut."""

    name: str
    draw: Callable[[np.random.Generator, int], np.ndarray]
    risk: Callable[[float], float]


def _above(cut: float) -> float:
    """Return P(U > cut) for U uniform on [0, 1]."""
    return 1 - min(max(cut, 0.0), 1.0)


def _tied(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(1, 6, n).astype(float)


def _rare(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.98, -np.inf, rng.random(n))


def _hopeless(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < HOPELESS, np.inf, rng.random(n))


WORLDS = (
    World("no ties", lambda rng, n: rng.random(n), _above),
    World("five values only", _tied, lambda cut: (5 - np.floor(np.clip(cut, 0, 5))) / 5),
    World("98 % need no model", _rare, lambda cut: 0.02 * _above(cut)),
    World("4 % cannot be served", _hopeless, lambda cut: HOPELESS + (1 - HOPELESS) * _above(cut)),
)
ALL_SAFE = World("every query served by the empty set", lambda rng, n: np.full(n, -np.inf), lambda cut: 0.0)
NONE_SAFE = World("no query served by any set", lambda rng, n: np.full(n, np.inf), lambda cut: 1.0)


# ---------------------------------------------------------------- one loss per query, of a known mean


def two_point(rng: np.random.Generator, mean: float, size: tuple[int, int]) -> np.ndarray:
    return 0.7 * (rng.random(size) < mean / 0.7)


def beta(rng: np.random.Generator, mean: float, size: tuple[int, int]) -> np.ndarray:
    return rng.beta(0.5, 0.5 * (1 - mean) / mean, size)


def rare_failures(rng: np.random.Generator, mean: float, size: tuple[int, int]) -> np.ndarray:
    """Nearly all lose a little, a few lose everything; the few make a tenth of the mean."""
    rare = mean / 10
    return np.where(rng.random(size) < rare, 1.0, (mean - rare) / (1 - rare))


def bernoulli(rng: np.random.Generator, mean: float, size: tuple[int, int]) -> np.ndarray:
    return (rng.random(size) < mean).astype(float)


LOSSES = {"0 or 1": bernoulli, "0 or 0.7": two_point, "Beta(1/2, .)": beta, "rare failures": rare_failures}


# ---------------------------------------------------------------- losses between 0 and 1 that fall with the cut


@dataclass(frozen=True)
class Falling:
    """A loss of three steps down: sum_k v_k 1{U_k > cut}, U_k uniform, v a random split of the query's weight W.

    The risk of a cut in [0, 1] is (1 - cut) E[W]; `weight` draws W (n,), `mean` is E[W].
    """

    name: str
    weight: Callable[[np.random.Generator, int], np.ndarray]
    mean: float

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the loss falls (n, 3), ascending, and the loss before and after each step (n, 4)."""
        events, split = np.sort(rng.random((n, 3)), axis=1), rng.dirichlet(np.ones(3), n)
        left = np.column_stack([np.ones(n), 1 - split[:, 0], split[:, 2], np.zeros(n)])
        return events, left * self.weight(rng, n)[:, None]

    def risk(self, cut: float) -> float:
        return self.mean * (1 - min(max(cut, 0.0), 1.0))


FALLING = (
    Falling("W = 1", lambda rng, n: np.ones(n), 1.0),
    Falling("W is Beta(1/2, 1/2)", lambda rng, n: rng.beta(0.5, 0.5, n), 0.5),
    Falling("W = 1 for 2 %, else .05", lambda rng, n: np.where(rng.random(n) < 0.02, 1.0, 0.05), 0.02 + 0.98 * 0.05),
)


# ---------------------------------------------------------------- configurations, streams, covariate shift


@dataclass(frozen=True)
class Configurations:
    """K configurations with two risks and a cost, judged on the same queries.

    A query of difficulty u fails where u > reach, and where an independent accident of chance `noise` befalls it; it is
    abstained on where another number v < shy. So risk = 1 - reach (1 - noise), and the second risk is `shy`.
    """

    reach: np.ndarray  # (K,)
    shy: np.ndarray
    noise: np.ndarray
    cost: np.ndarray

    @property
    def risks(self) -> np.ndarray:
        """True risks (K, 2)."""
        return np.column_stack([1 - self.reach * (1 - self.noise), self.shy])

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the two losses of `n` queries in every configuration, (n, K) each."""
        u, v, accident = rng.random((n, 1)), rng.random((n, 1)), rng.random((n, len(self.reach)))
        return (u > self.reach) | (accident < self.noise), v < self.shy


def mixed() -> Configurations:
    """Return 20 cuts at each of three sizes: larger sets reach further and cost more, later cuts abstain more."""
    step, size = np.meshgrid(np.linspace(0, 1, 20), np.array([0.0, 0.5, 1.0]))
    reach = 0.98 * (0.75 + 0.2 * np.sqrt(step) + 0.05 * size)
    return Configurations(reach.ravel(), (0.3 * step**2).ravel(), (0.02 * (1 - size)).ravel(),
                          (1 + 2 * size + 3 * step).ravel())


def at_the_edge(risk: float) -> Configurations:
    """Return 60 configurations that all fail with chance `risk`, each by accidents of its own, and never abstain."""
    return Configurations(np.ones(60), np.zeros(60), np.full(60, risk), np.linspace(1, 6, 60))


def streams(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """S in [0, 1] along a stream: a steady one, a jump, a drift, long blocks at either end."""
    u, t = rng.random(length), np.arange(length)
    return {"steady": u, "a jump": np.where(t < length // 2, 0.3 * u, 1 - 0.3 * u),
            "a drift": np.clip(t / length + 0.2 * (u - 0.5), 0, 1),
            "blocks of 100, all 0 or all 1": (t // 100 % 2).astype(float)}


@dataclass(frozen=True)
class Shift:
    """Features x ~ N(0, I_2) at calibration and N(mu, I_2) in the traffic; S given x is uniform on width 1 about x_1.

    The density ratio is exp(mu . x - |mu|^2 / 2).
    """

    mu: tuple[float, float] = (1.0, 0.5)

    def features(self, rng: np.random.Generator, n: int, traffic: bool) -> np.ndarray:
        return rng.standard_normal((n, 2)) + (np.array(self.mu) if traffic else 0.0)

    def weights(self, x: np.ndarray) -> np.ndarray:
        return np.exp(x @ np.array(self.mu) - np.sum(np.square(self.mu)) / 2)

    def served(self, rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return x[:, 0] + rng.random(len(x)) - 0.5

    def risk(self, x: np.ndarray, cut: np.ndarray | float) -> np.ndarray:
        """Return P(S > cut | x) (n,)."""
        return np.clip(x[:, 0] + 0.5 - cut, 0.0, 1.0)
