"""From losses between 0 and 1 to a cut with a promise, where one number per query cannot say the loss.

`crc`: the smallest cut with (sum of losses + 1) / (n + 1) <= alpha, exact: among all cuts at which a loss changes.
       Angelopoulos et al., "Conformal Risk Control", ICLR 2024, arXiv 2208.02814, Theorem 1.
`pac`: the smallest cut of a fixed grid such that the level-delta upper bound is <= alpha there and at every larger cut
       of the grid. Bates et al., "Distribution-free, risk-controlling prediction sets", arXiv 2101.02703, Theorem 1:
       the risk falls along the grid, so only the bound at the last unsafe cut must hold.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from racer.bounds import p_value, upper
from racer.context import OneCut
from racer.errors import Infeasible
from racer.steps import Steps

EVERYTHING = float(np.finfo(np.float64).max)  # the cut at which every model is in that no hard limit forbids
CELLS = 2**24  # of a table of losses in memory at once


@dataclass(frozen=True)
class BoundedCalibration(OneCut):
    """A cut and the promise it keeps for a loss in [0, 1]; `observed` is the mean loss of `n` calibration queries.

    `bound` <= alpha is what the method attains: (sum + 1) / (n + 1) under `crc`, the upper bound `bound_by` under
    `pac`. `delta` is None under `crc`.
    """

    kind: ClassVar[str] = "bounded"
    method: str
    alpha: float
    delta: float | None
    cut: float
    n: int
    observed: float
    bound: float
    bound_by: str

    def expected(self, m: int) -> None:
        """No law of the observed risk is known for losses between 0 and 1."""

    def lines(self) -> list[str]:
        return [f"cut {shown(self.cut)}: mean loss {self.observed:.4f} on {self.n} calibration queries; bound "
                f"{self.bound:.4f} ({self.bound_by})"]


def shown(cut: float) -> str:
    """Return the cut as a person reads it."""
    return f"{cut:.6g}" if cut < EVERYTHING else "that admits every model the hard limits allow"


def grid(s: np.ndarray, size: int) -> np.ndarray:
    """Return at most `size` cuts, ascending, from -inf to EVERYTHING, at quantiles of `s` (n, M+1) of other queries."""
    finite = s[np.isfinite(s)]
    if not finite.size:
        return np.array([-np.inf, EVERYTHING])
    inner = np.quantile(finite, np.linspace(0, 1, max(size - 2, 1)), method="inverted_cdf")
    return np.concatenate([[-np.inf], np.unique(inner), [EVERYTHING]])


def crc(steps: Steps, alpha: float) -> BoundedCalibration:
    """Return the smallest cut with (sum of losses + 1) / (n + 1) <= alpha, from losses that never rise.

    Raises `Infeasible` if none is. Sums are exact (`math.fsum`), so equality counts.
    """
    n, cuts = len(steps.events), steps.cuts()  # cuts (L,)

    def bound(cut: float) -> float:
        return (math.fsum(steps.at(cut)) + 1) / (n + 1)

    if not bound(cuts[-1]) <= alpha:
        raise unreachable(alpha, "crc", n, bound(cuts[-1]), math.ceil(round(1 / alpha, 9)) - 1)
    low, high = _near(steps, cuts, alpha)
    low = low if low and bound(cuts[low - 1]) > alpha else 0  # the answer lies in low..high: both ends are checked
    high = high if bound(cuts[high]) <= alpha else len(cuts) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(cuts[middle]) <= alpha else (middle + 1, high)
    cut = float(cuts[low])
    return BoundedCalibration("crc", alpha, None, cut, n, float(steps.at(cut).mean()), bound(cut), "crc")


def _near(steps: Steps, cuts: np.ndarray, alpha: float) -> tuple[int, int]:
    """Return places in `cuts` (L,) around the crc cut, as running sums in floats have it: where the search begins."""
    drops = -np.diff(steps.levels, axis=1)
    at = np.searchsorted(cuts, steps.events)  # (n, K); an event at +inf lies past the end
    fall = np.bincount(at.ravel(), drops.ravel(), minlength=len(cuts) + 1)[:len(cuts)]
    total = steps.levels[:, 0].sum() - np.cumsum(fall)  # (L,)
    first = int(np.argmax((total + 1) / (len(steps.events) + 1) <= alpha))  # 0 where none is: checked by the caller
    return max(first - 2, 0), min(first + 2, len(cuts) - 1)


def pac(steps: Steps, cuts: np.ndarray, alpha: float, delta: float, bound: str) -> BoundedCalibration:
    """Return the smallest cut of `cuts` (L,), ascending, at which and above which `bound` promises alpha.

    `steps` never rise; `cuts` must not depend on them. Raises `Infeasible` if the largest cut does not.
    """
    n = len(steps.events)
    safe = p_values(steps, cuts, alpha, bound) <= delta  # (L,)
    if not safe[-1]:
        reached = float(upper(steps.table(cuts[-1:]), delta, bound)[0])
        raise unreachable(alpha, f"pac with the bound {bound}", n, reached, least_n(alpha, delta, bound))
    cut = float(cuts[len(cuts) - int(np.argmin(np.append(safe[::-1], False)))])
    losses = steps.at(cut)
    attained = float(upper(losses[:, None], delta, bound)[0])
    return BoundedCalibration("pac", alpha, delta, cut, n, float(losses.mean()), min(attained, alpha), bound)


def p_values(steps: Steps, cuts: np.ndarray, alpha: float, bound: str) -> np.ndarray:
    """Return the p-values (L,) of "the risk at this cut is above alpha", a block of cuts at a time."""
    block = max(CELLS // max(len(steps.events), 1), 1)
    return np.concatenate([p_value(steps.table(cuts[i:i + block]), alpha, bound) for i in range(0, len(cuts), block)])


def least_n(alpha: float, delta: float, bound: str) -> int:
    """Return the fewest queries with which `bound` can promise `alpha` at all: those that all have loss 0."""
    high = 1
    while not _promises(high, alpha, delta, bound):
        high *= 2
    low = high // 2  # does not promise; 0 at first
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _promises(middle, alpha, delta, bound) else (middle, high)
    return high


def least_alpha(n: int, delta: float, bound: str) -> float:
    """Return the smallest alpha that `bound` can promise with `n` queries: that of none lost."""
    return float(upper(np.zeros((n, 1)), delta, bound)[0])


def _promises(n: int, alpha: float, delta: float, bound: str) -> bool:
    return bool(p_value(np.zeros((n, 1)), alpha, bound)[0] <= delta)


def unreachable(alpha: float, method: str, n: int, reached: float, needed: int) -> Infeasible:
    """Return the error that says what the largest sets reach, and how many queries would be needed at least."""
    more = f"; at least {needed} calibration queries are needed" if needed > n else ""
    return Infeasible(f"alpha={alpha:g} is out of reach by {method}: even the largest sets give {reached:.4f} on {n} "
                      f"calibration queries{more}: raise risk.alpha above {reached:.4f}, or calibrate on more",
                      n=n, needed=needed if needed > n else None, reachable=reached)
