"""Many calibration/test splits of the same rows: what a promise and its price look like beyond one draw."""

from contextlib import suppress

import numpy as np

from racer.conformal import calibrate
from racer.errors import ConfigError, Infeasible
from racer.losses import least_cut
from racer.scores import Scores
from racer.sets import select

MEASURES = ("risk", "miss_given_solvable", "size", "cost", "abstention")


def halves(n: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    """Return `repeats` random splits of n rows, (R, n) bool: True for the half that calibrates."""
    first = np.arange(n) < n // 2
    return np.array([rng.permutation(first) for _ in range(repeats)])


def parts(n: int, calibrate: int, judge: int, repeats: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return `repeats` random splits of n rows: which calibrate, which are judged, both (R, n) bool and disjoint.

    From the same `rng`, splits that calibrate on fewer rows do so on a part of them, and judge the same rows.
    """
    if not 1 <= calibrate <= n - judge or judge < 1:
        raise ConfigError(f"{calibrate} rows to calibrate on and {judge} to judge do not fit into {n}: lower "
                          "splits.calibration or splits.test")
    order = rng.permuted(np.tile(np.arange(n), (repeats, 1)), axis=1)
    return order < calibrate, order >= n - judge


def over_splits(s: np.ndarray, rows: Scores, calibrating: np.ndarray, judged: np.ndarray, alphas: tuple[float, ...],
                loss: str = "misrouting", method: str = "pac", delta: float = 0.1) -> dict[str, np.ndarray]:
    """Return each of `MEASURES` (R, A) over the judged rows, for each of R splits and A alphas.

    `s` (n, M+1) of a family; `calibrating` and `judged` (R, n) bool, disjoint. Cost is USD per query. NaN where alpha
    cannot be promised on so few rows, where costs are unknown, and for misses where nothing is solvable.
    """
    served = least_cut(s, rows.outcomes, loss)
    found = {name: np.full((len(calibrating), len(alphas)), np.nan) for name in MEASURES}
    for r, (first, second) in enumerate(zip(calibrating, judged, strict=True)):
        those = rows.take(second)
        for a, alpha in enumerate(alphas):
            with suppress(Infeasible):
                cut = calibrate(served[first], alpha, method, delta).cut
                found["risk"][r, a] = np.mean(served[second] > cut)  # the loss at a cut is 1{S > cut}
                for name, value in _of_sets(select(s[second], cut)[:, :-1], those).items():
                    found[name][r, a] = value
    return found


def _of_sets(members: np.ndarray, rows: Scores) -> dict[str, float]:
    size, solvable = members.sum(axis=1), rows.outcomes.any(axis=1)
    missed = solvable & ~(members & rows.outcomes).any(axis=1)
    return {"size": size.mean(), "abstention": np.mean(size == 0),
            "miss_given_solvable": missed.sum() / solvable.sum() if solvable.any() else np.nan,
            "cost": np.nan if rows.cost is None else (members * rows.cost).sum(axis=1).mean()}
