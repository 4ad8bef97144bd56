"""A cut per group of queries (Mondrian): the promise of `crc` or `pac` for each group that is large enough.

A group is anything known of a query before it is routed: its task, its language, its customer. Given the labels, the
queries of a group are a calibration set of their own, so the theorem of `racer.conformal` holds within the group. Vovk,
Lindsay, Nouretdinov, Gammerman, "Mondrian Confidence Machine", 2003; Vovk, "Conditional validity", 2012, section 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from racer.conformal import Calibration, calibrate, least_n
from racer.errors import ConfigError, Infeasible


@dataclass(frozen=True)
class GroupCalibration:
    """A calibration for each group in `own`, and the pooled one for the groups in `fell_back` and for unseen ones.

    `fell_back` is the number of calibration queries of each group that was too small for a cut of its own.

    A group in `own` keeps its promise by itself: E[loss | group] <= alpha under `crc`; under `pac` with probability
    1 - delta for each group, so 1 - G delta for G groups at once.

    The fallback promises nothing for a group. Its promise is the mixture's: were *every* query routed by the pooled
    cut, the risk over all of them would be <= alpha. A small group may do worse than alpha under it, and so may all
    fallback queries taken together, since the groups that made the pooled risk small now use cuts of their own.
    `floor=True` lets no group go below the pooled cut. Then the risk over all queries as they are routed is at most
    that of the pooled cut, which keeps the promise for the mixture; easy groups pay for it with larger sets. To give
    small groups a promise, merge them before calibration by something that is not the calibration data, such as
    their share of the train split.
    """

    own: dict[str, Calibration]
    pooled: Calibration
    fell_back: dict[str, int]
    floor: bool = False

    def cut_of(self, groups: np.ndarray | Sequence[str]) -> np.ndarray:
        """Return the cut (m,) float64 of queries that belong to `groups` (m,) str."""
        groups = _labels(groups)
        names = np.array(sorted(self.own), dtype=str)
        if not len(names):
            return np.full(len(groups), self.pooled.cut)
        cuts = np.array([self.own[name].cut for name in names.tolist()])
        if self.floor:
            cuts = np.maximum(cuts, self.pooled.cut)
        at = np.minimum(np.searchsorted(names, groups), len(names) - 1)
        return np.where(names[at] == groups, cuts[at], self.pooled.cut)


def calibrate_groups(served: np.ndarray, groups: np.ndarray | Sequence[str], alpha: float, method: str = "pac",
                     delta: float | None = 0.1, least: int | None = None, floor: bool = False) -> GroupCalibration:
    """Return a calibration of each group that has enough queries, and the pooled one for the rest.

    `served` (n,) is S (`racer.conformal.calibrate`), `groups` (n,) str. Enough is what `method` needs to promise
    `alpha` with nobody unserved, and at least `least`. Only the counts decide who falls back, never S. Raises
    `Infeasible` if the pooled calibration is, or if a large group cannot be served within the hard limits: the pooled
    cut would fail it too.
    """
    served, groups = np.asarray(served, dtype=np.float64), _labels(groups)
    if groups.shape != served.shape:
        raise ConfigError(f"groups has shape {groups.shape}, S has {served.shape}: give one group per query")
    pooled = calibrate(served, alpha, method, delta)
    needed = max(least_n(alpha, method, delta), least or 0)
    own, fell_back = {}, {}
    for name, rows in _rows_of(groups):
        if len(rows) < needed:
            fell_back[name] = len(rows)
        else:
            own[name] = _calibrate_one(name, served[rows], alpha, method, delta)
    return GroupCalibration(own, pooled, fell_back, floor)


def _calibrate_one(name: str, served: np.ndarray, alpha: float, method: str, delta: float | None) -> Calibration:
    try:
        return calibrate(served, alpha, method, delta)
    except Infeasible as error:
        raise Infeasible(f"group {name!r}: {error}", n=error.n, needed=error.needed,
                         reachable=error.reachable) from None


def _rows_of(groups: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return (name, row numbers) of each group, by name; with a sort of small integers, not of texts."""
    names = np.array(sorted(set(groups.tolist())), dtype=str)
    code = np.searchsorted(names, groups).astype(np.min_scalar_type(len(names)))  # (n,)
    ends = np.cumsum(np.bincount(code, minlength=len(names)))
    return list(zip(names.tolist(), np.split(np.argsort(code, kind="stable"), ends[:-1]), strict=True))


def _labels(groups: np.ndarray | Sequence[str]) -> np.ndarray:
    labels = np.asarray(groups)
    if labels.ndim != 1 or (labels.dtype.kind != "U" and labels.size):
        raise ConfigError(f"groups has shape {labels.shape} and dtype {labels.dtype}, expected one text per query "
                          "(n,): write numbers with .astype(str)")
    return labels.astype(str, copy=False)
