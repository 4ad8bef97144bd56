"""A cut that moves with the errors seen while serving: for any sequence of queries, even an adversary's.

Query t is served with the cut lambda_t, then its loss is observed and lambda_{t+1} = lambda_t + eta_t (loss_t - alpha),
eta_t = step * t^-decay. `decay` = 0 follows drift (Gibbs, Candès, "Adaptive Conformal Inference Under Distribution
Shift", NeurIPS 2021, arXiv 2106.00170); 1/2 < `decay` < 1 settles at the quantile when there is none (Angelopoulos,
Barber, Bates, "Online conformal prediction with decaying step sizes", ICML 2024, arXiv 2402.01139).

What is promised is the mean over the stream, |mean loss - alpha| <= `bound(T)`, for each sequence and not on average.
Proof: outside [low, high) the loss is counted as 1 below and 0 above, so lambda stays in [low - eta_1 alpha,
high + eta_1 (1 - alpha)]. Sum (lambda_{t+1} - lambda_t) / eta_t by parts: as 1 / eta_t never falls, the sum of
(loss_t - alpha) lies within +-(high - low + eta_1) / eta_T. (arXiv 2402.01139, Theorem 1.) The counted loss is the loss
itself if S is in [low, high]. S < low, -inf too, only makes the loss smaller than the counted one. Each S > high, +inf
too, that is met with a cut >= high is a miss that no cut in the range could avoid, and comes on top of the bound.

Which losses can be seen, when only the members of the set are asked and judged:

- "No member is right" is seen from the members alone, and never rises with the cut: S is the least s of a right model,
  +inf for an unsolvable query. `misrouting` and `miss` are at most this loss, so its bound holds for them. alpha must
  lie above the share of unsolvable queries, or the cut goes to `high` and asks everyone. (Selection until at
  least one success, with such feedback: Gollapudi et al., arXiv 2605.14953.)
- `miss`, and `misrouting` with the null in the set, are seen to be 0 when a member is right. When none is, they depend
  on models that were not asked. Ask these with probability `explore`, drawn afresh, and use `loss_estimate`: its
  expectation given the past is the loss, so the proof holds for the estimates with eta_1 / explore in place of eta_1,
  hence for the expected mean loss; and since estimates minus losses are a martingale, `bound(T, delta)` holds with
  probability 1 - delta (Freedman 1975). The stream may depend on all that was seen before, not on the coming draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from racer.errors import ConfigError

ESTIMATED = ("misrouting", "miss")  # losses that `loss_estimate` knows
ALL_MODELS = float(np.finfo(np.float64).max)  # a cut that admits all models within the hard limits, whose s is not +inf


@dataclass(frozen=True)
class Trace:
    """What a stream did: the cut each query was served with (T,), its loss there (T,) bool, and the state after it."""

    cuts: np.ndarray
    losses: np.ndarray
    after: "OnlineCut | OnlineLevel"


@dataclass(frozen=True)
class OnlineCut:
    """The cut for the next query, and all that the next update needs.

    S lies in [`low`, `high`], where the first `cut` must lie too; `step` is in units of S. `count` queries were served
    so far, with `errors` = the sum of their observed losses (or of their estimates).
    """

    cut: float
    alpha: float
    low: float
    high: float
    step: float
    decay: float = 0.0
    explore: float = 1.0
    count: int = 0
    errors: float = 0.0

    def __post_init__(self):
        if not 0 < self.alpha < 1:
            raise ConfigError(f"risk.alpha is {self.alpha}, expected a risk level between 0 and 1, both excluded")
        if not -np.inf < self.low < self.high < np.inf or (self.count == 0 and not self.low <= self.cut <= self.high):
            raise ConfigError(f"low={self.low}, cut={self.cut}, high={self.high}: expected finite numbers in this "
                              "order")
        if not (0 < self.step < np.inf and 0 <= self.decay < 1 and 0 < self.explore <= 1):
            raise ConfigError(f"step={self.step}, decay={self.decay}, explore={self.explore}: expected step > 0, decay "
                              "in [0, 1) and explore in (0, 1]")

    def update(self, loss: float) -> "OnlineCut":
        """Return the state after a query was served at `cut` with this loss in [0, 1], or this `loss_estimate`."""
        if not 0 <= loss <= 1 / self.explore:
            raise ConfigError(f"loss is {loss}, expected a number in [0, {1 / self.explore:g}]")
        counted = 1.0 if self.cut < self.low else 0.0 if self.cut >= self.high else float(loss)
        eta = float(self._steps(1)[0])
        return replace(self, cut=self.cut + eta * (counted - self.alpha), count=self.count + 1,
                       errors=self.errors + float(loss))

    def run(self, served: np.ndarray, asked: np.ndarray | None = None) -> Trace:
        """Return what `update` would do along the stream `served` (T,), S of each query; +-inf may occur.

        `asked` (T,) bool says for which queries all models are asked if need be, drawn with probability `explore`. An
        unanswered loss counts 1 / explore where asked and 0 elsewhere. The losses returned are the true ones.
        """
        served = _stream(served)
        cuts, after = self._follow(served, asked)
        return self._trace(served, cuts, after, asked)

    def bound(self, horizon: int, delta: float | None = None) -> float:
        """Return the most by which the mean loss of the first `horizon` queries can exceed alpha.

        (high - low + eta_1 / explore) / (T eta_T), see the top of this file; with `explore` = 1 also the most by which
        it can fall short, for S in [low, high]. With `explore` < 1 it holds for the expected mean loss, or, with
        `delta`, for the mean loss with probability 1 - delta, at the price of a deviation of order 1 / sqrt(explore T).
        """
        last = self.step * horizon**-self.decay
        steps = (self.high - self.low + self.step / self.explore) / (horizon * last)
        if delta is None or self.explore == 1:
            return steps
        # loss - estimate <= 1, with conditional variance <= (1 - explore) / explore
        log, variance = math.log(1 / delta), horizon * (1 / self.explore - 1)
        return steps + (log / 3 + math.sqrt((log / 3) ** 2 + 2 * variance * log)) / horizon

    def _steps(self, length: int) -> np.ndarray:
        return self.step * np.arange(self.count + 1, self.count + length + 1, dtype=np.float64) ** -self.decay

    def _follow(self, served: np.ndarray, asked: np.ndarray | None) -> tuple[np.ndarray, float]:
        """Return the cuts (T,) along the stream and the one after it. A loop over time: each cut needs the last."""
        eta, seen = self._steps(len(served)), self._seen(served, asked)
        rises, falls = (eta * (seen - self.alpha)).tolist(), (eta * (0.0 - self.alpha)).tolist()
        recoveries = (eta * (1.0 - self.alpha)).tolist()
        low, high, cut, cuts = self.low, self.high, self.cut, []
        for s, rise, fall, recovery in zip(served.tolist(), rises, falls, recoveries, strict=True):
            cuts.append(cut)
            if cut < low:
                cut += recovery
            else:
                cut += rise if s > cut and cut < high else fall
        return np.array(cuts), cut

    def _trace(self, served: np.ndarray, cuts: np.ndarray, after: float, asked: np.ndarray | None) -> Trace:
        losses = served > cuts
        errors = self.errors + float(self._seen(served, asked)[losses].sum())
        return Trace(cuts, losses, replace(self, cut=after, count=self.count + len(served), errors=errors))

    def _seen(self, served: np.ndarray, asked: np.ndarray | None) -> np.ndarray:
        """Return what a loss of 1 counts for each query (T,)."""
        if (asked is None) != (self.explore == 1):
            raise ConfigError(f"explore={self.explore:g}: give `asked` exactly if explore is below 1")
        if asked is None:
            return np.ones(len(served))
        asked = np.asarray(asked)
        if asked.shape != served.shape or asked.dtype != bool:
            raise ConfigError(f"asked has shape {asked.shape} and dtype {asked.dtype}, expected bool {served.shape}")
        return np.where(asked, 1 / self.explore, 0.0)


@dataclass(frozen=True)
class OnlineLevel:
    """Adaptive conformal inference over a stored calibration sample: what moves is the level, the cut is its quantile.

    `sample` (n,) is S of the calibration queries, ascending. The tracker's cut is a rank in [0, n / (n + 1)], which is
    1 - alpha_t: the same update on another scale, so `tracker.bound` holds as it stands, whatever the range of S. The
    cut is the smallest S of the sample whose rank k / (n + 1) exceeds the tracker's, so that an error is just a rank
    above it; it begins as that of `crc` or the S next to it. Past the last finite S it is `beyond`, by default all
    models within the hard limits; below rank 0 it is -inf. arXiv 2106.00170, equation 2 and Proposition 4.1.
    """

    sample: np.ndarray
    tracker: OnlineCut
    beyond: float = ALL_MODELS

    @property
    def cut(self) -> float:
        """The cut for the next query."""
        return float(self._cuts(np.array([self.tracker.cut]))[0])

    def update(self, loss: float) -> "OnlineLevel":
        """Return the state after a query was served at `cut` with this loss, or this `loss_estimate`."""
        return replace(self, tracker=self.tracker.update(loss))

    def run(self, served: np.ndarray, asked: np.ndarray | None = None) -> Trace:
        """Return what `update` would do along the stream `served` (T,); see `OnlineCut.run`."""
        served = _stream(served)
        below = np.searchsorted(self.sample, served, side="left")  # (T,) how many of the sample lie below S
        rank = np.where(served > self.beyond, np.inf, below / (len(self.sample) + 1))  # no cut serves S = +inf
        ranks, after = self.tracker._follow(rank, asked)
        cuts = self._cuts(ranks)
        trace = self.tracker._trace(served, cuts, after, asked)
        return replace(trace, after=replace(self, tracker=trace.after))

    def _cuts(self, ranks: np.ndarray) -> np.ndarray:
        n = len(self.sample)
        grid = np.arange(1, n + 1) / (n + 1)
        ladder = np.concatenate([[-np.inf], np.minimum(self.sample, self.beyond), [self.beyond]])  # (n + 2,)
        return ladder[np.where(ranks < 0, 0, 1 + np.searchsorted(grid, ranks, side="right"))]


def online_level(served: Sequence[float] | np.ndarray, alpha: float, step: float, decay: float = 0.0,
                 explore: float = 1.0, beyond: float = ALL_MODELS) -> OnlineLevel:
    """Return adaptive conformal inference that begins at level `alpha` over the calibration sample `served` (n,).

    `step` is gamma of arXiv 2106.00170 (there .005), in units of the level.
    """
    sample = np.sort(_stream(served))
    n = len(sample)
    if n == 0:
        raise ConfigError("the calibration sample is empty: online_level needs the S of at least one query")
    high = n / (n + 1)
    return OnlineLevel(sample, OnlineCut(min(1 - alpha, high), alpha, 0.0, high, step, decay, explore), beyond)


def loss_estimate(loss: str, member_right: bool, null_admitted: bool, other_right: bool | None,
                  explore: float = 1.0) -> float:
    """Return the loss of a set as far as it was seen, unbiased given that the rest is asked with chance `explore`.

    `loss` is `misrouting` or `miss`; `member_right`: some called model is right; `other_right`: some model outside the
    set is right, None if these were not asked. They need be asked only if the loss is not clear from the members:
    none is right, and under `misrouting` the null is in the set.
    """
    if loss not in ESTIMATED:
        raise ConfigError(f"risk.loss is {loss!r}, expected one of {', '.join(ESTIMATED)}")
    if member_right:
        return 0.0
    if loss == "misrouting" and not null_admitted:
        return 1.0
    return 0.0 if other_right is None else float(other_right) / explore


def _stream(served: Sequence[float] | np.ndarray) -> np.ndarray:
    served = np.asarray(served, dtype=np.float64)
    if served.ndim != 1 or np.isnan(served).any():
        raise ConfigError(f"S of shape {served.shape}: expected one number per query, no NaN")
    return served
