"""The loss of every query at every cut, exactly: step functions, for losses that one number per query cannot say.

The set of a query changes only at its own s, so its loss is known at every cut from M + 1 evaluations.
"""

from dataclasses import dataclass

import numpy as np

from racer.errors import ConfigError
from racer.losses import Truth, loss
from racer.sets import select

ROUNDING = 1e-9  # by which a loss of the user's own may rise before it counts as rising


@dataclass(frozen=True)
class Steps:
    """The losses of `n` queries as functions of the cut.

    `levels` (n, K+1): the loss of the empty set, then from `events[:, k]` (n, K) on, ascending, up to the next event.
    Events that are tied share their level. An event at +inf is none: no cut reaches it.
    """

    events: np.ndarray
    levels: np.ndarray

    def at(self, cut: float) -> np.ndarray:
        """Return the losses (n,) at a cut."""
        passed = select(self.events, cut).sum(axis=1)
        return self.levels[np.arange(len(self.events)), passed]

    def table(self, cuts: np.ndarray) -> np.ndarray:
        """Return the losses (n, L) at the cuts (L,)."""
        return np.column_stack([self.at(cut) for cut in cuts])

    def cuts(self) -> np.ndarray:
        """Return every cut at which a loss changes, ascending, -inf first."""
        changes = self.events[(np.diff(self.levels, axis=1) != 0) & np.isfinite(self.events)]
        return np.append(-np.inf, np.unique(changes))


def steps(s: np.ndarray, truth: Truth, name: str) -> Steps:
    """Return the loss `name` of each query at every cut, from `s` (n, M+1)."""
    events = np.sort(s, axis=1)
    reachable = s < np.inf  # hard limits: in no set
    levels = [loss(np.zeros(s.shape, dtype=bool), truth, name)]
    levels += [loss(select(s, events[:, k]) & reachable, truth, name) for k in range(s.shape[1])]
    return Steps(events, np.column_stack(levels).astype(np.float64))


def falling(found: Steps, name: str, method: str) -> Steps:
    """Return the same steps, never rising; raise `ConfigError` if a loss rises with the cut by more than rounding.

    What rounding lets rise is lifted before, so that the loss is never understated.
    """
    rise = np.diff(found.levels, axis=1)
    reached = np.isfinite(found.events)  # what is in at every cut makes no step
    rises = np.flatnonzero((reached & (rise > ROUNDING)).any(axis=1))
    if rises.size:
        raise ConfigError(f"risk.loss={name} rises as sets grow, on {rises.size} of {len(rise)} queries; {method} "
                          "needs a loss that never does: set risk.method=ltt")
    lifted = np.maximum.accumulate(found.levels[:, ::-1], axis=1)[:, ::-1]
    return Steps(found.events, lifted)
