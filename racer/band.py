"""One band around the risk of all cuts at once, so that the risk level may be chosen after looking.

The observed risk of every cut is off by at most the width of the Dvoretzky-Kiefer-Wolfowitz band, with probability
1 - delta (`racer.bounds.dkw_width`). `dkw` takes the smallest cut with observed risk + width <= alpha; whichever alpha
is picked, its cut lies in the same band. `pac` has a sharper bound, for one alpha that is fixed beforehand.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from racer import conformal
from racer.bounds import dkw_width
from racer.context import OneCut
from racer.errors import ConfigError


@dataclass(frozen=True)
class BandCalibration(OneCut):
    """A cut in the band: at most `allowed` of `n` calibration queries are unserved; `bound` = unserved / n + `width`.

    With probability 1 - `delta` every cut of the calibration has a risk below its observed one + `width`.
    """

    kind: ClassVar[str] = "band"
    method: str
    alpha: float
    delta: float
    cut: float
    n: int
    allowed: int
    unserved: int
    bound: float
    width: float

    def expected(self, m: int) -> dict[str, float]:
        """Return where the observed risk on `m` new queries should lie, had alpha been fixed beforehand."""
        return conformal.observed_band(self, m)

    def lines(self) -> list[str]:
        return [f"cut {self.cut:.6g}: {self.unserved} of {self.n} calibration queries unserved, {self.allowed} "
                f"allowed; bound {self.bound:.4f}",
                f"the band of width {self.width:.4f} holds at all cuts at once: alpha may be chosen after looking at "
                "the calibration queries"]


def calibrate(served: np.ndarray, alpha: float, delta: float) -> BandCalibration:
    """Return the smallest cut whose observed risk + width of the band is <= alpha, from S (n,), +inf if never served.

    Raises `Infeasible` if the width alone is above alpha, or if hard limits leave too many unserved.
    """
    served = np.asarray(served, dtype=np.float64)
    if np.isnan(served).any():
        raise ConfigError("a calibration query has S = NaN: probabilities must be numbers in [0, 1]")
    n = len(served)
    check_feasible(n, alpha, delta)
    width = dkw_width(n, delta)
    allowed = int(np.count_nonzero(np.arange(n) / n + width <= alpha)) - 1
    cut = float(np.partition(served, n - allowed - 1)[n - allowed - 1])
    unserved = int(np.count_nonzero(served > cut))
    if cut == np.inf:
        lost = int(np.count_nonzero(served == np.inf))
        raise conformal.out_of_reach(alpha, lost, n, allowed, lost / n + width)
    return BandCalibration("dkw", alpha, delta, cut, n, allowed, unserved, unserved / n + width, width)


def least_n(alpha: float, delta: float) -> int:
    """Return the fewest calibration queries whose band is no wider than alpha."""
    n = max(int(-np.log(delta) / (2 * alpha**2)), 1)
    while dkw_width(n, delta) > alpha:
        n += 1
    return n


def check_feasible(n: int, alpha: float, delta: float) -> None:
    """Raise `Infeasible` if the band of `n` queries is wider than `alpha`, naming the n needed."""
    if dkw_width(n, delta) > alpha:
        raise conformal.too_few(n, least_n(alpha, delta), alpha, f"dkw at delta={delta:g}", dkw_width(n, delta))
