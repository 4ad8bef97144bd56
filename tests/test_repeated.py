"""Many splits of the same rows: halves, what is measured on them, and the interval of their mean."""

import numpy as np
import pytest

from racer import intervals
from racer.conformal import calibrate
from racer.losses import least_cut
from racer.repeated import MEASURES, halves, over_splits
from racer.scores import Scores
from racer.sets import distance

N, M, REPEATS, ALPHAS = 61, 3, 5, (0.005, 0.2, 0.4)


def rows_of(rng: np.random.Generator, n: int = N, cost: bool = True) -> Scores:
    p = rng.random((n, M + 1))
    return Scores(ids=np.arange(n).astype(str), split=np.full(n, "test"), task=np.full(n, "t"), models=("a", "b", "c"),
                  probabilities=p, outcomes=rng.random((n, M)) < p[:, :-1], cost=rng.random((n, M)) if cost else None)


def test_halves_are_halves_and_differ():
    parts = halves(N, REPEATS, np.random.default_rng(0))
    assert parts.shape == (REPEATS, N) and (parts.sum(axis=1) == N // 2).all()
    assert len({part.tobytes() for part in parts}) == REPEATS
    np.testing.assert_array_equal(parts, halves(N, REPEATS, np.random.default_rng(0)))


def test_measures_agree_with_a_loop_over_queries():
    rows = rows_of(np.random.default_rng(1))
    s = distance(rows.probabilities, "probability", "learned")
    first = halves(N, REPEATS, np.random.default_rng(2))
    judged = ~first & (np.random.default_rng(3).random(N) < 0.7)
    found = over_splits(s, rows, first, judged, ALPHAS, method="crc")
    served = least_cut(s, rows.outcomes, "misrouting")
    assert set(found) == set(MEASURES)
    for r in range(REPEATS):
        assert all(np.isnan(found[name][r, 0]) for name in MEASURES)  # too few rows for .005
        for a, alpha in enumerate(ALPHAS[1:], start=1):
            cut = calibrate(served[first[r]], alpha, "crc").cut
            totals = dict.fromkeys(MEASURES, 0.0)
            solvable = 0
            for i in np.flatnonzero(judged[r]):
                members = [m for m in range(M) if s[i, m] <= cut]
                right = [m for m in range(M) if rows.outcomes[i, m]]
                hit = set(members) & set(right)
                null = not right and s[i, M] <= cut
                totals["risk"] += not hit and not null
                totals["size"] += len(members)
                totals["cost"] += sum(rows.cost[i, m] for m in members)
                totals["abstention"] += not members
                totals["miss_given_solvable"] += bool(right) and not hit
                solvable += bool(right)
            for name in MEASURES:
                n = solvable if name == "miss_given_solvable" else judged[r].sum()
                assert found[name][r, a] == pytest.approx(totals[name] / n)


def test_unknown_costs_and_nothing_solvable_are_not_numbers():
    rows = rows_of(np.random.default_rng(1), cost=False)
    rows.outcomes[:] = False
    first = halves(N, REPEATS, np.random.default_rng(2))
    found = over_splits(distance(rows.probabilities, "gap", "free"), rows, first, ~first, (0.2,))
    assert np.isnan(found["cost"]).all() and np.isnan(found["miss_given_solvable"]).all()
    assert (found["risk"] == 0).all() and (found["size"] == 0).all() and (found["abstention"] == 1).all()


def test_the_interval_over_splits_is_nadeau_and_bengios():
    values = np.array([1.0, 2.0, 4.0, 5.0])  # mean 3, variance 10/3
    found = intervals.over_splits(values)
    assert found["value"] == 3.0
    half = 3.182446305284263 * np.sqrt((1 / 4 + 1) * 10 / 3)  # the t quantile of 3 degrees of freedom
    assert found["high"] - 3.0 == pytest.approx(half) and 3.0 - found["low"] == pytest.approx(half)
    quarter = intervals.over_splits(values, test_share=0.2)
    assert quarter["high"] - 3.0 == pytest.approx(3.182446305284263 * np.sqrt((1 / 4 + 1 / 4) * 10 / 3))
    assert intervals.over_splits(np.array([1.0, np.nan])) is None


def test_the_interval_over_splits_holds_the_truth():
    """Rows are drawn anew in each trial: a mean over overlapping halves is no surer than the rows themselves."""
    held = 0
    for trial in range(300):
        rng = np.random.default_rng(trial)
        sample = rng.random(200) ** 2  # mean 1/3
        means = np.array([sample[~half].mean() for half in halves(200, 20, rng)])
        interval = intervals.over_splits(means)
        held += interval["low"] <= 1 / 3 <= interval["high"]
    assert 300 * 0.95 - 3 * np.sqrt(300 * 0.95 * 0.05) <= held
